"""Files that are written whole or not at all."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from pipeline.program.errors import UserError


def check_distinct(*paths: Path) -> None:
    """Raise a UserError if two paths are the same: a result would replace another file."""
    resolved = [os.path.realpath(path) for path in paths]  # it allows links in a circle
    for number, path in enumerate(paths):
        if resolved[number] in resolved[:number]:
            advice = "give each input and each output a path of its own"
            raise UserError(f"{path}: given twice; {advice}.")


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """Open `path` for writing. It changes only when everything has been written.

    The bytes go to a temporary file beside it, which is then renamed. After an error or a kill,
    `path` is what it was before. An error of the system, such as a full disk, names `path`.
    """
    if path.exists() and not path.is_file():  # the rename would replace a device, or fail late
        raise UserError(f"{path}: not a regular file; give the name of a file.")
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
        with suppress(OSError):  # it is gone, or the error before this one says more
            part.unlink()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content`, whole or not at all."""
    with written_whole(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with `\\n` line ends on every system."""
    write_bytes(path, text.encode())


def read_json(path: Path) -> Any:
    """Read a JSON file of the pipeline. A UserError says that it is missing, or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        what = "no such file; run `dvc repro`, if a stage makes it"
    except ValueError:
        what = "not a whole JSON file; run `dvc repro` to make it again"
    raise UserError(f"{path}: {what}.")


def write_json(path: Path, values: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write `values` as JSON, in their order. Reading a float gives the same bits."""
    write_text(path, json.dumps(values, indent=2, allow_nan=False) + "\n")
