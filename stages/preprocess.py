from pathlib import Path
from typing import Annotated

from typer import Argument

from mlp.protocol import Preparation
from pipeline.images.idx import read_labelled
from pipeline.images.prepare import hold_out, one_hot, scaling_of
from pipeline.program.command import DatasetsFile, ParamsFile, command
from pipeline.program.errors import UserError
from pipeline.program.files import check_distinct
from pipeline.settings.datasets import SAVED_AS, load_dataset
from pipeline.settings.params import load_params
from pipeline.store.artifacts import save_prepared

OUT = Path("data/prepared")


@command
def preprocess(
    raw: Annotated[Path, Argument(help="The folder with the four IDX files.")] = Path("data/raw"),
    train: Annotated[Path, Argument(help="Output: the training images.")] = OUT / "train.npz",
    validation: Annotated[Path, Argument(help="Output: the validation images.")] = OUT
    / "validation.npz",
    test: Annotated[Path, Argument(help="Output: the test images.")] = OUT / "test.npz",
    params: ParamsFile = Path("params.yaml"),
    datasets: DatasetsFile = Path("datasets.yaml"),
) -> None:
    """Check the images, hold some out for validation, flatten them and one-hot encode their labels.

    Pixels stay bytes on disk. The shift and the scale of the chosen scaling are saved with them.
    Training computes the network's input, (byte - shift) * scale, for each mini-batch.
    """
    check_distinct(raw, train, validation, test, params, datasets)
    parameters = load_params(params)
    dataset = load_dataset(datasets, parameters.download.dataset)
    classes, settings = dataset.classes, parameters.preprocess

    files = {key: raw / name for key, name in SAVED_AS.items()}
    train_file, test_file = files["train_images"], files["test_images"]
    images, labels = read_labelled(train_file, files["train_labels"], len(classes))
    test_images, test_labels = read_labelled(test_file, files["test_labels"], len(classes))
    n, height, width = images.shape
    _, test_height, test_width = test_images.shape
    if (test_height, test_width) != (height, width):
        what = f"expected images of {height} × {width} pixels as in {train_file.name}"
        raise UserError(f"{test_file}: {what}, found {test_height} × {test_width}.")
    size = settings.validation_size
    if size >= n:
        found = f"preprocess.validation_size is {size}"
        expected = f"less than the {n} images in {train_file}, so that some are left to train on"
        raise UserError(f"{params}: {found}; expected {expected}.")

    to_train, held_out = hold_out(n, size, settings.seed)
    chosen = images[to_train]
    shift, scale = scaling_of(chosen, settings.scaling)
    known = (height, width), classes, dataset.whole, dataset.inverted
    preparation = Preparation(shift, scale, *known)
    labels, test_labels = one_hot(labels, len(classes)), one_hot(test_labels, len(classes))
    save_prepared(train, chosen, labels[to_train], preparation)
    save_prepared(validation, images[held_out], labels[held_out], preparation)
    save_prepared(test, test_images, test_labels, preparation)


if __name__ == "__main__":
    preprocess()
