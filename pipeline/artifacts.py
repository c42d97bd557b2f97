"""What the stages hand to each other: prepared images, the trained network, and the images that it got wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlp.arithmetic import ARITHMETICS
from mlp.layers import ACTIVATIONS
from mlp.network import Network, Split
from pipeline.errors import UserError
from pipeline.files import load_arrays, save_arrays

Arrays = dict[str, np.ndarray]


class Prepared(NamedTuple):
    """A prepared split, and what there is to know of its images.

    Attributes:
        split: the images and their labels.
        shift: the network's input is (byte − shift) · scale; a multiple of 1/256.
        scale: see `shift`.
        image_shape: rows and columns of an image.
        classes: the names of the classes, in the order of the labels.
    """

    split: Split
    shift: float
    scale: float
    image_shape: tuple[int, int]
    classes: tuple[str, ...]


class Model(NamedTuple):
    """A network, and what it was trained on: rows and columns of an image, and the names of the classes."""

    network: Network
    image_shape: tuple[int, int]
    classes: tuple[str, ...]


class Misclassified(NamedTuple):
    """The test images that a network got wrong, the most confident mistake first.

    Attributes:
        images: (n, features) uint8.
        actual: the index of each image's class, (n,) int64.
        predicted: the index of the class it was taken for.
        probability: how sure the network was, (n,) float64.
        index: the image's place among the test images.
        image_shape: rows and columns of an image.
        classes: the names of the classes.
    """

    images: np.ndarray
    actual: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray
    index: np.ndarray
    image_shape: tuple[int, int]
    classes: tuple[str, ...]


def load_prepared(path: Path) -> Prepared:
    """Read a split that the preprocess stage wrote.

    Raises:
        UserError: the file is missing, damaged, or not a prepared split.
    """
    arrays = load_arrays(path)
    with _named(path):
        image_shape, classes, shift, scale = _description(arrays)
        images, labels = _entry(arrays, "images", "u1", 2), _entry(arrays, "labels", "u1", 2)
        _require(len(images) > 0, "it has no images")
        _require(images.shape[1] == image_shape[0] * image_shape[1], "its images are not of the shape it states")
        _require(labels.shape == (len(images), len(classes)), "it has not one label of every class for each image")
        one_hot = labels.max(initial=0) <= 1 and (np.count_nonzero(labels, axis=1) == 1).all()
        _require(one_hot, "its labels are not one-hot")
        _nothing_else(arrays)
    return Prepared(Split(images, labels), shift, scale, image_shape, classes)


def save_model(path: Path, model: Model) -> None:
    """Write a trained network."""
    network = model.network
    layers = {}
    for layer, (W, b) in enumerate(zip(network.weights, network.biases, strict=True), 1):
        layers[f"weights_{layer}"], layers[f"biases_{layer}"] = W, b
    save_arrays(
        path,
        **layers,
        activation=network.activation,
        arithmetic=network.arithmetic,
        shift=np.float64(network.shift),
        scale=np.float64(network.scale),
        image_shape=np.array(model.image_shape, np.int64),
        classes=np.array(model.classes),
    )


def load_model(path: Path) -> Model:
    """Read a network that the train stage wrote.

    Raises:
        UserError: the file is missing, damaged, or not a network.
    """
    arrays = load_arrays(path)
    with _named(path):
        image_shape, classes, shift, scale = _description(arrays)
        activation, arithmetic = _name(arrays, "activation", ACTIVATIONS), _name(arrays, "arithmetic", ARITHMETICS)
        dtype = np.dtype(ARITHMETICS[arithmetic].dtype).str[1:]
        weights, biases = [], []
        outputs = image_shape[0] * image_shape[1]
        while f"weights_{len(weights) + 1}" in arrays:
            layer = len(weights) + 1
            W, b = _entry(arrays, f"weights_{layer}", dtype, 2), _entry(arrays, f"biases_{layer}", dtype, 1)
            _require(W.shape == (outputs, len(b)), f"layer {layer} does not take what the layer before it gives")
            _require(
                bool(np.isfinite(W).all() and np.isfinite(b).all()), f"layer {layer} has numbers that are not finite"
            )
            weights.append(W)
            biases.append(b)
            outputs = len(b)
        _require(bool(weights) and outputs == len(classes), "its last layer has not one output for each class")
        _nothing_else(arrays)
    return Model(Network(weights, biases, activation, shift, scale, arithmetic), image_shape, classes)


def save_misclassified(path: Path, mistakes: Misclassified) -> None:
    """Write the images that a network got wrong."""
    image_shape, classes = np.array(mistakes.image_shape, np.int64), np.array(mistakes.classes)
    save_arrays(path, **mistakes._replace(image_shape=image_shape, classes=classes)._asdict())


def load_misclassified(path: Path) -> Misclassified:
    """Read the images that the evaluate stage found a network to get wrong.

    Raises:
        UserError: the file is missing, damaged, or not of misclassified images.
    """
    arrays = load_arrays(path)
    with _named(path):
        image_shape, classes = _image_shape(arrays), _classes(arrays)
        images = _entry(arrays, "images", "u1", 2)
        _require(images.shape[1] == image_shape[0] * image_shape[1], "its images are not of the shape it states")
        columns = {}
        for name, dtype in (("actual", "i8"), ("predicted", "i8"), ("probability", "f8"), ("index", "i8")):
            columns[name] = column = _entry(arrays, name, dtype, 1)
            _require(len(column) == len(images), f"it has not one {name} for each image")
        for name in ("actual", "predicted"):
            known = (columns[name] >= 0) & (columns[name] < len(classes))
            _require(bool(known.all()), f"its {name} are not all indices of its classes")
        probability = columns["probability"]
        _require(bool(((probability >= 0) & (probability <= 1)).all()), "its probability are not all from 0 to 1")
        _nothing_else(arrays)
    return Misclassified(images, **columns, image_shape=image_shape, classes=classes)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn what is wrong inside the block into one sentence that names the file."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{path}: {error}; run `dvc repro` to make it again.") from None


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


def _entry(arrays: Arrays, name: str, dtype: str, dimensions: int) -> np.ndarray:
    """Take the array `name` out of `arrays`; `dtype` is its NumPy code without the byte order, such as "f8"."""
    _require(name in arrays, f"it has no {name}")
    array = arrays.pop(name)
    little_endian = array.dtype.str[1:] == dtype and array.dtype.str[0] in "<|"
    _require(little_endian and array.ndim == dimensions, f"its {name} are not {dimensions}-dimensional {dtype}")
    return array


def _name(arrays: Arrays, name: str, known: dict) -> str:
    _require(name in arrays and arrays[name].dtype.kind == "U" and arrays[name].ndim == 0, f"it has no {name}")
    value = str(arrays.pop(name))
    _require(value in known, f"its {name} is none of {', '.join(known)}")
    return value


def _description(arrays: Arrays) -> tuple[tuple[int, int], tuple[str, ...], float, float]:
    """Take image shape, classes, shift and scale out of `arrays`."""
    image_shape, classes = _image_shape(arrays), _classes(arrays)
    shift, scale = float(_entry(arrays, "shift", "f8", 0)), float(_entry(arrays, "scale", "f8", 0))
    _require(0.0 <= shift <= 255.0 and (shift * 256.0).is_integer(), "its shift is not a multiple of 1/256 up to 255")
    _require(0.0 < scale < np.inf, "its scale is not a positive number")
    return image_shape, classes, shift, scale


def _image_shape(arrays: Arrays) -> tuple[int, int]:
    sizes = _entry(arrays, "image_shape", "i8", 1)
    _require(len(sizes) == 2 and bool((sizes > 0).all()), "its image_shape is not two positive numbers")
    rows, columns = sizes.tolist()
    return rows, columns


def _classes(arrays: Arrays) -> tuple[str, ...]:
    classes = arrays.pop("classes", np.empty(0))
    _require(classes.dtype.kind == "U" and classes.ndim == 1 and len(classes) > 1, "it names no classes")
    return tuple(classes.tolist())


def _nothing_else(arrays: Arrays) -> None:
    _require(not arrays, f"it also has {', '.join(sorted(arrays))}, which do not belong there")
