"""Draw the results as figures, and copy the results into the folder that is in Git."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.program.command import ParamsFile, command
from pipeline.program.errors import UserError

SHOWN, CLASSES, EPOCHS = 10, 30, 6  # training_images.png: images, if there are not more classes; most classes; rows


@command
def plot(
    model: Annotated[Path, typer.Argument(help="The trained network.")] = Path("models/mlp.npz"),
    images: Annotated[Path, typer.Argument(help="The images that it was trained on.")] = Path(
        "data/prepared/train.npz"
    ),
    training: Annotated[Path, typer.Argument(help="The folder that the train stage wrote.")] = Path("models/training"),
    evaluation: Annotated[Path, typer.Argument(help="The folder that the evaluate stage wrote.")] = Path(
        "models/evaluation"
    ),
    figures: Annotated[
        Path,
        typer.Argument(
            help="Output: a folder for accuracy.png, loss.png, confusion.png, misclassified.png, training_images.png "
            "and weights.png."
        ),
    ] = Path("models/figures"),
    metrics: Annotated[
        Path, typer.Argument(help="Output: a folder for copies of the figures, JSON and CSV files, for Git.")
    ] = Path("metrics"),
    params: ParamsFile = Path("params.yaml"),
) -> None:
    """Draw the figures: accuracy, loss, confusion matrix, misclassified and training images, first layer's weights.

    Then copy the figures, tables and numbers into the folder that is in Git.
    """
    import numpy as np  # here, so that --help answers at once

    from pipeline.drawing.figures import (
        draw_accuracy,
        draw_confusion,
        draw_loss,
        draw_misclassified,
        draw_training_images,
        draw_weights,
        picture,
        use_own_settings,
    )
    from pipeline.evaluation.report import confusion_matrix
    from pipeline.program.files import read_json, write_bytes
    from pipeline.settings.params import load_params
    from pipeline.store.artifacts import load_misclassified, load_model, load_prepared
    from pipeline.store.tables import read_confusion, read_history
    from pipeline.training.method import distortion_of

    settings = load_params(params)
    epochs = read_history(training / "history.csv")
    network = load_model(model)
    names = network.preparation.classes
    actual, predicted = read_confusion(evaluation / "confusion.csv", names)
    mistakes = load_misclassified(evaluation / "misclassified.npz")

    shape = network.preparation.image_shape
    prepared = load_prepared(images)
    if prepared.preparation != network.preparation:
        raise UserError(f"{model}: was not trained on the preparation that {images} has; run `dvc repro`.", path=model)
    some = range(min(len(names), CLASSES))
    each = max(1, SHOWN // len(some))
    first = [np.flatnonzero(prepared.split.labels[:, number])[:each] for number in some]
    shown = prepared.split.images[np.concatenate(first)]
    distortion = distortion_of(settings, shape)
    distorted = (
        [distortion.distort(shown, seed=0, epoch=epoch, first=0) for epoch in range(EPOCHS)] if distortion else []
    )

    use_own_settings()
    drawn = {
        "accuracy.png": draw_accuracy(epochs),
        "loss.png": draw_loss(epochs),
        "confusion.png": draw_confusion(confusion_matrix(actual, predicted, len(names)), names),
        "misclassified.png": draw_misclassified(mistakes, settings.plot.misclassified),
        "training_images.png": draw_training_images(
            shown.reshape(-1, *shape), [some.reshape(-1, *shape) for some in distorted]
        ),
        "weights.png": draw_weights(network.weights[0], shape),
    }
    pictures = {name: picture(figure, settings.plot.dpi) for name, figure in drawn.items()}
    files = {figures / name: content for name, content in pictures.items()}
    files |= {metrics / figures.name / name: content for name, content in pictures.items()}
    for folder, copied in (
        (training, ("train.json", "validation.json", "history.csv")),
        (evaluation, ("test.json", "classes.json", "confusion.csv")),
    ):
        for name in copied:
            if name.endswith(".json"):
                read_json(folder / name)  # a damaged file ends here; the tables were read above
            files[metrics / name] = (folder / name).read_bytes()
    for path, content in files.items():
        write_bytes(path, content)


if __name__ == "__main__":
    plot()
