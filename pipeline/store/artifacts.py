"""The files between the stages: prepared images, the trained network, misclassified images.

The files' checksums show damage. The functions here check that a file is one of its kind, and that
a network, which may be a stranger's, cannot spoil what is done with it.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp.arithmetic import ARITHMETICS, MOST_TERMS
from mlp.network import MLP
from mlp.network import MLP as NETWORK  # what the pipeline trains; others: docs/make-it-yours.md
from mlp.protocol import Network, Preparation, Split
from pipeline.program.errors import UserError, is_name
from pipeline.store.arrays import load_arrays, save_arrays

FLAGS = ("whole", "inverted")  # of a preparation: a file has the array only if it is true


class Prepared(NamedTuple):
    """A prepared split, whose images stay in their file, and how they were prepared."""

    split: Split
    preparation: Preparation


class Misclassified(NamedTuple):
    """The misclassified test images, the most confident mistake first."""

    images: np.ndarray  # (n, features) uint8
    actual: np.ndarray  # index of each image's true class, (n,) int64
    predicted: np.ndarray  # index of each image's predicted class, (n,) int64
    probability: np.ndarray  # probability of the predicted class, (n,) float64
    place: np.ndarray  # number of each image among the test images, from 0, (n,) int64
    image_shape: tuple[int, int]  # rows and columns of an image
    classes: tuple[str, ...]  # names of the classes


def save_prepared(
    path: Path, images: np.ndarray, labels: np.ndarray, preparation: Preparation
) -> None:
    """Write images, (n, rows, columns) uint8, and one-hot labels, (n, classes) uint8."""
    flat = images.reshape(len(images), -1)
    save_arrays(path, images=flat, labels=labels, **_preparation_arrays(preparation))


def load_prepared(path: Path) -> Prepared:
    """Read a split that the preprocess stage wrote. Images stay in the file until they are used.

    A UserError says that the file is missing, or damaged, or no split, or its images too large.
    """
    found = _Arrays(path, mapped=("images",))
    preparation = found.preparation()
    rows, columns = preparation.image_shape
    images = found.take("images", np.uint8, None, rows * columns)
    labels = found.take("labels", np.uint8, len(images), len(preparation.classes))
    if labels.max(initial=0) > 1 or (np.count_nonzero(labels, axis=1) != 1).any():
        raise found.wrong("labels", "its labels are not one-hot: one 1 in each row, and else 0")
    return Prepared(Split(images, labels), preparation)


def check_alike(path: Path, preparation: Preparation, other: Path, others: Preparation) -> None:
    """Raise a UserError unless what two files have was prepared alike."""
    if preparation != others:
        what = "come from different preparations; run `dvc repro` to make both again"
        raise UserError(f"{path} and {other} {what}.")


def save_model(path: Path, network: Network) -> None:
    """Write a trained network: its arrays layer by layer, its settings, its preparation."""
    by_layer = sorted(network.arrays.items(), key=lambda item: int(item[0].rpartition("_")[2]))
    texts = network.settings | {"arithmetic": network.arithmetic.name}
    save_arrays(path, **dict(by_layer), **texts, **_preparation_arrays(network.preparation))


def load_model(path: Path) -> Network:
    """Read a network. A UserError says that the file is missing, damaged, or no network."""
    found = _Arrays(path)
    preparation = found.preparation()
    arithmetic = str(found.take("arithmetic", np.str_))
    if arithmetic not in ARITHMETICS:
        raise found.wrong("arithmetic", f"its arithmetic is none of {', '.join(ARITHMETICS)}")
    known = {"arithmetic", *_preparation_arrays(preparation)}
    own = {name: array for name, array in found.arrays.items() if name not in known}
    settings = {name: str(text) for name, text in own.items() if text.dtype.kind == "U"}
    arrays = {name: array for name, array in own.items() if name not in settings}
    try:
        return NETWORK.load(arrays, settings, ARITHMETICS[arithmetic], preparation)
    except ValueError as error:
        raise found.wrong(str(error).split()[0], f"its {error}") from None


def load_mlp(path: Path) -> MLP:
    """Read a multi-layer perceptron. Errors are those of `load_model`, or it is another network."""
    network = load_model(path)
    if not isinstance(network, MLP):
        raise UserError(f"{path}: expected a multi-layer perceptron, found another network.")
    return network


def save_misclassified(path: Path, mistakes: Misclassified) -> None:
    """Write the misclassified images."""
    image_shape, classes = np.array(mistakes.image_shape, np.int64), np.array(mistakes.classes)
    save_arrays(path, **mistakes._asdict() | {"image_shape": image_shape, "classes": classes})


def load_misclassified(path: Path) -> Misclassified:
    """Read what the evaluate stage wrote. Errors are like those of `load_model`."""
    found = _Arrays(path)
    shape = found.image_shape()
    images = found.take("images", np.uint8, None, shape[0] * shape[1])
    names = ("actual", "predicted", "place")
    actual, predicted, place = (found.take(name, np.int64, len(images)) for name in names)
    probability = found.take("probability", np.float64, len(images))
    classes = found.classes()
    for name, numbers in (("actual", actual), ("predicted", predicted)):
        if not np.isin(numbers, range(len(classes))).all():
            raise found.wrong(name, f"its array {name} has numbers that no class has")
    return Misclassified(images, actual, predicted, probability, place, shape, classes)


class _Arrays:
    """The arrays of a file. Each method raises a UserError if its array is not as expected."""

    def __init__(self, path: Path, mapped: tuple[str, ...] = ()):
        self.path, self.arrays = path, load_arrays(path, mapped)

    def wrong(self, about: str, what: str) -> UserError:
        return UserError(f"{self.path}: {what}; run `dvc repro` to make it again.", about=about)

    def take(self, name: str, dtype: type, *shape: int | None) -> np.ndarray:
        """Return an array of a type and a shape. None in the shape stands for any length."""
        if name not in self.arrays:
            raise self.wrong(name, f"it has no array {name}")
        array = self.arrays[name]
        pairs = zip(shape, array.shape, strict=False)
        is_alike = len(shape) == array.ndim and all(n in (None, length) for n, length in pairs)
        if not np.issubdtype(array.dtype, dtype) or not is_alike or 0 in array.shape[1:]:
            expected = ", ".join("n" if n is None else str(n) for n in shape)
            found = f"{array.dtype} of the shape {array.shape}"
            what = f"{found}, not {np.dtype(dtype)} of the shape ({expected})"
            raise self.wrong(name, f"its array {name} is {what}")
        return array

    def image_shape(self) -> tuple[int, int]:
        rows, columns = self.take("image_shape", np.int64, 2).tolist()
        if rows < 1 or columns < 1:
            raise self.wrong("image_shape", "its image_shape is not two positive numbers")
        if rows * columns > MOST_TERMS:
            what = f"expected images of at most {MOST_TERMS} pixels, found {rows} × {columns}"
            raise UserError(f"{self.path}: {what}.", about="image_shape")
        return rows, columns

    def classes(self) -> tuple[str, ...]:
        names = tuple(self.take("classes", np.str_, None).tolist())
        if not 1 < len(set(names)) == len(names) or not all(map(is_name, names)):
            raise self.wrong("classes", "its classes are not two or more short, distinct texts")
        return names

    def preparation(self) -> Preparation:
        shift, scale = (float(self.take(name, np.float64)) for name in ("shift", "scale"))
        flags = [name in self.arrays for name in FLAGS]
        try:
            return Preparation(shift, scale, self.image_shape(), self.classes(), *flags)
        except ValueError as error:
            raise self.wrong(str(error).split()[0], f"its {error}") from None


def _preparation_arrays(preparation: Preparation) -> dict[str, Any]:
    arrays = {
        "shift": np.array(preparation.shift, np.float64),
        "scale": np.array(preparation.scale, np.float64),
        "image_shape": np.array(preparation.image_shape, np.int64),
        "classes": np.array(preparation.classes),
    }
    return arrays | {name: np.array(True) for name in FLAGS if getattr(preparation, name)}
