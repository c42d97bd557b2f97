"""Draw the results as figures, and copy the results into the folder that is in Git."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.program.command import ParamsFile, command


@command
def plot(
    model: Annotated[Path, typer.Argument(help="The trained network.")] = Path("models/mlp.npz"),
    training: Annotated[Path, typer.Argument(help="The folder that the train stage wrote.")] = Path("models/training"),
    evaluation: Annotated[Path, typer.Argument(help="The folder that the evaluate stage wrote.")] = Path(
        "models/evaluation"
    ),
    figures: Annotated[
        Path,
        typer.Argument(
            help="Output: a folder for accuracy.png, loss.png, confusion.png, misclassified.png and weights.png."
        ),
    ] = Path("models/figures"),
    metrics: Annotated[
        Path, typer.Argument(help="Output: a folder for copies of the figures, JSON and CSV files, for Git.")
    ] = Path("metrics"),
    params: ParamsFile = Path("params.yaml"),
) -> None:
    """Draw the figures: accuracy, loss, confusion matrix, misclassified images, first layer's weights.

    Then copy the figures, tables and numbers into the folder that is in Git.
    """
    from pipeline.drawing.figures import (  # here, so that --help answers at once
        draw_accuracy,
        draw_confusion,
        draw_loss,
        draw_misclassified,
        draw_weights,
        picture,
        use_own_settings,
    )
    from pipeline.evaluation.report import confusion_matrix
    from pipeline.program.files import written_whole
    from pipeline.settings.params import load_params
    from pipeline.store.artifacts import load_misclassified, load_model
    from pipeline.store.tables import read_confusion, read_history

    knobs = load_params(params).plot
    epochs = read_history(training / "history.csv")
    network = load_model(model)
    names = network.preparation.classes
    actual, predicted = read_confusion(evaluation / "confusion.csv", names)
    mistakes = load_misclassified(evaluation / "misclassified.npz")

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
    for folder, copied in (
        (training, ("train.json", "validation.json", "history.csv")),
        (evaluation, ("test.json", "classes.json", "confusion.csv")),
    ):
        files |= {metrics / name: (folder / name).read_bytes() for name in copied}
    for path, content in files.items():
        with written_whole(path) as file:
            file.write(content)


if __name__ == "__main__":
    plot()
