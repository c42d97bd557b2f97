"""How bytes become the network's input."""

from collections.abc import Iterable
from fractions import Fraction
from math import isqrt

import numpy as np

from pipeline.program.errors import UserError


def scaling_of(images: Iterable[np.ndarray], method: str) -> tuple[float, float]:
    """Return the shift and the scale that bring bytes into the network's range: x = (byte − shift) × scale.

    | method | shift | scale | x |
    |---|---|---|---|
    | none | 0 | 1 | 0 to 255: sigmoid neurons saturate, and learn slowly or not at all |
    | minmax (normalization) | 0 | 1/255 | 0 to 1: background is exactly 0 |
    | zscore (standardization) | mean | 1/standard deviation | mean 0, standard deviation 1: inputs of both signs |

    Mean and standard deviation are those of all pixels together, computed in integers, so that they have the same bits
    on every machine. The mean is rounded to a multiple of 1/256: then byte − shift is a 16-bit number, and exact.

    Args:
        images: arrays of bytes, such as blocks of images; the training images only, since nothing about the others may
            reach the network.
        method: none, minmax or zscore.

    Raises:
        UserError: zscore, and all pixels are alike.
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
        raise UserError(
            "all pixels of the training images are alike: preprocess.scaling zscore has nothing to divide by."
        )
    shift = round(Fraction(256 * total, n)) / 256
    scale = isqrt((n * n << 256) // spread) / 2**128  # isqrt leaves over 100 bits; the division rounds them to 53
    return shift, scale
