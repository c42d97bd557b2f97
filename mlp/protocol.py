"""What a network is for training, for the pipeline and for its tools, whatever is inside.

`mlp.network.MLP` is such a network. docs/make-it-yours.md shows another one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from mlp.arithmetic import Arithmetic
from mlp.regularization import Mask


@dataclass(frozen=True)
class Preparation:
    """How bytes become inputs, and the names of the classes: the same for all images of a network.

    A ValueError says that shift, scale or image_shape is not what its comment says.
    """

    shift: float  # subtracted from every byte: a multiple of 1/256, so that byte − shift is exact
    scale: float  # factor, finite and above 0: an input is (byte − shift) · scale
    image_shape: tuple[int, int]  # rows and columns of an image, 1 or more
    classes: tuple[str, ...]  # names of the classes, in the order of the labels
    whole: bool = False  # whether an image is a whole picture, not a digit that was found on one
    inverted: bool = False  # whether an image is a picture whose light and dark were then exchanged

    def __post_init__(self) -> None:
        if not (abs(self.shift) <= 255 and float(256 * self.shift).is_integer()):
            raise ValueError(f"shift is {self.shift}; expected a multiple of 1/256, −255 to 255")
        if not (0.0 < self.scale < math.inf):
            raise ValueError(f"scale is {self.scale}; expected a finite number above 0")
        if min(self.image_shape) < 1:
            raise ValueError(f"image_shape is {self.image_shape}; expected two numbers above 0")


class Split(NamedTuple):
    """Images, (n, features) uint8, and their one-hot labels, (n, classes) uint8.

    The images may be a memory map: training does not read all of them at once.
    """

    images: np.ndarray
    labels: np.ndarray


class Network(Protocol):
    """A network that classifies images.

    A parameter has the name of what it is and the number of its layer, such as weights_1. A matrix
    holds weights, a column for each neuron; a vector holds biases.
    """

    arithmetic: Arithmetic
    preparation: Preparation

    @classmethod
    def new(cls, settings: Any, preparation: Preparation) -> Self:
        """Return an untrained network. Its random numbers depend only on `settings.seed`.

        `settings` has section train of params.yaml as attributes.
        """

    @classmethod
    def load(
        cls,
        arrays: Mapping[str, np.ndarray],
        settings: Mapping[str, str],
        arithmetic: Arithmetic,
        preparation: Preparation,
    ) -> Self:
        """Return the network that had these `arrays` and `settings`.

        If there is no such network, a ValueError begins with the name of a wrong array or setting.
        """

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All parameters by name. Training changes the arrays in place."""

    @property
    def settings(self) -> dict[str, str]:
        """What a model file needs to say beside the arrays, by name."""

    @property
    def layer_inputs(self) -> list[int]:
        """How many numbers go into each layer. Dropout leaves out some of them."""

    def logits(self, X: np.ndarray) -> np.ndarray:
        """Return the logits, (batch, classes), of images, (batch, features) uint8.

        In exact arithmetic an image's logits depend on no other image. A FloatingPointError says
        that a number is not finite, or too large.
        """

    def gradients(
        self, X: np.ndarray, t: np.ndarray, masks: Sequence[Mask] = ()
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Return ∂L/∂p for each parameter p, in the order of `arrays`, and the terms of L.

        L is the mean loss of the images X, its terms are those of `mlp.layers.loss_terms`. `t` has
        their one-hot labels, (batch, classes) uint8. `masks` say what dropout keeps of the inputs
        of each layer; without masks, all. Errors are those of `logits`.
        """

    def first_layer(self) -> tuple[np.ndarray, tuple[int, int]] | None:
        """Return the first weights, (inputs, neurons), and the shape of a neuron's picture.

        Return None if there is nothing to see.
        """


def check_images(preparation: Preparation, images: np.ndarray) -> None:
    """Raise a ValueError unless images are of the type and shape that the network needs."""
    _check("images", images, math.prod(preparation.image_shape))


def check_split(preparation: Preparation, split: Split) -> None:
    """Raise a ValueError unless images and labels fit to the network, and to each other."""
    check_images(preparation, split.images)
    _check("labels", split.labels, len(preparation.classes))
    if len(split.images) != len(split.labels):
        raise ValueError(f"there are {len(split.images)} images and {len(split.labels)} labels")
    if not len(split.labels):
        raise ValueError("there are no images")
    if split.labels.max() > 1 or (np.count_nonzero(split.labels, axis=1) != 1).any():
        raise ValueError("the labels are not one-hot: expected one 1 in each row, and else 0")


def _check(name: str, array: np.ndarray, width: int) -> None:
    if array.dtype != np.uint8 or array.ndim != 2 or array.shape[1] != width:
        found = f"{array.dtype} of the shape {array.shape}"
        raise ValueError(f"the {name} are {found}; expected uint8 of the shape (n, {width})")
