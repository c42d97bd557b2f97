import time
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from mlp.prediction import logits
from mlp.training import Epoch
from pipeline.evaluation import evaluation
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

TRAIN, VALIDATION = Path("data/prepared/train.npz"), Path("data/prepared/validation.npz")
MODEL, HISTORY = Path("models/mlp.npz"), Path("metrics/history.csv")
ON_TRAIN, ON_REST = Path("metrics/train.json"), Path("metrics/validation.json")
INTERVAL = 2.0  # seconds between two states of the history, at least


@command
def train(
    train: Annotated[Path, Argument(help="The images to train on.")] = TRAIN,
    validation: Annotated[Path, Argument(help="The validation images.")] = VALIDATION,
    model: Annotated[Path, Argument(help="Output: the trained network.")] = MODEL,
    on_train: Annotated[Path, Argument(help="Output: scores on training images.")] = ON_TRAIN,
    on_validation: Annotated[Path, Argument(help="Output: scores on validation images.")] = ON_REST,
    history: Annotated[Path, Argument(help="Output: scores after each epoch, so far.")] = HISTORY,
    params: ParamsFile = Path("params.yaml"),
    fresh: Annotated[bool, Option("--fresh", help="Ignore a checkpoint; start over.")] = False,
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
    predicted = logits(result.network, held_out.split.images, processes).argmax(axis=1)
    actual, classes = held_out.split.labels.argmax(axis=1), images.preparation.classes
    report = evaluation.classification_report(actual, predicted, len(classes))
    macro_f1 = evaluation.mean_f1(report)
    write_json(on_validation, result.validation._asdict() | {"macro_f1": macro_f1})
    write_history(history, training.epochs, result.epoch)
    checkpoint.remove()
    if len(training.epochs) < training.total:
        ended = f"Training stopped after epoch {len(training.epochs)}"
        why = f"{settings.patience} epochs without a better one"
        note(f"{ended}: {why}. The network of epoch {result.epoch} is kept.")
    best = max(result.train.accuracy, result.validation.accuracy)
    if evaluation.is_hardly_better_than_guessing(best, images.split.labels):
        note(
            "note: the network is hardly better than guessing the most frequent class "
            f"(validation accuracy {result.validation.accuracy:.3f}, macro F1 {macro_f1:.3f}); "
            f"try another train.learning_rate (now {settings.learning_rate}) or "
            f"train.weight_init_std (now {settings.weight_init_std}; glorot suits most networks), "
            f"or more train.iterations (now {settings.iterations})."
        )


if __name__ == "__main__":
    train()
