from pathlib import Path
from typing import Annotated

from typer import Argument

from pipeline.drawing.figures import (
    draw_misclassified,
    draw_training_images,
    draw_weights,
    first_of_each_class,
    save_figures,
    use_own_settings,
)
from pipeline.fitting.fit import distorted
from pipeline.program.command import ParamsFile, command
from pipeline.program.files import check_distinct
from pipeline.settings.params import load_params
from pipeline.store.artifacts import check_alike, load_misclassified, load_model, load_prepared

EPOCHS = 6  # of which training_images.png shows the distortions


@command
def plot(
    model: Annotated[Path, Argument(help="The trained network.")] = Path("models/mlp.npz"),
    train: Annotated[Path, Argument(help="The training images.")] = Path("data/prepared/train.npz"),
    misclassified: Annotated[Path, Argument(help="The misclassified test images.")] = Path(
        "models/misclassified.npz"
    ),
    figures: Annotated[Path, Argument(help="Output: the folder for three PNG files.")] = Path(
        "metrics/figures"
    ),
    params: ParamsFile = Path("params.yaml"),
) -> None:
    """Draw misclassified images, training images as distorted, and the first layer."""
    check_distinct(model, train, misclassified, figures, params)
    parameters = load_params(params)
    network, prepared, mistakes = (
        load_model(model),
        load_prepared(train),
        load_misclassified(misclassified),
    )
    check_alike(model, network.preparation, train, prepared.preparation)
    shape = network.preparation.image_shape
    places = first_of_each_class(prepared.split)
    images, labels = prepared.split.images[places], prepared.split.labels[places]
    names = [network.preparation.classes[k] for k in labels.argmax(axis=1)]
    made = distorted(parameters, images, shape, EPOCHS)
    use_own_settings()
    drawn = {
        "misclassified": draw_misclassified(mistakes, parameters.plot.misclassified),
        "training_images": draw_training_images(images, made, shape, names),
    }
    if (first_layer := network.first_layer()) is not None:
        drawn["weights"] = draw_weights(*first_layer)
    save_figures(figures, parameters.plot.dpi, **drawn)


if __name__ == "__main__":
    plot()
