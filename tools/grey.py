"""Any picture that Pillow reads, as grey bytes of bounded size."""

import numpy as np
from PIL import Image

from tools.resizing import median_of_border, on_paper, reduced

LONGEST_SIDE = 1024  # pixels; a larger picture is reduced


def to_grey(picture: Image.Image) -> np.ndarray:
    """Return a picture of any size and mode as (rows, columns) uint8, no side longer than LONGEST_SIDE.

    A transparent picture lies on white paper, or on black paper if most of it is light. In a coloured one the ink
    shows best in one of the channels: the one that differs most from the median of its border.

    Raises:
        ValueError: the pixels have more than 16 bits.
    """
    channels = [np.asarray(channel) for channel in on_paper(reduced(picture, LONGEST_SIDE)).split()]
    return max(channels, key=_variation)


def _variation(channel: np.ndarray) -> int:
    """Return the sum of the squared differences from the median of the border."""
    pixels_of = np.bincount(channel.ravel(), minlength=256)
    return int(pixels_of @ (np.arange(256) - median_of_border(channel)) ** 2)
