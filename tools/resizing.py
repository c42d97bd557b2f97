"""Pictures of any kind, resized in whole numbers: the same pixels give the same image on every machine."""

from typing import TypeVar

import numpy as np
from PIL import Image, ImageChops

LONGEST_SIDE = 4096  # pixels, if nothing else is asked for; a larger picture is reduced first, to bound memory

Whole = TypeVar("Whole", int, np.ndarray)


def fit(picture: Image.Image, image_shape: tuple[int, int]) -> np.ndarray:
    """Return a picture as a grey image: uint8 of shape `image_shape`, its proportions kept, in the middle.

    The space beside it has the colour of the background, which is the median of the border. Light stays light.

    Args:
        picture: a picture of any size and mode.
        image_shape: rows and columns.

    Raises:
        ValueError: the picture's pixels have more than 16 bits.
    """
    grey = np.asarray(on_paper(reduced(picture)).convert("L"))
    size = proportional(grey.shape, image_shape)
    image = np.full(image_shape, median_of_border(grey), np.uint8)
    top, left = ((side - length) // 2 for side, length in zip(image_shape, size, strict=True))
    image[top : top + size[0], left : left + size[1]] = divided(resized(grey, size), grey.size)
    return image


def proportional(shape: tuple[int, ...], box: tuple[int, int]) -> tuple[int, int]:
    """Return the largest rows and columns that fit into `box` with the proportions of `shape`; 1 or more each."""
    (height, width), (rows, columns) = shape, box
    if height * columns > width * rows:
        return rows, max(1, divided(width * rows, height))
    return max(1, divided(height * columns, width)), columns


def median_of_border(values: np.ndarray) -> int:
    """Return the median of the outermost pixels of `values`, (rows, columns) uint8: the background."""
    pixels = border(values)
    return int(np.sort(pixels)[len(pixels) // 2])


def border(values: np.ndarray) -> np.ndarray:
    """Return the outermost pixels of `values`, (rows, columns), each once: (n,)."""
    outermost = np.ones(values.shape, bool)
    outermost[1:-1, 1:-1] = False
    return values[outermost]


def reduction(picture: Image.Image, longest: int = LONGEST_SIDE) -> int:
    """Return how many times smaller a picture must become so that no side is longer than `longest` pixels."""
    return -(-max(picture.size) // longest)


def reduced(picture: Image.Image, longest: int = LONGEST_SIDE) -> Image.Image:
    """Return `picture` as L, RGB or RGBA with no side longer than `longest`: each new pixel is the mean of a square.

    One tile at a time: no second copy of a large picture needs memory.
    """
    factor = reduction(picture, longest)
    if factor == 1:
        return _in_bytes(picture)
    width, height = (-(-side // factor) for side in picture.size)
    smaller = Image.new(_in_bytes(picture.crop((0, 0, 1, 1))).mode, (width, height))
    tile = 256
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            right, bottom = min((left + tile) * factor, picture.width), min((top + tile) * factor, picture.height)
            part = picture.crop((left * factor, top * factor, right, bottom))
            smaller.paste(_in_bytes(part).reduce(factor), (left, top))
    return smaller


def _in_bytes(picture: Image.Image) -> Image.Image:
    """Return `picture` in mode L, RGB or, if it has transparency, RGBA."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
        pixels = np.asarray(picture)
        if pixels.dtype.kind == "f" or pixels.min() < 0 or pixels.max() > 65535:
            raise ValueError("its pixels are numbers of 32 bits; expected 8 or 16")
        return Image.fromarray(divided(pixels.astype(np.int32), 257).astype(np.uint8))
    if picture.has_transparency_data:
        return picture.convert("RGBA")
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")


def on_paper(picture: Image.Image) -> Image.Image:
    """Return a transparent picture on white paper, or on black paper if most of it is light; any other as it is."""
    if picture.mode != "RGBA":
        return picture
    opacity = picture.getchannel("A")
    light = ImageChops.multiply(picture.convert("L"), opacity)
    is_light = 2 * np.asarray(light).sum(dtype=np.int64) > np.asarray(opacity).sum(dtype=np.int64)
    paper = Image.new("RGB", picture.size, "black" if is_light else "white")
    paper.paste(picture, mask=opacity)
    return paper


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
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


def divided(numerator: Whole, denominator: int) -> Whole:
    """Return numerator / denominator, rounded to the nearest whole number."""
    return (2 * numerator + denominator) // (2 * denominator)
