"""IDX, the format of MNIST's files: a header of big-endian numbers, then a byte for each value.

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


def read_images(path: Path) -> np.ndarray:
    """Map grey images: (images, rows, columns) bytes, which stay in the file until they are used.

    A UserError says that the file is missing, or is not a whole IDX file of bytes in 3 dimensions.
    """
    return _read(path, dimensions=3)


def read_labels(path: Path, classes: int) -> np.ndarray:
    """Read labels, (images,) bytes below `classes`. Errors are like those of `read_images`."""
    labels = _read(path, dimensions=1)
    if labels.max() >= classes:
        first = int(np.argmax(labels >= classes))
        what = f"expected labels from 0 to {classes - 1}, found {labels[first]} for image {first}"
        raise UserError(f"{path}: {what}.", about="labels")
    return labels


def read_labelled(
    images_path: Path, labels_path: Path, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Read images and as many labels. Errors are those of `read_images`."""
    images, labels = read_images(images_path), read_labels(labels_path, classes)
    if len(images) != len(labels):
        expected = f"{len(images)} labels, one for each image in {images_path}"
        what = f"expected {expected}, found {len(labels)}"
        raise UserError(f"{labels_path}: {what}.", about="length")
    return images, labels


def _read(path: Path, dimensions: int) -> np.ndarray:
    magic = bytes([0, 0, 8, dimensions])
    try:
        with path.open("rb") as file:
            header = file.read(4 + 4 * dimensions)
            length = os.fstat(file.fileno()).st_size
    except OSError as error:
        what = f"{error.strerror}; run `dvc repro download` to get it"
        raise UserError(f"{path}: {what}.") from None
    shape = struct.unpack(f">{dimensions}I", header[4:].ljust(4 * dimensions, b"\0"))
    whole = 4 + 4 * dimensions + math.prod(shape)
    if header[:4] != magic:
        expected = f"the first bytes {magic.hex(' ')} of an IDX file of bytes in {dimensions}-D"
        found, about = header[:4].hex(" ") or "none", "header"
    elif length != whole or 0 in shape:
        expected = f"{whole} bytes for {' × '.join(map(str, shape))}"
        found, about = str(length), "length"
    else:
        return np.memmap(path, np.uint8, "r", 4 + 4 * dimensions, shape)
    raise UserError(f"{path}: expected {expected}, found {found}.", about=about)
