"""Draw the results as figures, and copy the results into the folder that is in Git."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import one_sentence_errors

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
@one_sentence_errors
def plot(
    model: Annotated[Path, typer.Argument(help="The trained network.")] = Path("models/mlp.npz"),
    train: Annotated[Path, typer.Argument(help="Its accuracies and losses at the end of training.")] = Path(
        "models/train.json"
    ),
    history: Annotated[Path, typer.Argument(help="The loss and accuracy of each epoch.")] = Path("models/history.csv"),
    test: Annotated[Path, typer.Argument(help="Accuracy, error rate and loss on the test images.")] = Path(
        "models/evaluation/test.json"
    ),
    classes: Annotated[Path, typer.Argument(help="Precision, recall and F1 of each class.")] = Path(
        "models/evaluation/classes.json"
    ),
    confusion: Annotated[Path, typer.Argument(help="Each test image's actual and predicted class.")] = Path(
        "models/evaluation/confusion.csv"
    ),
    misclassified: Annotated[Path, typer.Argument(help="The test images that the network got wrong.")] = Path(
        "models/evaluation/misclassified.npz"
    ),
    figures: Annotated[
        Path,
        typer.Argument(help="Folder for accuracy.png, loss.png, confusion.png, misclassified.png and weights.png."),
    ] = Path("models/figures"),
    metrics: Annotated[
        Path, typer.Argument(help="Folder for a copy of the figures, and of the JSON and CSV files, for Git.")
    ] = Path("metrics"),
    params: Annotated[Path, typer.Option(help="Parameter file: the section plot.")] = Path("params.yaml"),
) -> None:
    """Draw the figures: accuracy, loss, confusion matrix, misclassified images, first layer's weights.

    Then copy the figures, tables and numbers into the folder that is in Git.
    """
    from pipeline.artifacts import load_misclassified, load_model
    from pipeline.figures import (
        draw_accuracy,
        draw_confusion,
        draw_loss,
        draw_misclassified,
        draw_weights,
        picture,
        use_own_settings,
    )
    from pipeline.files import written_whole
    from pipeline.params import load_params
    from pipeline.report import confusion_matrix
    from pipeline.tables import read_confusion, read_history

    knobs = load_params(params).plot
    epochs = read_history(history)
    network = load_model(model)
    names = network.preparation.classes
    actual, predicted = read_confusion(confusion, names)
    mistakes = load_misclassified(misclassified)

    use_own_settings()
    drawn = {
        "accuracy.png": draw_accuracy(epochs),
        "loss.png": draw_loss(epochs),
        "confusion.png": draw_confusion(confusion_matrix(actual, predicted, len(names)), names),
        "misclassified.png": draw_misclassified(mistakes, knobs.misclassified),
        "weights.png": draw_weights(network.weights[0], network.preparation.image_shape),
    }
    pictures = {name: picture(figure, knobs.dpi) for name, figure in drawn.items()}
    files = {figures / name: content for name, content in pictures.items()}
    files |= {metrics / figures.name / name: content for name, content in pictures.items()}
    files |= {metrics / path.name: path.read_bytes() for path in (train, history, test, classes, confusion)}
    for path, content in files.items():
        with written_whole(path) as file:
            file.write(content)


if __name__ == "__main__":
    app()
