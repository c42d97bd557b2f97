"""IDX, the format of MNIST's files: a header of big-endian numbers, then one byte for each pixel or label.

0        two zero bytes, the type (8: unsigned bytes), the number of dimensions
4        the length of each dimension, 4 bytes each
then     the bytes themselves, last dimension fastest
"""

import math
import os
import struct
from pathlib import Path

import numpy as np

from pipeline.program.errors import UserError

UNSIGNED_BYTES = 8


def read_images(path: Path) -> np.ndarray:
    """Map grey images: (images, rows, columns) bytes, which stay in the file until they are used.

    Raises:
        UserError: the file is missing, or is not an IDX file of unsigned bytes in three dimensions, whole and
            without anything after the end.
    """
    return _read(path, dimensions=3)


def read_labels(path: Path, classes: int) -> np.ndarray:
    """Read labels: (images,) bytes from 0 to `classes` − 1.

    Raises:
        UserError: as for `read_images`, but for one dimension; or a label is out of range.
    """
    labels = _read(path, dimensions=1)
    if labels.max() >= classes:
        first = int(np.argmax(labels >= classes))
        raise UserError(
            f"{path}: expected labels from 0 to {classes - 1}, found {labels[first]} for image {first}.",
            path=path,
            about="labels",
        )
    return labels


def read_labelled(images_path: Path, labels_path: Path, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Read images and their labels, as `read_images` and `read_labels` do.

    Raises:
        UserError: as above, or there is not one label for each image.
    """
    images, labels = read_images(images_path), read_labels(labels_path, classes)
    if len(images) != len(labels):
        raise UserError(
            f"{labels_path}: expected {len(images)} labels, one for each image in {images_path}, found {len(labels)}.",
            path=labels_path,
            about="length",
        )
    return images, labels


def _read(path: Path, dimensions: int) -> np.ndarray:
    header_length = 4 + 4 * dimensions
    magic = bytes([0, 0, UNSIGNED_BYTES, dimensions])
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: not a regular file; run `dvc repro download` to get it.", path=path)
    try:
        with path.open("rb") as file:
            header = file.read(header_length)
            length = os.fstat(file.fileno()).st_size
            if header[:4] != magic:
                raise UserError(
                    f"{path}: expected the first bytes {magic.hex(' ')} of an IDX file of bytes in {dimensions}-D, "
                    f"found {header[:4].hex(' ') or 'none'}.",
                    path=path,
                    about="header",
                )
            if len(header) < header_length:
                sentence = f"{path}: expected a header of {header_length} bytes, found {len(header)}."
                raise UserError(sentence, path=path, about="header")
            shape = struct.unpack(f">{dimensions}I", header[4:])
            if 0 in shape:
                sentence = f"{path}: expected lengths of 1 or more, found {_times(shape)}."
                raise UserError(sentence, path=path, about="header")
            expected = header_length + math.prod(shape)
            if length != expected:  # so that a wrong header cannot make us reserve memory
                sentence = f"{path}: expected {expected} bytes for {_times(shape)}, found {length}."
                raise UserError(sentence, path=path, about="length")
            return np.memmap(path, np.uint8, "r", header_length, shape)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; run `dvc repro download` to get it.", path=path) from None


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
