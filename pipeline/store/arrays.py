"""Array files with the same bytes on every system, and arrays that stay in their file until they are used."""

import io
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from pipeline.program.errors import UserError, clip
from pipeline.program.files import written_whole

BLOCK = 1 << 20  # bytes of an array read or written at once


class Blocks(NamedTuple):
    """An array to write, block by block. It is never in memory as a whole.

    Attributes:
        shape: the shape of the whole array.
        dtype: the type of its elements.
        blocks: arrays of that type. One after the other, they fill the shape.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    blocks: Iterable[np.ndarray]


def save_arrays(path: Path, **arrays: Any) -> None:
    """Write named arrays, or `Blocks`, as an uncompressed `.npz` that `np.load` reads.

    It copies at most one block of an array at a time.

    Raises:
        ValueError: an array holds Python objects, or `Blocks` do not fill their shape.
    """
    with written_whole(path) as file:
        write_arrays(file, arrays)


def write_arrays(file: IO[bytes], arrays: Mapping[str, Any]) -> None:
    """Write named arrays as `save_arrays` does, to an empty file that can seek.

    `np.savez` uses `zipfile`, whose records differ between Windows and Unix, and between Python 3.11.3 and 3.11.4. Here
    they are always the records that later Pythons write on Unix.
    """
    directory = [_write_entry(file, f"{name}.npy".encode("ascii"), array) for name, array in arrays.items()]
    start = file.tell()
    file.write(b"".join(directory))
    end = file.tell()
    entries = len(directory)
    if start > _LARGEST:
        file.write(struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, entries, entries, end - start, start))
        file.write(struct.pack("<4sLQL", b"PK\6\7", 0, end, 1))
    file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, entries, entries, end - start, min(start, _ELSEWHERE), 0))


_LARGEST = (1 << 31) - 1  # the largest number that zipfile writes in 32 bits
_ELSEWHERE = 0xFFFFFFFF  # written for a larger number, which is in a field of 64 bits
_ALIKE = struct.pack("<5H", 45, 0, 0, 0, 1 << 5 | 1)  # in every entry: zip 4.5, no flags, stored, 1980-01-01 00:00


def _write_entry(file: IO[bytes], name: bytes, array: Any) -> bytes:
    """Write an entry. Return its record for the directory."""
    offset = file.tell()
    file.write(_local_header(name, 0, 0))
    crc, size = _write_npy(file, array if isinstance(array, Blocks) else _in_blocks(np.asarray(array)))
    end = file.tell()
    file.seek(offset)
    file.write(_local_header(name, crc, size))  # now that both are known
    file.seek(end)

    large = [number for number in (size, size, offset) if number > _LARGEST]
    extra = struct.pack(f"<2H{len(large)}Q", 1, 8 * len(large), *large) if large else b""
    size, offset = (_ELSEWHERE if number > _LARGEST else number for number in (size, offset))
    made = struct.pack("<4s2B", b"PK\1\2", 45, 3)  # by zip 4.5 on Unix
    numbers = struct.pack("<3L5H2L", crc, size, size, len(name), len(extra), 0, 0, 0, 0o600 << 16, offset)
    return made + _ALIKE + numbers + name + extra


def _local_header(name: bytes, crc: int, size: int) -> bytes:
    extra = struct.pack("<2H2Q", 1, 16, size, size)  # always, so that the header has the same length for every size
    return b"PK\3\4" + _ALIKE + struct.pack("<3L2H", crc, _ELSEWHERE, _ELSEWHERE, len(name), len(extra)) + name + extra


def _write_npy(file: IO[bytes], array: Blocks) -> tuple[int, int]:
    """Write an array as an `.npy` file. Return its CRC-32 and its length in bytes."""
    shape, dtype, blocks = array.shape, np.dtype(array.dtype), array.blocks
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be saved")
    header = io.BytesIO()
    description = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, description)
    file.write(header.getbuffer())
    crc, size = zlib.crc32(header.getbuffer()), 0
    for block in blocks:
        if block.dtype != dtype:
            raise ValueError(f"a block of {block.dtype} in an array of {dtype}")
        content = np.ascontiguousarray(block).data
        file.write(content)
        crc = zlib.crc32(content, crc)
        size += content.nbytes
    if size != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"the blocks have {size} bytes, and do not fill {shape} of {dtype}")
    return crc, header.tell() + size


def _in_blocks(array: np.ndarray) -> Blocks:
    rows = np.atleast_1d(array)
    step = _rows_in_block(rows.shape, rows.dtype)
    return Blocks(array.shape, array.dtype, (rows[start : start + step] for start in range(0, len(rows), step)))


def _rows_in_block(shape: tuple[int, ...], dtype: np.dtype) -> int:
    return max(1, BLOCK // max(1, math.prod(shape[1:]) * dtype.itemsize))


class StoredRows:
    """An array that stays in its file. Indexing reads rows and returns them as a new array.

    It is not an `np.memmap`. Reading 100 random rows from that takes longer, and the system may keep hundreds of rows
    around each of them in memory.

    Args:
        file: the open file. Indexing opens it again by its name.
        start: the place of the array in the file, in bytes.
        shape: the shape of the array. The array has C order and at least one dimension.
        dtype: the type of its elements.
    """

    def __init__(self, file: IO[bytes], start: int, shape: tuple[int, ...], dtype: np.dtype):
        self.path, self.start, self.shape, self.dtype = Path(file.name), start, shape, np.dtype(dtype)
        self.ndim = len(shape)
        self._file = _identity(file)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Read rows: a slice of them, or the rows with the given numbers, from 0, in an (n,) array of integers.

        Raises:
            IndexError: there is no row with this number.
            TypeError: `rows` is something else.
            UserError: the file has changed, or cannot be read.
        """
        index = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows)
        if index.ndim != 1 or index.dtype.kind not in "iu":
            raise TypeError("expected a slice of rows, or a one-dimensional array of integers")
        if len(index) and not 0 <= index.min() <= index.max() < len(self):
            raise IndexError(f"expected rows from 0 to {len(self) - 1}, found {index.min()} to {index.max()}")
        found = np.empty((len(index), *self.shape[1:]), self.dtype)
        row = math.prod(self.shape[1:]) * self.dtype.itemsize  # bytes
        # One read gets rows that follow each other, at most a block of them
        begins = np.diff(index.astype(np.int64), prepend=-2) != 1
        begins[:: _rows_in_block(self.shape, self.dtype)] = True
        firsts = np.flatnonzero(begins).tolist()
        count = 0
        try:
            with self.path.open("rb", buffering=0) as file:
                for (first, last), place in zip(pairwise([*firsts, len(index)]), index[firsts].tolist(), strict=True):
                    file.seek(self.start + place * row)
                    count += file.readinto(found[first:last].data)
                unchanged = _identity(file) == self._file
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror}.", path=self.path) from None
        if count != found.nbytes or not unchanged:
            sentence = f"{self.path}: the file changed while it was in use; run the command again."
            raise UserError(sentence, path=self.path)
        return found

    def blocks(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the rows with the given numbers, in an (n,) array of integers, a block at a time."""
        step = _rows_in_block(self.shape, self.dtype)
        return (self[rows[start : start + step]] for start in range(0, len(rows), step))


def _identity(file: IO[bytes]) -> tuple[int, ...]:
    """Return numbers that change when a file is written again or replaced."""
    status = os.fstat(file.fileno())
    return status.st_ino, status.st_size, status.st_mtime_ns


def load_arrays(path: Path, stored: Collection[str] = ()) -> dict[str, Any]:
    """Read an `.npz` that `save_arrays` wrote. The arrays are read-only. Those named in `stored` are `StoredRows`.

    It checks every byte against the file's checksums, and reads no pickles. It refuses a compressed entry, and an entry
    of another length than its shape needs. So it takes no more memory than the file is long.

    Raises:
        UserError: the file is missing, or is not such an archive.
    """
    name = ""
    with _opened(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
                if sum(entry.compress_size for entry in entries) > os.fstat(file.fileno()).st_size:
                    raise ValueError("its entries are longer than the file")
                arrays = {}
                for entry in entries:
                    name = entry.filename.removesuffix(".npy")
                    if name in arrays:
                        raise ValueError(f"two entries have the name {entry.filename}")
                    arrays[name] = _check_entry(archive, entry, file) if name in stored else _read_entry(archive, entry)
        except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError, OSError) as error:
            reason = clip(str(error) or type(error).__name__)
            raise UserError(
                f"{path}: not an array file of this pipeline ({reason}); "
                "run `make check`, then `dvc repro`, to make it again.",
                path=path,
                about=name,
            ) from None
    return arrays


def _opened(path: Path) -> IO[bytes]:
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: not a regular file; expected an array file.", path=path)
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run `dvc repro`, if a stage makes it.", path=path) from None


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    with _opened_entry(archive, entry) as member:
        content = member.read()
    start, shape, dtype = _described(entry, content, len(content))
    if dtype.kind == "U":
        content[start:].decode("utf-32-le")  # raises ValueError if a number is no character
    return np.ndarray(shape, dtype, content, start)


def _check_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, file: IO[bytes]) -> StoredRows:
    """Read an entry to its end, where `zipfile` compares its checksum, and keep only where it is."""
    with _opened_entry(archive, entry) as member:
        beginning = member.read(BLOCK)
        length = len(beginning)
        while block := member.read(BLOCK):
            length += len(block)
    start, shape, dtype = _described(entry, beginning, length)
    np.empty((0, *shape[1:]), dtype)  # raises ValueError if NumPy has no such array
    file.seek(entry.header_offset + 26)
    name_length, extra_length = struct.unpack("<2H", file.read(4))
    return StoredRows(file, entry.header_offset + 30 + name_length + extra_length + start, shape, dtype)


def _opened_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> IO[bytes]:
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{entry.filename} is compressed")
    return archive.open(entry)


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
