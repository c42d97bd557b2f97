"""The files that pass from stage to stage: prepared images, the trained network, and the misclassified images."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from mlp.arithmetic import ARITHMETICS, MOST_TERMS
from mlp.layers import ACTIVATIONS
from mlp.network import Network, Preparation, Split
from pipeline.program.errors import UserError, clip, is_name
from pipeline.store.arrays import load_arrays, save_arrays

FLAGS = ("fitted", "inverted")  # of a preparation: a file has the array only if it is true

Arrays = dict[str, np.ndarray]
T = TypeVar("T")


class Prepared(NamedTuple):
    """A prepared split, whose images stay in their file, and how they were prepared."""

    split: Split
    preparation: Preparation


class Misclassified(NamedTuple):
    """The misclassified test images, the most confident mistake first.

    Attributes:
        images: the images, (n, features) uint8.
        actual: the index of each image's true class, (n,) int64.
        predicted: the index of each image's predicted class, (n,) int64.
        probability: the probability of the predicted class, (n,) float64.
        place: the number of each image among the test images, from 0, (n,) int64.
        image_shape: rows and columns of an image.
        classes: the names of the classes.
    """

    images: np.ndarray
    actual: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray
    place: np.ndarray
    image_shape: tuple[int, int]
    classes: tuple[str, ...]


def save_prepared(path: Path, images: np.ndarray, labels: np.ndarray, preparation: Preparation) -> None:
    """Write a prepared split.

    Args:
        path: the `.npz` file.
        images: (n, rows, columns) bytes.
        labels: (n, classes) uint8, one-hot.
        preparation: how the images are prepared.
    """
    flat = images.reshape(len(images), -1)
    save_arrays(path, images=flat, labels=labels, **_preparation_arrays(preparation))


def load_prepared(path: Path) -> Prepared:
    """Read a split that the preprocess stage wrote. Its images stay in the file until they are used.

    Raises:
        UserError: the file is missing, damaged, or not a prepared split; or its images have too many pixels.
    """
    arrays = load_arrays(path, mapped=("images",))
    with _naming(path):
        preparation = _preparation(arrays)
        images, labels = _entry(arrays, "images", "u1", 2), _entry(arrays, "labels", "u1", 2)
        _require(len(images) > 0, "images", "it has no images")
        rows, columns = preparation.image_shape
        _require_shape("images", images, (len(images), rows * columns))
        _require_shape("labels", labels, (len(images), len(preparation.classes)))
        one_hot = labels.max() <= 1 and (np.count_nonzero(labels, axis=1) == 1).all()
        _require(one_hot, "labels", "its labels are not one-hot")
        _nothing_else(arrays)
    if rows * columns > MOST_TERMS:
        sentence = f"{path}: expected images of at most {MOST_TERMS} pixels, found {rows} × {columns}."
        raise UserError(sentence, path=path, about="image_shape")
    return Prepared(Split(images, labels), preparation)


def check_alike(path: Path, preparation: Preparation, other: Path, others: Preparation) -> None:
    """Check that what two files have was prepared alike.

    Raises:
        UserError: it was not.
    """
    if preparation != others:
        sentence = f"{path} and {other} come from different preparations; run `dvc repro` to make both again."
        raise UserError(sentence, path=path)


def save_model(path: Path, network: Network) -> None:
    """Write a trained network."""
    layers = {}
    for layer, (W, b) in enumerate(zip(network.weights, network.biases, strict=True), 1):
        layers[f"weights_{layer}"], layers[f"biases_{layer}"] = W, b
    save_arrays(
        path,
        **layers,
        activation=network.activation.name,
        arithmetic=network.arithmetic.name,
        **_preparation_arrays(network.preparation),
    )


def load_model(path: Path) -> Network:
    """Read a network that the train stage wrote.

    Raises:
        UserError: the file is missing, damaged, or not a network.
    """
    arrays = load_arrays(path)
    with _naming(path):
        preparation = _preparation(arrays)
        activation, arithmetic = _named(arrays, "activation", ACTIVATIONS), _named(arrays, "arithmetic", ARITHMETICS)
        dtype = np.dtype(arithmetic.dtype).str[1:]
        weights: list[np.ndarray] = []
        biases: list[np.ndarray] = []
        rows, columns = preparation.image_shape
        outputs = rows * columns
        while not weights or f"weights_{len(weights) + 1}" in arrays:
            weights_name, biases_name = f"weights_{len(weights) + 1}", f"biases_{len(weights) + 1}"
            W, b = _entry(arrays, weights_name, dtype, 2), _entry(arrays, biases_name, dtype, 1)
            _require(len(b) > 0, biases_name, f"its array {biases_name} is empty")
            _require_shape(weights_name, W, (outputs, len(b)))
            for name, array in ((weights_name, W), (biases_name, b)):
                _require(bool(np.isfinite(array).all()), name, f"its array {name} has a number that is not finite")
            weights.append(W)
            biases.append(b)
            outputs = len(b)
        one_each = outputs == len(preparation.classes)
        _require(one_each, weights_name, f"its last layer, {weights_name}, does not have one output per class")
        _nothing_else(arrays)
    return Network(weights, biases, activation, arithmetic, preparation)


def save_misclassified(path: Path, mistakes: Misclassified) -> None:
    """Write the misclassified images."""
    image_shape, classes = np.array(mistakes.image_shape, np.int64), np.array(mistakes.classes)
    save_arrays(path, **mistakes._asdict() | {"image_shape": image_shape, "classes": classes})


def load_misclassified(path: Path) -> Misclassified:
    """Read the misclassified images that the evaluate stage wrote.

    Raises:
        UserError: the file is missing, damaged, or not of misclassified images.
    """
    arrays = load_arrays(path)
    with _naming(path):
        image_shape, classes = _image_shape(arrays), _classes(arrays)
        images = _entry(arrays, "images", "u1", 2)
        _require_shape("images", images, (len(images), image_shape[0] * image_shape[1]))
        columns = {}
        for name, dtype in (("actual", "i8"), ("predicted", "i8"), ("probability", "f8"), ("place", "i8")):
            columns[name] = column = _entry(arrays, name, dtype, 1)
            _require_shape(name, column, (len(images),))
        for name in ("actual", "predicted"):
            known = (columns[name] >= 0) & (columns[name] < len(classes))
            _require(bool(known.all()), name, f"its array {name} has a number that belongs to no class")
        probability = columns["probability"]
        _require(
            bool(((probability >= 0) & (probability <= 1)).all()),
            "probability",
            "its array probability has a number that is not from 0 to 1",
        )
        _nothing_else(arrays)
    return Misclassified(images, **columns, image_shape=image_shape, classes=classes)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let the errors of `_require` inside the block name the file."""
    try:
        yield
    except UserError as error:
        sentence = f"{path}: {error}; run `dvc repro` to make it again."
        raise UserError(sentence, path=path, about=error.about) from None


