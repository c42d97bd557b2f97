import time
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from mlp.training import Epoch
from pipeline.fitting.checkpoint import Checkpoint
from pipeline.fitting.fit import failures_explained, training_of
from pipeline.fitting.processes import processes_for
from pipeline.program.command import ParamsFile, command
from pipeline.program.errors import note
from pipeline.program.files import check_distinct, write_json
from pipeline.program.progress import progress
from pipeline.settings.params import load_params
from pipeline.store.artifacts import NETWORK, check_alike, load_prepared, save_model
from pipeline.store.tables import write_history

INTERVAL = 2.0  # seconds between two states of the history, at least


@command
def train(
    train: Annotated[Path, Argument(help="The images to train on.")] = Path(
        "data/prepared/train.npz"
    ),
    validation: Annotated[Path, Argument(help="Images to watch it with.")] = Path(
        "data/prepared/validation.npz"
    ),
    model: Annotated[Path, Argument(help="Output: the trained network.")] = Path("models/mlp.npz"),
    on_train: Annotated[Path, Argument(help="Output: its accuracy and loss on them.")] = Path(
        "metrics/train.json"
    ),
    on_validation: Annotated[Path, Argument(help="Output: these on the others.")] = Path(
        "metrics/validation.json"
    ),
    history: Annotated[Path, Argument(help="Output: these after each epoch. It grows.")] = Path(
        "metrics/history.csv"
    ),
    params: ParamsFile = Path("params.yaml"),
    fresh: Annotated[bool, Option("--fresh", help="Begin at the beginning in any case.")] = False,
) -> None:
    """Train a multi-layer perceptron on prepared images.

    A killed training continues from its last checkpoint. Checkpoints are in
    .dvc/tmp/checkpoints of the DVC project, or in the folder that TRAIN_CHECKPOINTS names.
    """
    check_distinct(train, validation, model, on_train, on_validation, history, params)
    parameters = load_params(params)
    settings = parameters.train
    images, held_out = load_prepared(train), load_prepared(validation)
    check_alike(train, images.preparation, validation, held_out.preparation)
    network = NETWORK.new(settings, images.preparation)
    processes = processes_for(network, settings.batch_size)
    checkpoint = Checkpoint(parameters, [train, validation], processes, fresh)
    training = training_of(network, parameters, params, images, held_out, processes, checkpoint)
    if training.resumed:
        note(f"Training continues after epoch {training.resumed}.")

    def described(epoch: Epoch) -> str:
        accuracy = epoch.scores[-1].accuracy
        where = f"epoch {epoch.epoch} of {training.total}"
        return f"{where}, loss {epoch.loss:.4f}, validation accuracy {accuracy:.4f}"

    with failures_explained(settings, params):
        written = 0.0
        for _ in progress(training.run(), "Training", training.total, training.resumed, described):
            if time.monotonic() - written >= INTERVAL:
                write_history(history, training.epochs)
                written = time.monotonic()
        result = training.result()

    save_model(model, result.network)
    write_json(on_train, result.train._asdict())
    write_json(on_validation, result.validation._asdict())
    write_history(history, training.epochs, result.epoch)
    checkpoint.remove()
    if len(training.epochs) < training.total:
        note(
            f"Training stopped after epoch {len(training.epochs)}: {settings.patience} epochs "
            "without a better one. The "
            f"network of epoch {result.epoch} is kept."
        )
    guessing = 1 / len(images.preparation.classes)
    if max(result.train.accuracy, result.validation.accuracy) < min(
        2 * guessing, (1 + guessing) / 2
    ):
        note(
            "note: the network is hardly better than guessing (validation accuracy "
            f"{result.validation.accuracy:.3f}); try another train.learning_rate (now "
            f"{settings.learning_rate}) or "
            f"train.weight_init_std (now {settings.weight_init_std}; glorot suits most networks), "
            "or more "
            f"train.iterations (now {settings.iterations})."
        )


if __name__ == "__main__":
    train()
