"""Image files and IDX files, read into images like MNIST's. The files are untrusted: memory and disk are bounded."""

import gzip
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin

from pipeline.images import idx
from pipeline.program.errors import UserError
from tools.resizing import reduction

FORMATS = ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"]  # Pillow reads these without starting another program
MOST_PIXELS = 50_000_000  # a phone's photo has up to 48 million
MOST_PIXELS_OF = {"TIFF": 35_000_000, "WEBP": 25_000_000}  # more memory for each pixel; A4 at 600 dpi has 34.8 million
MOST_A_SIDE = 65_535  # JPEG's own limit; decoders hold a few rows
MOST_UNPACKED = 1 << 30  # bytes of a gzipped IDX file; MNIST's largest has 47 million

T = TypeVar("T")

Image.MAX_IMAGE_PIXELS = None  # the limits above replace Pillow's


def read_idx(path: Path, limit: int | None = None) -> np.ndarray | None:
    """Read the images of an IDX file, gzipped or not; at most `limit` of them.

    Returns:
        (images, rows, columns) uint8; None if the file is not an IDX file.

    Raises:
        UserError: there is no such file; it is damaged; it has labels instead of images.
    """
    if path.is_dir():
        raise UserError(f"{path}: a folder; expected an image or an IDX file.")
    if not path.exists():
        raise UserError(f"{path}: no such file.")
    if not path.is_file():
        raise UserError(f"{path}: not a regular file; expected an image or an IDX file.")
    with _unpacked(path) as unpacked:
        start = _first_bytes(unpacked)
        if start[:2] != b"\0\0":  # no image format begins so
            return None
        if start == b"\0\0\x08\x01":
            raise UserError(f"{path}: an IDX file of labels; expected one of images.")
        try:
            return idx.read_images(unpacked)[:limit]
        except UserError as error:
            raise UserError(str(error).replace(str(unpacked), str(path))) from None


def read_picture(
    path: Path, image_shape: tuple[int, int], preparation: Callable[[Image.Image, tuple[int, int]], T]
) -> tuple[T, int]:
    """Read an image file and prepare its picture for images of a shape. If the file has several, use the first.

    Returns:
        What `preparation` returns, and the number of pictures in the file.

    Raises:
        UserError: the file is not an image, is damaged, has too many pixels, or `preparation` raises a ValueError.
    """
    picture, pictures = _first_picture(path)
    try:
        return preparation(picture, image_shape), pictures
    except ValueError as error:
        raise UserError(f"{path}: {error}.") from None


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """Yield the file itself, or, if it is gzipped, a temporary file with the decompressed bytes."""
    if _first_bytes(path)[:2] != b"\x1f\x8b":
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        unpacked = Path(folder) / path.stem
        try:
            with gzip.open(path) as packed, unpacked.open("wb") as out:
                length = 0
                while block := packed.read(1 << 20):
                    length += len(block)
                    if length > MOST_UNPACKED:
                        raise UserError(f"{path}: expected at most {MOST_UNPACKED} bytes when unpacked, found more.")
                    out.write(block)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UserError(f"{path}: the gzip file is damaged ({str(error).rstrip('.')}).") from None
        yield unpacked


def _first_picture(path: Path) -> tuple[Image.Image, int]:
    """Return the first picture of a file, upright, and the number of pictures."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd metadata
        try:
            with Image.open(path, formats=FORMATS) as image:
                _check_size(path, image)
                pictures = getattr(image, "n_frames", 1)
                # `prepare` reduces a large picture; JPEG's decoder can do it earlier, by 2, 4 or 8, in less memory
                factor = reduction(image)
                image.draft(None, (max(1, image.width // factor), max(1, image.height // factor)))
                image.load()
                ImageOps.exif_transpose(image, in_place=True)
                return image, pictures
        except Image.UnidentifiedImageError:
            expected = f"expected one in {', '.join(FORMATS[:-1])} or {FORMATS[-1]} format"
            raise UserError(f"{path}: not an image; {expected}.", about="format") from None
        except (UserError, MemoryError):
            raise
        except Exception as error:  # damage makes Pillow's decoders raise errors of many types
            reason = str(error).rstrip(".") or type(error).__name__
            raise UserError(f"{path}: the image is damaged ({reason}).") from None


def _check_size(path: Path, image: ImageFile.ImageFile) -> None:
    """Raise a UserError if the picture is so large that its decoder may need more than some 500 MB."""
    width, height = image.size
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # its decoder makes whole tiles; one may exceed the picture
        width = max(width, image.tag_v2.get(TiffImagePlugin.TILEWIDTH, 0))
        height = max(height, image.tag_v2.get(TiffImagePlugin.TILELENGTH, 0))
    most = MOST_PIXELS_OF.get(image.format or "", MOST_PIXELS)
    if width * height > most:
        raise UserError(f"{path}: expected at most {most:,} pixels, found {width} × {height}.")
    if max(width, height) > MOST_A_SIDE:
        raise UserError(f"{path}: expected at most {MOST_A_SIDE:,} pixels a side, found {width} × {height}.")
