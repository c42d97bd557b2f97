"""A progress bar for people at a terminal."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield `items`. Show a progress bar on standard error if that is a terminal.

    `total` is the number of items, if `len(items)` does not give it.
    """
    if sys.stderr is None or not sys.stderr.isatty():  # None if it is closed
        yield from items
        return
    from rich.console import Console  # here, so that a quiet run does not spend start-up time on it
    from rich.progress import track

    yield from track(items, description, total, console=Console(stderr=True), transient=True)
