"""Files that are written whole or not at all, and array files with the same bytes on every system."""

import json
import math
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from pipeline.errors import UserError, clip


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """Open `path` for writing so that it changes only when everything has been written.

    The bytes go to a temporary file in the same folder, which then takes the name of `path`. After an
    error, or a kill, `path` is what it was before. An error of the system's, such as a full disk, names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    except OSError as error:
        if error.filename in (None, str(part)):  # a write that fails names no file
            error.filename = str(path)
        raise
    finally:
        with suppress(OSError):  # it is gone, or the folder can only be read: the error before this one says more
            part.unlink()


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with `\\n` line ends, whatever the system's own are."""
    with written_whole(path) as file:
        file.write(text.encode())


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write `values` as JSON, in their order; floats by `repr`, the shortest text that reads back as the same bits."""
    write_text(path, json.dumps(values, indent=2, allow_nan=False) + "\n")


def save_arrays(path: Path, **arrays: Any) -> None:
    """Write named arrays as an uncompressed `.npz` that `np.load` reads.

    `np.savez` would do, but for the system's name that `zipfile` puts into each entry: Windows and Unix differ.
    """
    with written_whole(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")  # dated 1980-01-01, as every ZipInfo is
            entry.create_system = 3
            entry.external_attr = 0o600 << 16
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)


# The start of an entry as `save_arrays` writes it: booleans, integers, floats or text, rows first
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '([<|](?:b1|[iu][1248]|f[248]|U[1-9][0-9]{0,3}))', 'fortran_order': False, "
    rb"'shape': \(((?:[0-9]{1,18}, ?)*(?:[0-9]{1,18})?)\), \} *\n",
    re.DOTALL,
)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read an `.npz` that `save_arrays` wrote; the arrays are read-only.

    Reads no pickles, and takes no more memory than the file is long: an entry that is compressed, or whose shape
    does not fill it exactly, is refused.

    Raises:
        UserError: the file is missing, or is not such an archive.
    """
    with _opened(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
                if sum(entry.compress_size for entry in entries) > os.fstat(file.fileno()).st_size:
                    raise ValueError("its entries are longer than the file")
                arrays = {entry.filename.removesuffix(".npy"): _read_entry(archive, entry) for entry in entries}
            if len(arrays) < len(entries):
                raise ValueError("a name stands twice")
        except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError, OSError) as error:
            reason = clip(str(error) or type(error).__name__)
            raise UserError(
                f"{path}: not an array file of this pipeline ({reason}); "
                "run `make check`, then `dvc repro`, to make it again."
            ) from None
    return arrays


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run `dvc repro` to make it.") from None


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{entry.filename} is compressed")
    content = archive.read(entry)
    header = _HEADER.match(content)
    if header is None:
        raise ValueError(f"{entry.filename} is not a plain array")
    dtype = np.dtype(header[1].decode())
    shape = tuple(int(length) for length in header[2].split(b",") if length.strip())
    if math.prod(shape) * dtype.itemsize != len(content) - header.end():
        raise ValueError(f"{entry.filename} has another length than its shape {shape} asks for")
    if dtype.kind == "U":
        content[header.end() :].decode("utf-32-le")  # ValueError where a number is no character
    return np.ndarray(shape, dtype, content, header.end())
