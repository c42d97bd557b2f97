"""Train a multi-layer perceptron on prepared images."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.program.command import ParamsFile, command
from pipeline.program.errors import UserError

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")


@command
def train(
    train: Annotated[Path, typer.Argument(help="The images to train on.")] = Path("data/prepared/train.npz"),
    validation: Annotated[Path, typer.Argument(help="The images to watch training with.")] = Path(
        "data/prepared/validation.npz"
    ),
    model: Annotated[Path, typer.Argument(help="Output: the trained network.")] = Path("models/mlp.npz"),
    training: Annotated[
        Path,
        typer.Argument(
            help="Output: a folder for accuracy and loss at the end (train.json and validation.json) and after each "
            "epoch (history.csv)."
        ),
    ] = Path("models/training"),
    params: ParamsFile = Path("params.yaml"),
) -> None:
    """Train a multi-layer perceptron on prepared images."""
    # NumPy's BLAS reads these once, when NumPy is imported. On Linux two processes train, each on its own core. More
    # threads would wait for each other, many times as long as they compute.
    if sys.platform == "linux":
        os.environ |= dict.fromkeys(THREADS, "1")

    import numpy as np

    from mlp.arithmetic import ARITHMETICS
    from mlp.layers import ACTIVATIONS
    from mlp.network import Split, init_network
    from mlp.optimizers import GradientDescent
    from mlp.parallel import available_processes
    from mlp.random import SAMPLE, permutation, stream
    from mlp.training import DivergedError, State, measure
    from mlp.training import train as epochs_of
    from pipeline.program.files import check_distinct, write_json
    from pipeline.program.progress import progress
    from pipeline.settings.params import load_params
    from pipeline.store.artifacts import load_prepared, save_model
    from pipeline.store.tables import EpochRow, recorded, write_history

    check_distinct(train, validation, model, training, params)
    knobs = load_params(params).train
    (images, labels), preparation = load_prepared(train)
    held_out = load_prepared(validation)
    if held_out.preparation != preparation:
        raise UserError(f"{train} and {validation} come from different preparations; run `dvc repro` to make both.")
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
    # After each epoch, accuracy is measured on as many training images as there are validation images
    sample = np.sort(permutation(stream(knobs.seed, SAMPLE), len(images))[: len(held_out.split.images)])
    processes = available_processes()
    epochs = epochs_of(
        State(network, GradientDescent(knobs.learning_rate)),
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
            if recorded(epoch, total):
                rows.append(EpochRow(epoch, iteration, loss, seen.accuracy, unseen.loss, unseen.accuracy))
        whole = measure(network, Split(images, labels), processes)
    except DivergedError as error:
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
    write_json(training / "train.json", whole._asdict())
    write_json(training / "validation.json", unseen._asdict())
    write_history(training / "history.csv", rows)


if __name__ == "__main__":
    train()
