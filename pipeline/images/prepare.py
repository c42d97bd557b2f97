"""How raw images become prepared ones: split, scaling, labels as rows with one 1."""

from fractions import Fraction
from math import isqrt

import numpy as np

from mlp.random import permutation
from pipeline.program.errors import UserError

ROWS = 1000  # images counted at once


def hold_out(n: int, validation_size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to train on and those held out of n images: two sorted arrays."""
    order = permutation(np.random.PCG64(seed), n)
    return np.sort(order[validation_size:]), np.sort(order[:validation_size])


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return a 1 in the column of each of the labels, (n,), and else 0: (n, classes) uint8."""
    return (labels[:, np.newaxis] == np.arange(classes)).view(np.uint8)


def scaling_of(images: np.ndarray, method: str) -> tuple[float, float]:
    """Return the shift and the scale of a scaling method: x = (byte − shift) × scale.

    | method | shift | scale | x |
    |---|---|---|---|
    | none | 0 | 1 | 0 to 255: most sigmoid neurons saturate, and learning soon slows down |
    | minmax (normalization) | 0 | 1/255 | 0 to 1: background is exactly 0 |
    | zscore (standardization) | mean | 1/deviation | mean 0, standard deviation 1: both signs |

    The mean and the standard deviation are over all pixels together. They are computed in integers,
    so they have the same bits on every machine. The mean is rounded to a multiple of 1/256. Then
    byte − shift has 16 bits and is exact. A UserError says that all pixels are equal for zscore.

    `images`, (n, rows, columns) bytes, must be training images only: the network learns from them.
    """
    if method == "none":
        return 0.0, 1.0
    if method == "minmax":
        return 0.0, 1 / 255
    counts = np.zeros(256, np.int64)
    for start in range(0, len(images), ROWS):  # bincount needs eight bytes for each pixel
        counts += np.bincount(images[start : start + ROWS].ravel(), minlength=256)
    n, histogram = images.size, counts.tolist()
    total = sum(byte * count for byte, count in enumerate(histogram))
    squares = sum(byte * byte * count for byte, count in enumerate(histogram))
    spread = n * squares - total * total  # n² times the variance
    if spread == 0:
        what = "preprocess.scaling zscore would divide by zero"
        raise UserError(f"all pixels of the training images are equal: {what}.")
    shift = round(Fraction(256 * total, n)) / 256
    scale = isqrt((n * n << 256) // spread) / 2**128  # over 100 bits, then rounded to 53
    return shift, scale
