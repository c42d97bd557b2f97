"""Image files and IDX files. They are untrusted: what they need in memory is bounded."""

import gzip
import io
import mmap
import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps, JpegImagePlugin, TiffImagePlugin

from pipeline.program.errors import UserError
from tools.pictures.preparation import LONGEST_OF_FITTED, Shape, prepare, reduction

# Pillow reads these without starting another program
FORMATS = ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"]
MOST_PIXELS = 50_000_000  # a phone's photo has up to 48 million
# More memory for each pixel; A4 at 600 dpi has 34.8 million
MOST_PIXELS_OF = {"TIFF": 35_000_000, "WEBP": 25_000_000}
MOST_A_SIDE = 65_535  # JPEG's own limit; decoders hold a few rows
IDX_TYPES = (b"\x08", b"\x09", b"\x0b", b"\x0c", b"\x0d", b"\x0e")  # of an IDX file's numbers
MOST_READS = 1_000_000  # of a file: Pillow reads once or more for each of its parts
MOST_SCANS = 100  # of a JPEG file, whose decoder goes over all pixels for each
MOST_OF_PLAIN = 1 << 25  # bytes of a PPM file with its numbers in decimal digits
MOST_OF_IDX = 1 << 28  # pixels to read from an IDX file; MNIST's largest has 47 million

# In JPEG, those followed by a length; FF 00 and FF D0 to FF D7 are in the pixels' data
MARKER = re.compile(rb"\xff+([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)

Image.MAX_IMAGE_PIXELS = None  # the limits above replace Pillow's


def read_picture(
    path: Path, shape: Shape, whole: bool, inverted: bool
) -> tuple[np.ndarray, list[str]]:
    """Read an image file and `prepare` its picture, the first if there are several.

    Raises:
        UserError: the file is no image, is damaged, too large or blank.
    """
    if path.exists() and not path.is_file():  # opening a pipe could wait for ever
        raise UserError(f"{path}: not a regular file; expected a picture.")
    picture, is_first = _first_picture(path)
    try:
        image, notes = prepare(picture, shape, whole, inverted)
    except ValueError as error:
        raise UserError(f"{path}: {error}.") from None
    return image, ["the first of several pictures is used"] * is_first + notes


def read_idx(path: Path, limit: int | None = None) -> np.ndarray | None:
    """Return at most `limit` images of an IDX file, (n, rows, columns) uint8; None for other files.

    Raises:
        UserError: the file is damaged, has too many pixels, or has labels instead of images.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        is_gzipped = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if is_gzipped else path.open("rb") as file:
            header = file.read(16)
            # Formats of pictures, such as HEIC, begin with two zero bytes, too
            if header[:2] != b"\0\0" or header[2:3] not in IDX_TYPES:
                return None
            if header[:4] != b"\0\0\x08\x03" or len(header) < 16:
                kind = "labels" if header[:4] == b"\0\0\x08\x01" else "something else"
                raise UserError(f"{path}: an IDX file of {kind}; expected one of images.")
            stated, rows, columns = struct.unpack(">3I", header[4:])
            images = min(stated, limit or stated)
            if not 0 < images * rows * columns <= MOST_OF_IDX:
                what = f"expected 1 to {MOST_OF_IDX:,}, found {images} × {rows} × {columns} pixels"
                raise UserError(f"{path}: {what}; --limit N reads only N images.")
            content = file.read(images * rows * columns)
            rest = file.read(1) if images == stated else b""  # there, gzip compares its checksum
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: the gzip file is damaged ({str(error).rstrip('.')}).") from None
    if len(content) + len(rest) != images * rows * columns:
        stated_size = f"its {stated} images of {rows} × {columns} bytes"
        raise UserError(f"{path}: the file is shorter or longer than {stated_size}.")
    return np.frombuffer(content, np.uint8).reshape(images, rows, columns)


class _Counted(io.BufferedReader):
    """A file that can be read MOST_READS times."""

    reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        if self.reads > MOST_READS:
            raise ValueError("it has too many parts")
        return super().read(size)


def _first_picture(path: Path) -> tuple[Image.Image, bool]:
    """Return the first picture of a file, upright, and whether the file has others."""
    with warnings.catch_warnings(), _silent_decoders():
        warnings.simplefilter("ignore")  # about odd metadata
        try:
            with _Counted(io.FileIO(path)) as file, Image.open(file, formats=FORMATS) as image:
                _check_size(path, image)
                is_first = getattr(image, "is_animated", False)
                # `prepare` reduces a large picture; JPEG's decoder does so in less memory
                factor = reduction(image, LONGEST_OF_FITTED)
                image.draft(None, (max(1, image.width // factor), max(1, image.height // factor)))
                image.load()
                ImageOps.exif_transpose(image, in_place=True)
                return image, is_first
        except Image.UnidentifiedImageError:
            formats = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
            raise UserError(f"{path}: not an image; expected one in {formats} format.") from None
        except (UserError, MemoryError):
            raise
        except Exception as error:  # damage makes Pillow's decoders raise errors of many types
            reason = str(error).rstrip(".") or type(error).__name__
            raise UserError(f"{path}: the image cannot be read ({reason}).") from None


@contextmanager
def _silent_decoders() -> Iterator[None]:
    """Throw away what libtiff would write to the process's standard error."""
    try:
        saved = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    with open(os.devnull, "wb") as nowhere, os.fdopen(saved, "wb"):
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)


def _check_size(path: Path, image: ImageFile.ImageFile) -> None:
    """Raise a UserError if the picture's decoder may need more than some 500 MB, or much time."""
    width, height = image.size
    # Its decoder makes whole tiles; one may exceed the picture
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        width = max(width, image.tag_v2.get(TiffImagePlugin.TILEWIDTH, 0))
        height = max(height, image.tag_v2.get(TiffImagePlugin.TILELENGTH, 0))
    most = MOST_PIXELS_OF.get(image.format or "", MOST_PIXELS)
    if width * height > most or max(width, height) > MOST_A_SIDE:
        expected = f"at most {most:,} pixels, and {MOST_A_SIDE:,} a side"
        raise UserError(f"{path}: expected {expected}; found {width} × {height}.")
    if image.tile and image.tile[0][0] == "ppm_plain" and path.stat().st_size > MOST_OF_PLAIN:
        raise UserError(f"{path}: expected at most {MOST_OF_PLAIN:,} bytes of plain PPM.")
    if isinstance(image, JpegImagePlugin.JpegImageFile) and _scans(path) > MOST_SCANS:
        raise UserError(f"{path}: expected at most {MOST_SCANS} scans of a JPEG picture.")


def _scans(path: Path) -> int:
    """Return how many scans a JPEG file has, counted to one more than MOST_SCANS."""
    scans, place = 0, 2
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        while scans <= MOST_SCANS and (marker := MARKER.search(content, place)):
            if marker[1] == b"\xd9":  # the end
                break
            scans += marker[1] == b"\xda"
            length = content[marker.end() : marker.end() + 2]
            place = marker.end() + int.from_bytes(length, "big")
    return scans
