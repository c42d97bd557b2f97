"""What a person at a terminal sees while a stage works."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield `items`, with a progress bar on standard error while that is a terminal; silently otherwise.

    `total` is the number of items, where `len(items)` does not tell.
    """
    if sys.stderr is None or not sys.stderr.isatty():  # None where it is closed
        yield from items
        return
    from rich.console import Console  # here, so that a quiet run does not spend start-up time on it
    from rich.progress import track

    yield from track(items, description, total, console=Console(stderr=True), transient=True)
