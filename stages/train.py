"""Train a multi-layer perceptron on prepared images."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import UserError, one_sentence_errors

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
@one_sentence_errors
def train(
    train: Annotated[Path, typer.Argument(help="Images to train on.")] = Path("data/prepared/train.npz"),
    validation: Annotated[Path, typer.Argument(help="Images to watch training with.")] = Path(
        "data/prepared/validation.npz"
    ),
    model: Annotated[Path, typer.Argument(help="Where to write the trained network.")] = Path("models/mlp.npz"),
    metrics: Annotated[
        Path, typer.Argument(help="Where to write its accuracies at the end, and the last losses.")
    ] = Path("models/train.json"),
    history: Annotated[Path, typer.Argument(help="Where to write the loss and accuracy of each epoch.")] = Path(
        "models/history.csv"
    ),
    params: Annotated[Path, typer.Option(help="Parameter file: the section train.")] = Path("params.yaml"),
) -> None:
    """Train a multi-layer perceptron on prepared images."""
    # NumPy's BLAS asks once, when it is imported. On Linux two processes train, on a core each: threads as well would
    # wait for each other, many times as long as they compute.
    if sys.platform == "linux":
        os.environ |= dict.fromkeys(THREADS, "1")

    import numpy as np

    from mlp import training
    from mlp.arithmetic import ARITHMETICS
    from mlp.layers import ACTIVATIONS
    from mlp.network import Split, init_network
    from mlp.optimizers import GradientDescent
    from mlp.parallel import available_processes
    from mlp.random import SAMPLE, permutation, stream
    from pipeline.artifacts import load_prepared, save_model
    from pipeline.console import progress
    from pipeline.files import write_json
    from pipeline.params import load_params
    from pipeline.tables import EpochRow, write_history

    knobs = load_params(params).train
    (images, labels), preparation = load_prepared(train)
    held_out = load_prepared(validation)
    if held_out.preparation != preparation:
        raise UserError(f"{train} and {validation} are not of one preparation; run `dvc repro` to make both.")
    if knobs.batch_size > len(images):
        raise UserError(
            f"{params}: train.batch_size is {knobs.batch_size}, more than the {len(images)} training images; "
            f"expected {len(images)} or less."
        )

    network = init_network(
        knobs.hidden_sizes,
        ACTIVATIONS[knobs.activation],
        knobs.weight_init_std,
        ARITHMETICS[knobs.arithmetic],
        preparation,
        knobs.seed,
    )
    # Accuracy after each epoch is measured on as many training images as there are validation images
    sample = np.sort(permutation(stream(knobs.seed, SAMPLE), len(images))[: len(held_out.split.images)])
    processes = available_processes()
    epochs = training.train(
        training.State(network, GradientDescent(knobs.learning_rate)),
        Split(images, labels),
        knobs.iterations,
        knobs.batch_size,
        knobs.seed,
        watched=[Split(images[sample], labels[sample]), held_out.split],
        processes=processes,
    )
    total = -(-knobs.iterations // (len(images) // knobs.batch_size))
    rows = []
    try:
        for epoch, iteration, loss, (seen, unseen) in progress(epochs, "Training, in epochs", total):
            rows.append(EpochRow(epoch, iteration, loss, seen.accuracy, unseen.loss, unseen.accuracy))
        last, whole = rows[-1], training.measure(network, Split(images, labels), processes)
    except training.DivergedError as error:
        raise UserError(
            f"training diverged: at step {error.iteration} the numbers of layer {error.layer} are no longer finite. "
            f"The steps are probably too long, or the first weights too large: lower train.learning_rate "
            f"(now {knobs.learning_rate}) or train.weight_init_std (now {knobs.weight_init_std}) in {params}. "
            "No model was written."
        ) from None
    except FloatingPointError:
        raise UserError(
            f"the trained network's loss on {train} is not finite; lower train.learning_rate (now "
            f"{knobs.learning_rate}) in {params}. No model was written."
        ) from None
    except ChildProcessError as error:
        raise UserError(f"training's second process {error}. No model was written; run it again.") from None

    save_model(model, network)
    write_json(
        metrics,
        {
            "train_loss": last.loss,
            "train_accuracy": whole.accuracy,
            "validation_loss": last.validation_loss,
            "validation_accuracy": last.validation_accuracy,
        },
    )
    write_history(history, rows)


if __name__ == "__main__":
    app()
