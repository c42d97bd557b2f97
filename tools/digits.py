"""Pictures of single digits, prepared like MNIST's images.

MNIST's authors scanned digits in black and white. They scaled each digit to fit 20 × 20 pixels and kept its
proportions; anti-aliasing made the greys. Then they placed it in 28 × 28 pixels by its centre of mass.
The same happens here, in whole numbers: the same pixels give the same image on every machine.
"""

from typing import TypeVar

import numpy as np
from PIL import Image, ImageChops, ImageFilter

LONGEST_SIDE = 4096  # pixels; a larger picture is reduced first, to bound memory
LEAST_CONTRAST = 13  # of 255, a twentieth: a picture with less contrast to its background is blank
INK = 3  # a pixel is ink if its contrast to the background is above 1/INK of the largest contrast

Whole = TypeVar("Whole", int, np.ndarray)


def prepare(picture: Image.Image | np.ndarray, image_shape: tuple[int, int] = (28, 28)) -> np.ndarray:
    """Return one digit as an image like MNIST's: uint8 of shape `image_shape`, light on black.

    The background is the median colour of the border. Ink is every pixel with a clearly different colour.
    So the digit may be dark or light, grey or coloured.

    Args:
        picture: a picture of any size and mode; or its pixels, uint8, grey (rows, columns) or RGB or RGBA
            (rows, columns, 3 or 4).
        image_shape: rows and columns. The digit fills 20/28 of the rows, of the columns, or of both.

    Raises:
        ValueError: the picture is blank, or its pixels have more than 16 bits.
    """
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    picture = _reduced(picture)
    digit = _cropped(_ink(_on_paper(picture)))
    height, width = digit.shape
    rows, columns = (max(1, side * 20 // 28) for side in image_shape)
    if height * columns > width * rows:
        size = rows, max(1, _divided(width * rows, height))
    else:
        size = max(1, _divided(height * columns, width)), columns
    area = _resized(digit, size)
    digit = _divided(area * 255, int(area.max()))  # not by the full area of a pixel: thin strokes would become pale
    return _centred(digit, image_shape)


def reduction(picture: Image.Image) -> int:
    """Return how many times smaller a picture must become so that no side is longer than LONGEST_SIDE."""
    return -(-max(picture.size) // LONGEST_SIDE)


def _reduced(picture: Image.Image) -> Image.Image:
    """Return `picture` as L, RGB or RGBA with no side longer than LONGEST_SIDE: each new pixel is the mean of a square.

    One tile at a time: no second copy of a large picture needs memory.
    """
    factor = reduction(picture)
    if factor == 1:
        return _in_bytes(picture)
    width, height = (-(-side // factor) for side in picture.size)
    reduced = Image.new(_in_bytes(picture.crop((0, 0, 1, 1))).mode, (width, height))
    tile = 256
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            right, bottom = min((left + tile) * factor, picture.width), min((top + tile) * factor, picture.height)
            part = picture.crop((left * factor, top * factor, right, bottom))
            reduced.paste(_in_bytes(part).reduce(factor), (left, top))
    return reduced


def _in_bytes(picture: Image.Image) -> Image.Image:
    """Return `picture` in mode L, RGB or, if it has transparency, RGBA."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
        pixels = np.asarray(picture)
        if pixels.dtype.kind == "f" or pixels.min() < 0 or pixels.max() > 65535:
            raise ValueError("its pixels are numbers of 32 bits; expected 8 or 16")
        return Image.fromarray(_divided(pixels.astype(np.int32), 257).astype(np.uint8))
    if picture.has_transparency_data:
        return picture.convert("RGBA")
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")


def _on_paper(picture: Image.Image) -> Image.Image:
    """Return a transparent picture on white paper, or on black paper if most of it is light; any other as it is."""
    if picture.mode != "RGBA":
        return picture
    opacity = picture.getchannel("A")
    light = ImageChops.multiply(picture.convert("L"), opacity)
    is_light = 2 * np.asarray(light).sum(dtype=np.int64) > np.asarray(opacity).sum(dtype=np.int64)
    paper = Image.new("RGB", picture.size, "black" if is_light else "white")
    paper.paste(picture, mask=opacity)
    return paper


def _ink(picture: Image.Image) -> np.ndarray:
    """Return each pixel's contrast to the background, (rows, columns) uint8; 0 where there is no ink."""
    contrast = np.zeros((picture.height, picture.width), np.uint8)
    for channel in picture.getbands():
        values = np.asarray(picture.getchannel(channel))
        border = np.concatenate([values[0], values[-1], values[1:-1, 0], values[1:-1, -1]])
        background = np.sort(border)[len(border) // 2]  # the median
        np.maximum(contrast, np.maximum(values, background) - np.minimum(values, background), out=contrast)
    if contrast.max() < LEAST_CONTRAST:
        raise ValueError("the picture is blank")
    # The edge of an anti-aliased stroke is paler than ink. So is noise, but noise lies elsewhere
    strokes = Image.fromarray((contrast > contrast.max() // INK).view(np.uint8))
    near_strokes = np.asarray(strokes.filter(ImageFilter.MaxFilter(3)))
    return contrast * near_strokes


def _cropped(ink: np.ndarray) -> np.ndarray:
    """Return the smallest rectangle of `ink` with every pixel that is not 0."""
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return `pixels` scaled to `size`, rows and columns: each new pixel is the sum over the area that it covers.

    The sums are whole numbers far below 2⁵³, so float64 is exact in any order.
    """
    area = _rows_added(_rows_added(pixels, size[0]).T, size[1]).T
    return area.astype(np.int64)


def _rows_added(pixels: np.ndarray, new: int) -> np.ndarray:
    """Return (new, columns) float64: each new row is the sum of the old rows it covers, times the covered height.

    The picture is old · new units high. An old row is `new` units high, a new row is `old` units high.
    """
    old = len(pixels)
    top = np.arange(old) * new
    rows = []
    for start in range(0, old * new, old):
        covered = slice(start // new, -(-(start + old) // new))
        units = np.minimum(top[covered] + new, start + old) - np.maximum(top[covered], start)
        rows.append(units.astype(np.float64) @ pixels[covered])
    return np.stack(rows)


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
        start = _divided(side // 2 * mass - moment, mass)
        start = min(max(start, 0), side - length)
        place.append(slice(start, start + length))
    image[tuple(place)] = digit
    return image


def _divided(numerator: Whole, denominator: int) -> Whole:
    """Return numerator / denominator, rounded to the nearest whole number."""
    return (2 * numerator + denominator) // (2 * denominator)
