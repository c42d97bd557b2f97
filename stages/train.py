"""Train a multi-layer perceptron on prepared images."""

import os
from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import UserError, one_sentence_errors

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
    ] = Path("metrics/train.json"),
    history: Annotated[Path, typer.Argument(help="Where to write how it stood after each epoch.")] = Path(
        "metrics/history.csv"
    ),
    params: Annotated[Path, typer.Option(help="Parameter file: the section train.")] = Path("params.yaml"),
) -> None:
    """Train a multi-layer perceptron on prepared images."""
    from mlp.team import available_processes

    processes = available_processes()
    if processes > 1:  # then threads as well would only wait for each other; NumPy asks once, when it is imported
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    import numpy as np

    from mlp import training
    from mlp.network import init_network
    from pipeline.artifacts import Model, load_prepared, save_model
    from pipeline.console import progress
    from pipeline.files import write_json
    from pipeline.params import load_params
    from pipeline.tables import write_history

    knobs = load_params(params).train
    prepared = load_prepared(train)
    held_out = load_prepared(validation)
    if prepared[1:] != held_out[1:]:
        raise UserError(f"{train} and {validation} are not of one preparation; run `dvc repro` to make both.")
    images, features = prepared.split.images.shape
    if knobs.batch_size > images:
        raise UserError(
            f"{params}: train.batch_size is {knobs.batch_size}, more than the {images} training images; "
            f"expected {images} or less."
        )

    source = np.random.PCG64(knobs.seed)
    network = init_network(
        [features, *knobs.hidden_sizes, len(prepared.classes)],
        knobs.activation,
        knobs.weight_init_std,
        prepared.shift,
        prepared.scale,
        knobs.arithmetic,
        source,
    )
    total = -(-knobs.iterations // (images // knobs.batch_size))
    steps = training.train(
        network,
        prepared.split,
        held_out.split,
        knobs.iterations,
        knobs.batch_size,
        knobs.learning_rate,
        source,
        processes,
    )
    try:
        epochs = [next(steps)]  # the second process begins here, before the progress bar has threads
        epochs += progress(steps, "Training, in epochs", total - 1)
    except training.DivergedError as error:
        raise UserError(
            f"training diverged: at step {error.iteration} the numbers of layer {error.layer} are no longer finite. "
            f"The steps are probably too long, or the first weights too large: lower train.learning_rate "
            f"(now {knobs.learning_rate}) or train.weight_init_std (now {knobs.weight_init_std}) in {params}. "
            "No model was written."
        ) from None
    except ChildProcessError:
        raise UserError(
            "training's second process ended early, perhaps because the machine ran out of memory. "
            "No model was written; run it again."
        ) from None

    last = epochs[-1]
    save_model(model, Model(network, prepared.image_shape, prepared.classes))
    write_json(
        metrics,
        {
            "train_loss": last.loss,
            "train_accuracy": last.train_accuracy,
            "validation_loss": last.validation_loss,
            "validation_accuracy": last.validation_accuracy,
        },
    )
    write_history(history, epochs)


if __name__ == "__main__":
    app()
