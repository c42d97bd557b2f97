"""Train a multi-layer perceptron on prepared images."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.program.command import Changes, ParamsFile, command
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
    set_param: Changes = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin at the beginning in any case.")] = False,
) -> None:
    """Train a multi-layer perceptron on prepared images.

    A killed training continues from its last checkpoint. Checkpoints are in
    .dvc/tmp/checkpoints of the DVC project, or in the folder that TRAIN_CHECKPOINTS names.
    """
    # NumPy's BLAS reads these once, when NumPy is imported. On Linux two processes train, each on its own core. More
    # threads would wait for each other, many times as long as they compute.
    if sys.platform == "linux":
        os.environ |= dict.fromkeys(THREADS, "1")

    import numpy as np

    from mlp.arithmetic import ARITHMETICS
    from mlp.layers import ACTIVATIONS
    from mlp.network import Split, init_network
    from mlp.random import SAMPLE, permutation, stream
    from mlp.team import available_processes
    from mlp.training import DivergedError, Epoch, Score, kept, measure, new_state
    from mlp.training import train as epochs_of
    from pipeline.program.files import check_distinct, write_json
    from pipeline.program.progress import progress
    from pipeline.settings.params import load_params
    from pipeline.store.artifacts import load_prepared, save_model
    from pipeline.store.tables import EpochRow, recorded, write_history
    from pipeline.training.checkpoint import Checkpoint
    from pipeline.training.method import method_of

    def described(epoch: Epoch) -> str:
        """Return what the progress bar says after an epoch."""
        accuracy = epoch.scores[-1].accuracy
        return f"epoch {epoch.epoch} of {total}, loss {epoch.loss:.4f}, validation accuracy {accuracy:.4f}"

    check_distinct(train, validation, model, training, params)
    settings = load_params(params, set_param or ())
    knobs = settings.train
    (images, labels), preparation = load_prepared(train)
    held_out = load_prepared(validation)
    if held_out.preparation != preparation:
        raise UserError(f"{train} and {validation} come from different preparations; run `dvc repro` to make both.")
    if knobs.batch_size > len(images):
        raise UserError(
            f"{params}: train.batch_size is {knobs.batch_size}, more than the {len(images)} training images; "
            f"expected {len(images)} or less."
        )

    if knobs.nesterov and (knobs.optimizer == "adam" or knobs.momentum == 0.0):
        raise UserError(
            f"{params}: train.nesterov is true, which is a form of sgd's momentum; expected train.optimizer sgd and "
            f"train.momentum above 0 with it, found {knobs.optimizer} and {knobs.momentum}."
        )
    if knobs.warmup > knobs.iterations:
        raise UserError(
            f"{params}: train.warmup is {knobs.warmup}, more than all {knobs.iterations} iterations; expected "
            f"{knobs.iterations} or less."
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
    watched = [Split(images[sample], labels[sample]), held_out.split]
    method = method_of(settings, preparation.image_shape)
    state = new_state(network, method)
    processes = available_processes()
    checkpoint = Checkpoint(settings, [train, validation], processes)
    rows = [] if fresh else checkpoint.load(state)
    if rows:
        typer.echo(f"Training continues after epoch {len(rows)}.", err=True)
    total = -(-knobs.iterations // (len(images) // knobs.batch_size))
    epochs = epochs_of(state, Split(images, labels), method, watched, processes)
    try:
        for result in progress(epochs, "Training", total, len(rows), described):
            epoch, iteration, loss, (seen, unseen) = result
            rows.append(EpochRow(epoch, iteration, loss, seen.accuracy, unseen.loss, unseen.accuracy))
            checkpoint.save(state, rows)
        network = kept(state, method)
        whole = measure(network, Split(images, labels), processes)
    except DivergedError as error:
        decay = f" or train.weight_decay (now {knobs.weight_decay})" if knobs.weight_decay else ""
        raise UserError(
            f"training diverged: at step {error.iteration} the numbers of layer {error.layer} are no longer finite. "
            f"The steps are probably too long, or the first weights too large: lower train.learning_rate "
            f"(now {knobs.learning_rate}){decay}, or choose a smaller train.weight_init_std (now "
            f"{knobs.weight_init_std}), in {params}. "
            "No model was written."
        ) from None
    except FloatingPointError:
        raise UserError(
            f"the trained network's loss on {train} is not finite; lower train.learning_rate (now "
            f"{knobs.learning_rate}) in {params}. No model was written."
        ) from None
    except ChildProcessError as error:
        raise UserError(f"training's second process {error}. No model was written; run it again.") from None

    final = rows[state.best.epoch - 1 if method.keep_best else -1]
    unseen = Score(final.validation_loss, final.validation_accuracy)
    save_model(model, network)
    write_json(training / "train.json", whole._asdict())
    write_json(training / "validation.json", unseen._asdict())
    write_history(training / "history.csv", recorded(rows, final.epoch))
    checkpoint.remove()
    if state.iteration < knobs.iterations:
        typer.echo(
            f"Training stopped after epoch {len(rows)}: {knobs.patience} epochs without a better one. The network of "
            f"epoch {final.epoch} is kept.",
            err=True,
        )
    if unseen.is_like_guessing(len(preparation.classes)):
        typer.echo(
            f"note: the network is hardly better than guessing (validation accuracy {unseen.accuracy:.3f}); "
            f"try another train.learning_rate (now {knobs.learning_rate}) or "
            f"train.weight_init_std (now {knobs.weight_init_std}; glorot suits most networks), or more "
            f"train.iterations (now {knobs.iterations}).",
            err=True,
        )


if __name__ == "__main__":
    train()
