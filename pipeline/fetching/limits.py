"""The limits of all mirrors, and their failures."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

BLOCK = 1 << 16  # bytes read at once

# read(name, max_bytes) yields the bytes of a file as they come. It may raise FileFailure, MirrorFailure or OSError.
Read = Callable[[str, int], Iterator[bytes]]


class Limits(NamedTuple):
    """How long to wait for a mirror, in seconds."""

    connect: float = 5  # for a connection
    read: float = 15  # for the next piece of an answer
    total: float = 600  # for everything that the mirror gives
    again: float = 0.5  # before a failed request is repeated


class FileFailure(Exception):  # noqa: N818
    """A mirror does not give a file. The text says why."""


class MirrorFailure(Exception):  # noqa: N818
    """A mirror gives no file, or no more files. The text says why."""
