"""Any picture that Pillow reads, as grey bytes of bounded size."""

import numpy as np
from PIL import Image, ImageChops


def strongest_channel(picture: Image.Image) -> np.ndarray:
    """Return the grey, red, green or blue of a picture, (rows, columns) uint8: the one that varies most.

    A coloured pen on coloured paper shows best in it.
    """

    def variation(channel: np.ndarray) -> int:
        return int(((channel.astype(np.int64) - median_of_border(channel)) ** 2).sum())

    return max(map(np.asarray, picture.split()), key=variation)


def median_of_border(pixels: np.ndarray) -> int:
    """Return the median of the outermost pixels of (rows, columns) uint8: the background."""
    outermost = border(pixels)
    return int(np.sort(outermost)[len(outermost) // 2])


def border(pixels: np.ndarray) -> np.ndarray:
    """Return the outermost pixels of (rows, columns), each once: (n,)."""
    outermost = np.ones(pixels.shape, bool)
    outermost[1:-1, 1:-1] = False
    return pixels[outermost]


def reduction(picture: Image.Image, longest: int) -> int:
    """Return how many times smaller a picture must become so that no side is longer than `longest` pixels."""
    return -(-max(picture.size) // longest)


def reduced(picture: Image.Image, longest: int) -> Image.Image:
    """Return a picture in mode L or RGB, no side longer than `longest`: each new pixel is the mean of a square.

    A transparent picture lies on white paper, or on black paper if most of it is light.

    Raises:
        ValueError: the pixels have more than 16 bits.
    """
    factor = reduction(picture, longest)
    width, height = picture.size
    rows = max(1, 2_000_000 // (factor * width)) * factor  # a second copy of the whole picture would need much memory
    bands = (picture.crop((0, top, width, min(top + rows, height))) for top in range(0, height, rows))
    return _on_paper(Image.fromarray(np.vstack([np.asarray(_in_bytes(band).reduce(factor)) for band in bands])))


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
