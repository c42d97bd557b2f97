"""Pictures of single digits, made into what MNIST's images are.

MNIST's digits were scanned in black and white, scaled into 20 × 20 pixels with their proportions kept (its greys come
from the anti-aliasing of that step), and put into 28 × 28 pixels by their centre of mass.
The same is done here, in whole numbers: the result does not depend on the machine.
"""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageFilter, ImageOps

from pipeline.program.errors import UserError

FORMATS = ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"]  # none of those whose reading starts another program
LEAST_CONTRAST = 13  # of 255, a twentieth: what differs less from the background is no ink
INK = 3  # whatever differs from the background by more than 1/INK of the largest difference is ink


def read_picture(path: Path) -> tuple[Image.Image, int]:
    """Read an image file, turned upright as its EXIF data say; of several pictures the first. Also return how many.

    Raises:
        UserError: the file is no image, is damaged, or is larger than Pillow takes to be harmless.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # oddities in the metadata
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=FORMATS) as image:
                pictures = getattr(image, "n_frames", 1)
                image.load()
                return ImageOps.exif_transpose(image), pictures
        except Image.UnidentifiedImageError:
            expected = f"expected one in {', '.join(FORMATS[:-1])} or {FORMATS[-1]} format, or an IDX file"
            raise UserError(f"{path}: not an image; {expected}.") from None
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise UserError(f"{path}: expected at most {Image.MAX_IMAGE_PIXELS} pixels, found more.") from None
        except Exception as error:  # Pillow's decoders pass on whatever damage makes them stumble over
            reason = str(error).rstrip(".") or type(error).__name__
            raise UserError(f"{path}: the image is damaged ({reason}).") from None


def prepare(picture: Image.Image | np.ndarray, image_shape: tuple[int, int] = (28, 28)) -> np.ndarray:
    """Return one digit as an image like MNIST's: bytes of shape `image_shape`, light on black.

    Background is the colour that most of the border has, ink what differs clearly from it: so it is all the same
    whether the digit is dark or light, grey or coloured.

    Args:
        picture: of any size and mode; or its pixels, (rows, columns) grey or (rows, columns, 3 or 4) RGB or RGBA bytes.
        image_shape: rows and columns. The digit fills 20/28 of them, in one direction or both.

    Raises:
        ValueError: the picture is blank, or its pixels have more than 16 bits.
    """
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    digit = _cropped(_ink(_opaque(picture)))
    height, width = digit.shape
    box = [max(1, side * 20 // 28) for side in image_shape]
    if height * box[1] > width * box[0]:
        size = box[0], max(1, _divided(width * box[0], height))
    else:
        size = max(1, _divided(height * box[1], width)), box[1]
    area = _resized(digit, size)
    digit = _divided(area * 255, area.max())  # and not by the area of a pixel: strokes thinner than it would be pale
    return _centred(digit, image_shape)


def _opaque(picture: Image.Image) -> Image.Image:
    """Return `picture` as grey or RGB bytes; a transparent one on white, or on black if what is to be seen is light."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
        return _bytes_of_16_bits(picture)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        opacity = picture.getchannel("A")
        light = ImageChops.multiply(picture.convert("L"), opacity)
        ground = "black" if 2 * np.sum(light, dtype=np.int64) > np.sum(opacity, dtype=np.int64) else "white"
        return Image.alpha_composite(Image.new("RGBA", picture.size, ground), picture).convert("RGB")
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")


def _bytes_of_16_bits(picture: Image.Image) -> Image.Image:
    pixels = np.asarray(picture)
    if pixels.dtype.kind == "f" or pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError("its pixels are numbers of 32 bits; expected 8 or 16")
    return Image.fromarray(_divided(pixels.astype(np.int32), 257).astype(np.uint8))


def _ink(picture: Image.Image) -> np.ndarray:
    """Return how far each pixel is from the background's colour, (rows, columns) bytes; 0 where there is no ink."""
    difference = np.zeros((picture.height, picture.width), np.uint8)
    for channel in picture.split():
        values = np.asarray(channel)
        border = np.concatenate([values[0], values[-1], values[1:-1, 0], values[1:-1, -1]])
        background = np.sort(border)[len(border) // 2]  # the median
        np.maximum(difference, np.maximum(values, background) - np.minimum(values, background), out=difference)
    if difference.max() < LEAST_CONTRAST:
        raise ValueError("there is nothing on it to be seen")
    # An anti-aliased stroke's edge is paler than ink; noise as pale lies elsewhere
    strokes = Image.fromarray((difference > difference.max() // INK).view(np.uint8))
    beside = np.asarray(strokes.filter(ImageFilter.MaxFilter(3)))
    return difference * beside


def _cropped(ink: np.ndarray) -> np.ndarray:
    """Return the smallest part of `ink` outside of which all is 0."""
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return `pixels` scaled to `size`, rows and columns: each new pixel is the sum over the area that it covers.

    Sums of whole numbers far below 2⁵³: float64 is exact, in any order.
    """
    area = _rows_added(_rows_added(pixels, size[0]).T, size[1]).T
    return area.astype(np.int64)


def _rows_added(pixels: np.ndarray, new: int) -> np.ndarray:
    """Return (new, columns) float64: of each new row, the sum of the old rows it covers, times how much of each.

    With `old` rows to begin with, the picture is old · new units high: an old row is `new` units, a new one `old`.
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
    """Return `digit` within `image_shape`, its centre of mass in the pixel in the middle, as far as it fits.

    In MNIST that is the pixel (14, 14), counted from 0: the centres of mass of its 60,000 training images are between
    13.49 and 14.51 in both directions (tests/test_predict.py sees it on a few hundred).
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


def _divided(numerator, denominator: int):
    """Return numerator / denominator, whole numbers both, rounded to the nearest."""
    return (2 * numerator + denominator) // (2 * denominator)