def _require(condition: bool, about: str, otherwise: str) -> None:
    if not condition:
        raise UserError(otherwise, about=about)


def _require_shape(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    _require(array.shape == shape, name, f"its array {name} has the shape {array.shape}, not {shape}")


def _entry(arrays: Arrays, name: str, dtype: str, dimensions: int) -> np.ndarray:
    """Remove the array `name` from `arrays`; return it in the machine's byte order. `dtype` is a code, such as "f8"."""
    _require(name in arrays, name, f"it has no array {name}")
    array = arrays.pop(name)
    little_endian = array.dtype.str[1:] == dtype and array.dtype.str[0] in "<|"
    found, expected = f"{array.ndim}-dimensional {array.dtype}", f"{dimensions}-dimensional {np.dtype(dtype)}"
    _require(little_endian and array.ndim == dimensions, name, f"its array {name} is {found}, not {expected}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _named(arrays: Arrays, name: str, known: dict[str, T]) -> T:
    """Remove a text from `arrays`, and return the object with this name."""
    given = name in arrays and arrays[name].dtype.kind == "U" and arrays[name].ndim == 0
    _require(given, name, f"it does not name its {name}")
    value = str(arrays.pop(name))
    _require(value in known, name, f"its {name} is none of {', '.join(known)}")
    return known[value]


def _preparation_arrays(preparation: Preparation) -> Arrays:
    arrays: Arrays = {
        "shift": np.array(preparation.shift, np.float64),
        "scale": np.array(preparation.scale, np.float64),
        "image_shape": np.array(preparation.image_shape, np.int64),
        "classes": np.array(preparation.classes),
    }
    return arrays | {name: np.array(True) for name in FLAGS if getattr(preparation, name)}


def _preparation(arrays: Arrays) -> Preparation:
    image_shape, classes = _image_shape(arrays), _classes(arrays)
    shift, scale = float(_entry(arrays, "shift", "f8", 0)), float(_entry(arrays, "scale", "f8", 0))
    on_grid = 0.0 <= shift <= 255.0 and (shift * 256.0).is_integer()
    _require(on_grid, "shift", "its shift is not a multiple of 1/256 from 0 to 255")
    _require(0.0 < scale < np.inf, "scale", "its scale is not a positive number")
    flags = {name: bool(_entry(arrays, name, "b1", 0)) for name in FLAGS if name in arrays}
    return Preparation(shift, scale, image_shape, classes, **flags)


def _image_shape(arrays: Arrays) -> tuple[int, int]:
    sizes = _entry(arrays, "image_shape", "i8", 1)
    positive = len(sizes) == 2 and bool((sizes > 0).all())
    _require(positive, "image_shape", "its image_shape is not two positive numbers")
    rows, columns = sizes.tolist()
    return rows, columns


def _classes(arrays: Arrays) -> tuple[str, ...]:
    classes = arrays.pop("classes", np.empty(0))
    named = classes.dtype.kind == "U" and classes.ndim == 1 and len(classes) > 1
    _require(named, "classes", "it does not name two or more classes")
    names = tuple(classes.tolist())
    distinct = len(set(names)) == len(names)
    _require(distinct and all(map(is_name, names)), "classes", "its classes are not short, distinct texts")
    return names


def _nothing_else(arrays: Arrays) -> None:
    unknown = ", ".join(sorted(arrays))
    _require(not arrays, unknown, f"it also has unknown arrays: {clip(unknown)}")
