from pathlib import Path
from typing import Annotated

from typer import Argument

from pipeline.drawing import figures as drawing
from pipeline.fitting.fit import distorted
from pipeline.program.command import ParamsFile, command
from pipeline.program.files import check_distinct
from pipeline.settings.params import load_params
from pipeline.store.artifacts import check_alike, load_misclassified, load_model, load_prepared

MODEL, TRAIN = Path("models/mlp.npz"), Path("data/prepared/train.npz")
MISTAKES, FIGURES = Path("models/misclassified.npz"), Path("metrics/figures")
EPOCHS = 6  # of which training_images.png shows the distortions


@command
def plot(
    model: Annotated[Path, Argument(help="The trained network.")] = MODEL,
    train: Annotated[Path, Argument(help="The training images.")] = TRAIN,
    misclassified: Annotated[Path, Argument(help="The misclassified test images.")] = MISTAKES,
    figures: Annotated[Path, Argument(help="Output: the folder for three PNG files.")] = FIGURES,
    params: ParamsFile = Path("params.yaml"),
) -> None:
    """Draw misclassified images, training images as distorted, and the first layer."""
    check_distinct(model, train, misclassified, figures, params)
    parameters = load_params(params)
    network, prepared = load_model(model), load_prepared(train)
    mistakes = load_misclassified(misclassified)
    check_alike(model, network.preparation, train, prepared.preparation)
    shape = network.preparation.image_shape
    places = drawing.first_of_each_class(prepared.split)
    images, labels = prepared.split.images[places], prepared.split.labels[places]
    names = [network.preparation.classes[k] for k in labels.argmax(axis=1)]
    made = distorted(parameters, images, shape, EPOCHS)
    drawing.use_own_settings()
    drawn = {
        "misclassified": drawing.draw_misclassified(mistakes, parameters.plot.misclassified),
        "training_images": drawing.draw_training_images(images, made, shape, names),
    }
    if (first_layer := network.first_layer()) is not None:
        drawn["weights"] = drawing.draw_weights(*first_layer)
    drawing.save_figures(figures, parameters.plot.dpi, **drawn)


if __name__ == "__main__":
    plot()
