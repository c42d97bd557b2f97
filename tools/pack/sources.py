"""Pictures in a folder, and pixels in a CSV file: one image at a time, with the name of its class."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from math import isqrt
from pathlib import Path
from typing import TextIO

import numpy as np
from PIL import Image

from mlp.arithmetic import MOST_TERMS
from pipeline.program.errors import UserError, clip
from pipeline.program.names import LONGEST, is_name
from pipeline.program.progress import progress
from tools.pictures import read_picture

Shape = tuple[int, int]
Preparation = Callable[[Image.Image, Shape], np.ndarray]  # makes an image of a shape from a picture
Labelled = tuple[str, np.ndarray]  # the name of a class, and an image: (rows, columns) uint8

MOST_CLASSES = 256  # a label is a byte
LONGEST_LINE = 4 * MOST_TERMS + 1000  # characters of a CSV file: "255," for each pixel
BYTES = {str(byte): byte for byte in range(256)}


def check_shape(size: str) -> Shape:
    """Return the rows and columns that `size` states: "28" or "28x20".

    Raises:
        UserError: it states no size, or too large a one.
    """
    found = re.fullmatch(r"([1-9]\d{0,6})(?:x([1-9]\d{0,6}))?", size, re.ASCII)
    rows, columns = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 0 < rows * columns <= MOST_TERMS:
        raise UserError(f"--size is {clip(size)}; expected ROWS or ROWSxCOLUMNS, at most {MOST_TERMS:,} pixels.")
    return rows, columns


def in_order(source: Path, names: Iterable[str]) -> tuple[str, ...]:
    """Return the classes' names in their order: numbers by their value, other names by their characters.

    Raises:
        UserError: there are too few or too many, or one cannot be shown in a table.
    """
    found = sorted(set(names))
    if not 2 <= len(found) <= MOST_CLASSES:
        raise UserError(f"{source}: expected 2 to {MOST_CLASSES} classes, found {len(found)}.")
    for name in found:
        if not is_name(name):
            raise UserError(
                f"{source}: a class has the name {clip(repr(name))}; expected text of 1 to {LONGEST} characters."
            )
    are_numbers = all(re.fullmatch(r"\d+", name, re.ASCII) for name in found)
    return tuple(sorted(found, key=int) if are_numbers else found)


def folder_images(
    folder: Path, shape: Shape, preparation: Preparation, leave_out: Callable[[str], None]
) -> Iterator[Labelled]:
    """Yield the images of a folder with one subfolder of pictures for each class, in sorted order.

    Hidden files are ignored. If a file has several pictures, the first is used. `leave_out` gets a sentence about
    each other file that cannot be used.

    Raises:
        UserError: a class has no usable picture.
    """
    entries = _visible(folder)
    if not any(path.is_dir() for path in entries):
        raise UserError(f"{folder}: no subfolders; put the pictures into one subfolder for each class.", path=folder)
    for path in entries:
        if not path.is_dir():
            leave_out(f"{path}: not in a class's folder.")
    names = in_order(folder, (path.name for path in entries if path.is_dir()))
    for number, name in enumerate(names, 1):
        usable = 0
        files = _visible(folder / name)
        for path in progress(files, f"Class {number} of {len(names)}", total=len(files)):
            try:
                image = _read(path, shape, preparation)
            except UserError as error:
                leave_out(str(error))
                continue
            usable += 1
            yield name, image
        if not usable:
            raise UserError(f"{folder / name}: no picture that can be used; add some, or remove the folder.")


def _visible(folder: Path) -> list[Path]:
    return sorted((path for path in folder.iterdir() if path.name[0] != "."), key=lambda path: path.name)


def _read(path: Path, shape: Shape, preparation: Preparation) -> np.ndarray:
    if not path.is_file():
        raise UserError(f"{path}: {'a folder' if path.is_dir() else 'not a regular file'}; expected a picture.")
    image, _ = read_picture(path, shape, preparation)
    return image


def csv_images(path: Path, shape: Shape | None) -> Iterator[Labelled]:
    """Yield the images of a CSV file: in each row the label, then the pixels. The first row may be a header.

    Args:
        path: the file, in UTF-8.
        shape: rows and columns of an image; None if it is square.

    Raises:
        UserError: the file is missing, or a row is not as expected.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            checked = None
            for number, (label, *cells) in _rows(path, file):
                if checked is None:
                    checked = _shape_of(path, len(cells), shape)
                    if _is_header(cells):
                        continue
                yield label.strip(), _image(path, number, cells, checked)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}.", path=path) from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8; expected a folder or a CSV file.", path=path) from None


def _rows(path: Path, file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line that is not blank, and its cells."""
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE:
            raise UserError(f"{path}: line {number} is longer than {LONGEST_LINE:,} characters.", path=path)
        if not line.isspace():
            try:
                yield number, next(csv.reader([line], skipinitialspace=True, strict=True))
            except csv.Error as error:
                raise UserError(f"{path}: line {number} is not CSV: {error}.", path=path) from None


def _shape_of(path: Path, pixels: int, shape: Shape | None) -> Shape:
    rows, columns = shape or (isqrt(pixels),) * 2
    if not 0 < pixels <= MOST_TERMS:
        raise UserError(
            f"{path}: expected a label and at most {MOST_TERMS:,} pixels in each row, separated by commas.", path=path
        )
    if rows * columns != pixels and shape:
        raise UserError(f"{path}: its rows have {pixels} pixels; --size says {rows} × {columns}.", path=path)
    if rows * columns != pixels:
        raise UserError(f"{path}: its {pixels} pixels are no square; give their --size ROWSxCOLUMNS.", path=path)
    return rows, columns


def _is_header(names: list[str]) -> bool:
    """Return whether the first row's cells after the label are names: no number at all, or 0, 1, … or 1, 2, … in order.

    pandas writes such numbers. 16 of them are never the pixels of a picture.
    """
    if len(names) >= 16 and names in ([str(place + first) for place in range(len(names))] for first in (0, 1)):
        return True
    return not any(_is_number(name) for name in names)


def _is_number(text: str) -> bool:
    try:
        float(text or 0)  # an empty cell is a missing number
    except ValueError:
        return False
    return True


def _image(path: Path, number: int, cells: list[str], shape: Shape) -> np.ndarray:
    pixels = shape[0] * shape[1]
    about = f"line {number}"
    if len(cells) != pixels:
        raise UserError(f"{path}: {about}: expected {pixels} pixels, found {len(cells)}.", path=path, about=about)
    try:
        content = bytes(BYTES[cell] for cell in cells)
    except KeyError as error:
        found = clip(repr(error.args[0]))
        sentence = f"{path}: {about}: expected whole numbers from 0 to 255, found {found}."
        raise UserError(sentence, path=path, about=about) from None
    return np.frombuffer(content, np.uint8).reshape(shape)
