"""A picture becomes a network's image, in whole numbers: the same one on every machine."""

from typing import TypeVar

import numpy as np
from PIL import Image, ImageChops

from tools.pictures.background import find_ink, median_of_border

LONGEST_OF_DIGIT, LONGEST_OF_FITTED = 1024, 4096  # pixels a side: a larger picture is reduced first

Shape = tuple[int, int]  # rows and columns
Whole = TypeVar("Whole", int, np.ndarray)


def prepare(
    picture: Image.Image, shape: Shape, whole: bool, inverted: bool
) -> tuple[np.ndarray, list[str]]:
    """Return a picture as an image, uint8 of shape `shape`, and a sentence for each warning.

    The picture has any size and mode. Its digit is made like MNIST's, or, if `whole`, the whole
    picture fits into the image. Then, if `inverted`, light and dark are exchanged.

    Raises:
        ValueError: the pixels have more than 16 bits, or there is no digit to find.
    """
    if whole:
        image, notes = fit(picture, shape), list[str]()
    else:
        ink, notes = find_ink(strongest_channel(reduced(picture, LONGEST_OF_DIGIT)))
        image = like_mnist(ink, shape)
    return 255 - image if inverted else image, notes


def fit(picture: Image.Image, shape: Shape) -> np.ndarray:
    """Return a picture as a grey image, uint8 of shape `shape`: whole, undistorted, in the middle.

    The space beside it has the colour of the background, which is the median of the border. Light
    stays light.
    """
    grey = np.asarray(reduced(picture, LONGEST_OF_FITTED).convert("L"))
    size = proportional(grey.shape, shape)
    image = np.full(shape, median_of_border(grey), np.uint8)
    top, left = ((side - length) // 2 for side, length in zip(shape, size, strict=True))
    image[top : top + size[0], left : left + size[1]] = divided(resized(grey, size), grey.size)
    return image


def like_mnist(ink: np.ndarray, shape: Shape) -> np.ndarray:
    """Return a digit as an image like MNIST's: uint8 of shape `shape`, light on black.

    MNIST's authors scanned digits in black and white. They scaled each digit to fit 20 × 20 pixels
    and kept its proportions; anti-aliasing made the greys. Then they placed it in 28 × 28 pixels by
    its centre of mass: the centres of the 60,000 training images lie between 13.49 and 14.51 in
    both directions, counted from 0.

    Args:
        ink: (rows, columns) uint8, 0 where there is no ink; not 0 everywhere.
        shape: rows and columns of the image. The digit fills 20/28 of one or of both.
    """
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    digit = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    box = (max(1, shape[0] * 20 // 28), max(1, shape[1] * 20 // 28))
    area = resized(digit, proportional(digit.shape, box))
    # Not by the full area of a pixel: thin strokes would become pale
    digit = divided(area * 255, int(area.max()))

    image = np.zeros(shape, np.uint8)
    mass = int(digit.sum())
    place = []
    for axis, (side, length) in enumerate(zip(shape, digit.shape, strict=True)):
        moment = int(digit.sum(axis=1 - axis) @ np.arange(length))
        start = divided(side // 2 * mass - moment, mass)
        start = min(max(start, 0), side - length)
        place.append(slice(start, start + length))
    image[tuple(place)] = digit
    return image


def proportional(shape: tuple[int, ...], box: Shape) -> Shape:
    """Return the most rows and columns, at least 1, in `box` with the proportions of `shape`."""
    (height, width), (rows, columns) = shape, box
    if height * columns > width * rows:
        return rows, max(1, divided(width * rows, height))
    return max(1, divided(height * columns, width)), columns


def resized(pixels: np.ndarray, size: Shape) -> np.ndarray:
    """Return `pixels` scaled to `size`: each new pixel is the sum over the area that it covers.

    The sums are whole numbers far below 2⁵³, so float64 is exact in any order.
    """
    (height, width), (rows, columns) = pixels.shape, size
    return (_shared(rows, height) @ pixels @ _shared(columns, width).T).astype(np.int64)


def _shared(new: int, old: int) -> np.ndarray:
    """Return the length that new and old pixels share, (new, old), on a side of new · old units."""
    starts, old_starts = old * np.arange(new)[:, np.newaxis], new * np.arange(old)
    ends = np.minimum(starts + old, old_starts + new)
    return np.maximum(ends - np.maximum(starts, old_starts), 0).astype(np.float64)


def divided(numerator: Whole, denominator: int) -> Whole:
    """Return numerator / denominator, rounded to the nearest whole number."""
    return (2 * numerator + denominator) // (2 * denominator)


def strongest_channel(picture: Image.Image) -> np.ndarray:
    """Return the channel of a picture that varies most, (rows, columns) uint8.

    A coloured pen on coloured paper shows best in it.
    """

    def variation(channel: np.ndarray) -> int:
        return int(((channel.astype(np.int64) - median_of_border(channel)) ** 2).sum())

    return max(map(np.asarray, picture.split()), key=variation)


def reduction(picture: Image.Image, longest: int) -> int:
    """Return how many times smaller a picture must become to fit into `longest` pixels a side."""
    return -(-max(picture.size) // longest)


def reduced(picture: Image.Image, longest: int) -> Image.Image:
    """Return a picture in mode L or RGB, at most `longest` a side, by the means of squares.

    A transparent picture lies on white paper, or on black paper if most of it is light.

    Raises:
        ValueError: the pixels have more than 16 bits.
    """
    factor = reduction(picture, longest)
    width, height = picture.size
    # a second copy of the whole picture would need much memory
    rows = max(1, 2_000_000 // (factor * width)) * factor
    tops = range(0, height, rows)
    bands = (picture.crop((0, top, width, min(top + rows, height))) for top in tops)
    parts = [np.asarray(_in_bytes(band).reduce(factor)) for band in bands]
    return _on_paper(Image.fromarray(np.vstack(parts)))


def _in_bytes(picture: Image.Image) -> Image.Image:
    """Return a picture in mode L, RGB or, if it has transparency, RGBA."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
        pixels = np.asarray(picture)
        if pixels.dtype.kind == "f" or pixels.min() < 0 or pixels.max() > 65535:
            raise ValueError("its pixels are numbers of 32 bits; expected 8 or 16")
        return Image.fromarray(np.rint(pixels / 257).astype(np.uint8))
    if picture.has_transparency_data:
        return picture.convert("RGBA")
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")


def _on_paper(picture: Image.Image) -> Image.Image:
    if picture.mode != "RGBA":
        return picture
    opacity = picture.getchannel("A")
    light = ImageChops.multiply(picture.convert("L"), opacity)
    is_light = 2 * np.asarray(light).sum(dtype=np.int64) > np.asarray(opacity).sum(dtype=np.int64)
    paper = Image.new("RGB", picture.size, "black" if is_light else "white")
    paper.paste(picture, mask=opacity)
    return paper
