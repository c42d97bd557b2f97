"""Pictures in a folder, and pixels in a CSV file: one at a time, each with its class's name."""

import csv
import re
from collections.abc import Iterable, Iterator
from math import isqrt
from pathlib import Path

import numpy as np

from mlp.arithmetic import MOST_TERMS
from pipeline.program.errors import LONGEST_NAME, UserError, clip, is_name, note, visible
from pipeline.program.progress import progress
from tools.pictures.files import read_picture
from tools.pictures.preparation import Shape

Labelled = tuple[str, np.ndarray]  # the name of a class, and an image: (rows, columns) uint8

MOST_CLASSES = 256  # a label is a byte
BYTES = {str(byte): byte for byte in range(256)}


def shape_of(size: str) -> Shape:
    """Return the rows and columns that `size` states: "28" or "28x20".

    A UserError says that it states none.
    """
    found = re.fullmatch(r"([1-9]\d{0,6})(?:x([1-9]\d{0,6}))?", size, re.ASCII)
    rows, columns = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 0 < rows * columns <= MOST_TERMS:
        expected = "ROWSxCOLUMNS, such as 28x20 (28 rows of 20 pixels) or 28 (a square)"
        most = f"at most {MOST_TERMS:,} pixels"
        raise UserError(f"--size is {clip(size)}; expected {expected}; {most}.")
    return rows, columns


def in_order(source: Path, names: Iterable[str]) -> tuple[str, ...]:
    """Return the classes' names in order: numbers by value, other names by characters.

    A UserError says that there are too few or too many, or that one cannot be shown in a table.
    """
    found = sorted(set(names))
    if not 2 <= len(found) <= MOST_CLASSES:
        expected = f"2 to {MOST_CLASSES} classes, in a folder one subfolder for each class"
        raise UserError(f"{source}: expected {expected}; found {len(found)}.")
    if bad := [name for name in found if not is_name(name)]:
        what = f"a class has the name {clip(repr(bad[0]))}"
        raise UserError(f"{source}: {what}; expected text of 1 to {LONGEST_NAME} characters.")
    are_numbers = all(re.fullmatch(r"\d+", name, re.ASCII) for name in found)
    return tuple(sorted(found, key=int) if are_numbers else found)


def folder_images(folder: Path, shape: Shape, whole: bool, inverted: bool) -> Iterator[Labelled]:
    """Yield the images of a folder with one subfolder of pictures for each class, in sorted order.

    Hidden files are ignored. A line on standard error names each other file that cannot be used. A
    UserError says that there are too few or too many subfolders, or that one has no usable picture.
    """
    names = in_order(folder, [path.name for path in _visible(folder) if path.is_dir()])
    for path in _visible(folder):
        if not path.is_dir():
            note(visible(f"left out: {path}: not in a class's folder."))
    for number, name in enumerate(names, 1):
        usable = 0
        files = _visible(folder / name)
        for path in progress(files, f"Class {number} of {len(names)}", total=len(files)):
            try:
                image, _ = read_picture(path, shape, whole, inverted)
            except UserError as error:
                note(visible(f"left out: {error}"))
                continue
            usable += 1
            yield name, image
        if not usable:
            what = "no picture that can be used; add some, or remove the folder"
            raise UserError(f"{folder / name}: {what}.")


def _visible(folder: Path) -> list[Path]:
    names = sorted(path.name for path in folder.iterdir())
    return [folder / name for name in names if name[0] != "."]


def csv_images(path: Path, shape: Shape | None, inverted: bool) -> Iterator[Labelled]:
    """Yield the images of a CSV file: in each row the label, then the pixels; maybe a header first.

    Images without a `shape` are square. If `inverted`, light and dark are exchanged. A UserError
    says that the file is missing, or which row is not as expected.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, skipinitialspace=True, strict=True)
            for label, *cells in filter(None, rows):  # blank lines are empty
                shape = shape or (isqrt(len(cells)),) * 2
                if rows.line_num > 1 or not _is_header(cells):
                    pixels = _pixels(cells, shape)
                    yield label.strip(), 255 - pixels if inverted else pixels
    except UnicodeDecodeError:
        what = "not a text file in UTF-8; expected a folder or a CSV file"
        raise UserError(f"{path}: {what}.") from None
    except (csv.Error, ValueError) as error:
        raise UserError(f"{path}: line {rows.line_num}: {error}.") from None


def _is_header(cells: list[str]) -> bool:
    """Return whether the first row has names: no byte, or its cells' numbers, as from pandas."""
    numbers = [[str(first + place) for place in range(len(cells))] for first in (0, 1)]
    return not any(cell in BYTES for cell in cells) or (len(cells) > 16 and cells in numbers)


def _pixels(cells: list[str], shape: Shape) -> np.ndarray:
    """Return the image of a row's cells. A ValueError says what is wrong with them."""
    rows, columns = shape
    if not 0 < len(cells) <= MOST_TERMS:
        raise ValueError(f"expected a label and 1 to {MOST_TERMS:,} pixels, separated by commas")
    if len(cells) != rows * columns:
        what = f"expected {rows * columns} pixels ({rows} × {columns}), found {len(cells)}"
        cure = "--size ROWSxCOLUMNS, such as 28x20 for 28 rows of 20 pixels, states another size"
        raise ValueError(f"{what}; {cure}")
    try:
        return np.frombuffer(bytes(BYTES[cell] for cell in cells), np.uint8).reshape(shape)
    except KeyError as error:
        found = clip(repr(error.args[0]))
        raise ValueError(f"expected whole numbers from 0 to 255, found {found}") from None
