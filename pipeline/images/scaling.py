"""The scaling of bytes to the network's input."""

from collections.abc import Iterable
from fractions import Fraction
from math import isqrt

import numpy as np

from pipeline.program.errors import UserError


def scaling_of(images: Iterable[np.ndarray], method: str) -> tuple[float, float]:
    """Return the shift and the scale of a scaling method: x = (byte − shift) × scale.

    | method | shift | scale | x |
    |---|---|---|---|
    | none | 0 | 1 | 0 to 255: most sigmoid neurons saturate, and learning soon slows down |
    | minmax (normalization) | 0 | 1/255 | 0 to 1: background is exactly 0 |
    | zscore (standardization) | mean | 1/standard deviation | mean 0, standard deviation 1: inputs of both signs |

    The mean and the standard deviation are over all pixels together. They are computed in integers, so they have the
    same bits on every machine. The mean is rounded to a multiple of 1/256. Then byte − shift has 16 bits and is exact.

    Args:
        images: arrays of bytes, such as blocks of images. They must be training images only: nothing about the other
            images may reach the network.
        method: none, minmax or zscore.

    Raises:
        UserError: the method is zscore, and all pixels are equal.
    """
    if method == "none":
        return 0.0, 1.0
    if method == "minmax":
        return 0.0, 1 / 255
    counts = np.zeros(256, np.int64)
    for block in images:
        counts += np.bincount(block.ravel(), minlength=256)
    histogram = counts.tolist()
    n = sum(histogram)
    total = sum(byte * count for byte, count in enumerate(histogram))
    squares = sum(byte * byte * count for byte, count in enumerate(histogram))
    spread = n * squares - total * total  # n² times the variance
    if spread == 0:
        raise UserError("all pixels of the training images are equal: preprocess.scaling zscore would divide by zero.")
    shift = round(Fraction(256 * total, n)) / 256
    scale = isqrt((n * n << 256) // spread) / 2**128  # isqrt keeps over 100 bits; the division rounds them to 53
    return shift, scale
