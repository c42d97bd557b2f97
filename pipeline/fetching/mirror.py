"""What all kinds of mirrors share: they give files in pieces, within limits, and fail."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

BLOCK = 1 << 16  # bytes read at once

# Gives the bytes of the file of that name, of which at most so many are wanted, as they come.
# Raises FileFailure, MirrorFailure or OSError.
Read = Callable[[str, int], Iterator[bytes]]


class Limits(NamedTuple):
    """How long to wait for a mirror, in seconds."""

    connect: float = 5  # for a connection
    read: float = 15  # for the next piece of an answer
    total: float = 600  # for everything that the mirror gives
    again: float = 0.5  # before a failed request is repeated


class FileFailure(Exception):  # noqa: N818
    """Why a mirror did not give a file."""


class MirrorFailure(Exception):  # noqa: N818
    """Why a mirror gives no file, or no more of them."""
