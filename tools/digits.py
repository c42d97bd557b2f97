"""Pictures of single digits, prepared like MNIST's images.

MNIST's authors scanned digits in black and white. They scaled each digit to fit 20 × 20 pixels and kept its
proportions; anti-aliasing made the greys. Then they placed it in 28 × 28 pixels by its centre of mass.
The same happens here, in whole numbers: the same pixels give the same image on every machine.
"""

import numpy as np
from PIL import Image

from tools.grey import to_grey
from tools.ink import Findings, find_ink
from tools.resizing import divided, proportional, resized


def prepare(picture: Image.Image | np.ndarray, image_shape: tuple[int, int] = (28, 28)) -> np.ndarray:
    """Return one digit as an image like MNIST's: uint8 of shape `image_shape`, light on black.

    The digit may be dark or light, grey or coloured, in uneven light, on plain, ruled or squared paper.

    Args:
        picture: a picture of any size and mode; or its pixels, uint8, grey (rows, columns) or RGB or RGBA
            (rows, columns, 3 or 4).
        image_shape: rows and columns. The digit fills 20/28 of the rows, of the columns, or of both.

    Raises:
        ValueError: the picture is blank, or its pixels have more than 16 bits.
    """
    return examine(picture, image_shape)[0]


def examine(picture: Image.Image | np.ndarray, image_shape: tuple[int, int]) -> tuple[np.ndarray, Findings]:
    """Return what `prepare` does, and what was seen on the picture."""
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    ink, findings = find_ink(to_grey(picture))
    digit = _cropped(ink)
    rows, columns = (max(1, side * 20 // 28) for side in image_shape)
    area = resized(digit, proportional(digit.shape, (rows, columns)))
    digit = divided(area * 255, int(area.max()))  # not by the full area of a pixel: thin strokes would become pale
    return _centred(digit, image_shape), findings


def _cropped(ink: np.ndarray) -> np.ndarray:
    """Return the smallest rectangle of `ink` with every pixel that is not 0."""
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _centred(digit: np.ndarray, image_shape: tuple[int, int]) -> np.ndarray:
    """Return `digit` in an image of `image_shape`, its centre of mass as near the middle pixel as it fits.

    In MNIST the middle pixel is (14, 14), counted from 0. The centres of mass of the 60,000 training images lie between
    13.49 and 14.51 in both directions (tests/test_predict.py checks a few hundred images).
    """
    image = np.zeros(image_shape, np.uint8)
    mass = int(digit.sum())
    place = []
    for axis, (side, length) in enumerate(zip(image_shape, digit.shape, strict=True)):
        moment = int(digit.sum(axis=1 - axis) @ np.arange(length))
        start = divided(side // 2 * mass - moment, mass)
        start = min(max(start, 0), side - length)
        place.append(slice(start, start + length))
    image[tuple(place)] = digit
    return image
