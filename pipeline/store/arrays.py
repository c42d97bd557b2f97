"""Array files, `.npz`, with the same bytes on every system."""

import io
import math
import os
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import numpy as np

from pipeline.program.errors import UserError, clip
from pipeline.program.files import written_whole

BLOCK = 1 << 20  # bytes read at once
FIRST_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a ZIP archive can state
UNIX = 3


def save_arrays(path: Path, **arrays: Any) -> None:
    """Write named arrays as an uncompressed `.npz` that `np.load` reads. Numbers are little-endian, in C order.

    Raises:
        ValueError: an array holds Python objects.
    """
    with written_whole(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            array = np.asarray(array, order="C")
            entry = zipfile.ZipInfo(f"{name}.npy", FIRST_DATE)
            entry.create_system, entry.external_attr = UNIX, 0o600 << 16
            with archive.open(entry, "w", force_zip64=True) as member:
                little = array.astype(array.dtype.newbyteorder("<"), copy=False)
                np.lib.format.write_array(member, little, (1, 0), allow_pickle=False)


def load_arrays(path: Path, mapped: Collection[str] = ()) -> dict[str, Any]:
    """Read an `.npz` that `save_arrays` wrote. The arrays are read-only. Those named in `mapped` stay in the file.

    It checks every byte against the file's checksums, and reads no pickles. It refuses a compressed entry, and an entry
    of another length than its shape needs. So it takes no more memory than the file is long.

    Raises:
        UserError: the file is missing, or is not such an archive.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: not a regular file; expected an array file.", path=path)
    name = ""
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if sum(entry.compress_size for entry in entries) > os.fstat(file.fileno()).st_size:
                raise ValueError("its entries are longer than the file")
            arrays = {}
            for entry in entries:
                name = entry.filename.removesuffix(".npy")
                if name in arrays:
                    raise ValueError(f"two entries have the name {entry.filename}")
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise ValueError(f"{entry.filename} is compressed")
                with archive.open(entry) as member:
                    arrays[name] = _map(path, file, entry, member) if name in mapped else _read(entry, member)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run `dvc repro`, if a stage makes it.", path=path) from None
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        reason = clip(str(error) or type(error).__name__)
        raise UserError(
            f"{path}: not an array file of this pipeline ({reason}); "
            "run `make check`, then `dvc repro`, to make it again.",
            path=path,
            about=name,
        ) from None
    return arrays


def _read(entry: zipfile.ZipInfo, member: IO[bytes]) -> np.ndarray:
    content = member.read()
    start, shape, dtype = _described(entry, content, len(content))
    if dtype.kind == "U":
        content[start:].decode("utf-32-le")  # raises ValueError if a number is no character
    return np.ndarray(shape, dtype, content, start)


def _map(path: Path, file: IO[bytes], entry: zipfile.ZipInfo, member: IO[bytes]) -> np.ndarray:
    """Read an entry to its end, where `zipfile` compares its checksum, and map it."""
    beginning = member.read(BLOCK)
    length = len(beginning)
    while block := member.read(BLOCK):
        length += len(block)
    start, shape, dtype = _described(entry, beginning, length)
    file.seek(entry.header_offset + 26)
    lengths = np.frombuffer(file.read(4), "<u2")  # of the name and of the extra field, which follow the 30 bytes
    if 0 in shape:
        return np.empty(shape, dtype)  # it cannot be mapped
    return np.memmap(path, dtype, "r", entry.header_offset + 30 + int(lengths.sum()) + start, shape)


def _described(entry: zipfile.ZipInfo, beginning: bytes, length: int) -> tuple[int, tuple[int, ...], np.dtype]:
    """Return where the elements of an `.npy` file of `length` bytes start, and their shape and type."""
    header = io.BytesIO(beginning)
    try:
        version = np.lib.format.read_magic(header)
        shape, columns_first, dtype = np.lib.format.read_array_header_1_0(header)
    except Exception:  # damage also makes Python's parser and tokenizer fail, each in its own way
        raise ValueError(f"{entry.filename} has no header of an array") from None
    if version != (1, 0) or columns_first or dtype.kind not in "biufU" or not dtype.itemsize:
        raise ValueError(f"{entry.filename} is not a plain array")
    if math.prod(shape) * dtype.itemsize != length - header.tell():
        raise ValueError(f"{entry.filename} does not have the length that its shape {shape} needs")
    return header.tell(), shape, dtype
