"""Draw what training and evaluation left behind, as figures for people."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import one_sentence_errors

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
@one_sentence_errors
def plot(
    history: Annotated[Path, typer.Argument(help="How training stood after each epoch.")] = Path("metrics/history.csv"),
    confusion: Annotated[Path, typer.Argument(help="Each test image's actual and predicted class.")] = Path(
        "metrics/confusion.csv"
    ),
    model: Annotated[Path, typer.Argument(help="The trained network.")] = Path("models/mlp.npz"),
    misclassified: Annotated[Path, typer.Argument(help="The test images it got wrong.")] = Path(
        "data/misclassified.npz"
    ),
    figures: Annotated[
        Path,
        typer.Argument(help="Folder for accuracy.png, loss.png, confusion.png, misclassified.png and weights.png."),
    ] = Path("metrics/figures"),
    params: Annotated[Path, typer.Option(help="Parameter file: the section plot.")] = Path("params.yaml"),
) -> None:
    """Draw the figures: accuracy, loss, confusion matrix, misclassified images, first layer's weights."""
    from mlp.metrics import confusion_matrix
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
    from pipeline.tables import read_confusion, read_history

    knobs = load_params(params).plot
    epochs = read_history(history)
    network, image_shape, names = load_model(model)
    actual, predicted = read_confusion(confusion, names)
    mistakes = load_misclassified(misclassified)

    use_own_settings()
    drawn = {
        "accuracy.png": draw_accuracy(epochs),
        "loss.png": draw_loss(epochs),
        "confusion.png": draw_confusion(confusion_matrix(actual, predicted, len(names)), names),
        "misclassified.png": draw_misclassified(mistakes, knobs.misclassified),
        "weights.png": draw_weights(network.weights[0], image_shape),
    }
    pictures = {name: picture(figure, knobs.dpi) for name, figure in drawn.items()}
    for name, content in pictures.items():
        with written_whole(figures / name) as file:
            file.write(content)


if __name__ == "__main__":
    app()
