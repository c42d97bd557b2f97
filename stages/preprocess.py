from pathlib import Path
from typing import Annotated

from typer import Argument

from mlp.protocol import Preparation
from pipeline.images.idx import read_labelled
from pipeline.images.prepare import one_hot, prepare_training
from pipeline.program.command import DatasetsFile, ParamsFile, command
from pipeline.program.errors import UserError
from pipeline.program.files import check_distinct
from pipeline.settings.datasets import (
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    load_dataset,
)
from pipeline.settings.params import load_params
from pipeline.store.artifacts import save_prepared


@command
def preprocess(
    raw: Annotated[Path, Argument(help="The folder with the four IDX files.")] = Path("data/raw"),
    train: Annotated[Path, Argument(help="Output: the training images.")] = Path(
        "data/prepared/train.npz"
    ),
    validation: Annotated[Path, Argument(help="Output: the validation images.")] = Path(
        "data/prepared/validation.npz"
    ),
    test: Annotated[Path, Argument(help="Output: the test images.")] = Path(
        "data/prepared/test.npz"
    ),
    params: ParamsFile = Path("params.yaml"),
    datasets: DatasetsFile = Path("datasets.yaml"),
) -> None:
    """Check the images, hold some out for validation, flatten them and one-hot encode their labels.

    Pixels stay bytes on disk. The shift and the scale of the chosen scaling are saved with them.
    Training computes the network's input, (byte - shift) * scale, for each mini-batch. How pictures
    became images is saved, too.
    """
    check_distinct(raw, train, validation, test, params, datasets)
    parameters = load_params(params)
    dataset = load_dataset(datasets, parameters.download.dataset)
    classes, settings = dataset.classes, parameters.preprocess

    images, labels = read_labelled(raw / TRAIN_IMAGES, raw / TRAIN_LABELS, len(classes))
    test_images, test_labels = read_labelled(raw / TEST_IMAGES, raw / TEST_LABELS, len(classes))
    _, height, width = images.shape
    if test_images.shape[1:] != (height, width):
        what = f"as in {TRAIN_IMAGES}, found {test_images.shape[1]} × {test_images.shape[2]}"
        raise UserError(
            f"{raw / TEST_IMAGES}: expected images of {height} × {width} pixels {what}."
        )
    if settings.validation_size >= len(images):
        what = (
            f"expected less than the {len(images)} images in {raw / TRAIN_IMAGES}, so that some "
            "are left to train on"
        )
        raise UserError(
            f"{params}: preprocess.validation_size is {settings.validation_size}; {what}."
        )

    known = Preparation(0.0, 1.0, (height, width), classes, dataset.whole, dataset.inverted)
    how = settings.scaling, settings.validation_size, settings.seed
    preparation = prepare_training(train, validation, images, labels, known, *how)
    save_prepared(test, test_images, one_hot(test_labels, len(classes)), preparation)


if __name__ == "__main__":
    preprocess()
