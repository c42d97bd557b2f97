"""Array files, `.npz`, with the same bytes on every system."""

import os
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import numpy as np

from pipeline.program.errors import UserError, clip
from pipeline.program.files import written_whole

BLOCK = 1 << 20  # bytes read at once
MOST_ENTRIES = 1000  # of a file; a network of 400 layers has fewer


def save_arrays(path: Path, **arrays: Any) -> None:
    """Write named arrays, little-endian and in C order, as an uncompressed `.npz`.

    `np.load` reads the file. A ValueError says that an array holds Python objects.
    """
    with written_whole(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            array = np.asarray(array, order="C")
            entry = zipfile.ZipInfo(f"{name}.npy")  # of 1980, the earliest year of an archive
            entry.create_system, entry.external_attr = 3, 0o600 << 16  # Unix, and permissions
            with archive.open(entry, "w", force_zip64=True) as member:
                little = array.astype(array.dtype.newbyteorder("<"), copy=False)
                np.lib.format.write_array(member, little, (1, 0), allow_pickle=False)


def load_arrays(path: Path, mapped: Collection[str] = ()) -> dict[str, Any]:
    """Read an `.npz` that `save_arrays` wrote. Arrays named in `mapped` stay in it, read-only.

    It compares every byte with the file's checksums, and reads no pickles. It takes no more memory
    than the file is long: compressed entries, and entries that share bytes, are refused. A
    UserError says that the file is missing, or is not such an archive.
    """
    name = ""
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if len(entries) > MOST_ENTRIES or any(entry.compress_type for entry in entries):
                raise ValueError("it has compressed entries, or too many")
            if sum(entry.file_size for entry in entries) > os.fstat(file.fileno()).st_size:
                raise ValueError("its entries are longer than the file")
            arrays = {}
            for entry in entries:
                name = entry.filename.removesuffix(".npy")
                with archive.open(entry) as member:
                    is_mapped = name in mapped
                    arrays[name] = _map(file, entry, member) if is_mapped else _read(member)
                    while member.read(BLOCK):  # to the end, where `zipfile` compares the checksum
                        pass
    except FileNotFoundError:
        what = "no such file; run `dvc repro`, if a stage makes it"
        raise UserError(f"{path}: {what}.") from None
    except Exception as error:  # damage makes zipfile, NumPy and Python's own parser fail
        what = f"not an array file of this pipeline ({clip(str(error) or type(error).__name__)})"
        cure = "run `make check`, then `dvc repro`, to make it again"
        raise UserError(f"{path}: {what}; {cure}.", about=name) from None
    return arrays


def _read(member: IO[bytes]) -> np.ndarray:
    array = np.lib.format.read_array(member, allow_pickle=False)
    if array.size > array.nbytes:  # a short file could state any number of them
        raise ValueError("its elements have no bytes")
    if array.dtype.kind == "U":
        array.tolist()  # raises ValueError if a number is no character
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _map(file: IO[bytes], entry: zipfile.ZipInfo, member: IO[bytes]) -> np.ndarray:
    np.lib.format.read_magic(member)
    shape, _, dtype = np.lib.format.read_array_header_1_0(member)
    file.seek(entry.header_offset + 26)
    lengths = np.frombuffer(file.read(4), "<u2")  # of the name and of the extra field
    content = entry.header_offset + 30 + int(lengths.sum())  # both follow a header of 30 bytes
    return np.memmap(file.name, dtype, "r", content + member.tell(), shape)
