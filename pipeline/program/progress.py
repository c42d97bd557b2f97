"""A progress bar for people at a terminal, and now and then a line elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from pipeline.program import errors

T = TypeVar("T")
INTERVAL = 10.0  # seconds between two lines, at least


def progress(
    items: Iterable[T],
    description: str,
    total: int | None,
    done: int = 0,
    note: Callable[[T], str] | None = None,
    size: Callable[[T], int] = lambda item: 1,
) -> Iterator[T]:
    """Yield `items`, and show a progress bar on standard error if that is a terminal.

    Elsewhere, such as in a log, print the note of an item as a line, at most one in ten seconds.
    After an item, `note` says what to show beside the bar, and `size` how far the bar goes. `total`
    is the size of all items and of what was `done` before, or None if it is unknown.
    """
    if sys.stderr is None or not sys.stderr.isatty():  # None if it is closed
        said = time.monotonic()
        for item in items:
            if note and time.monotonic() - said >= INTERVAL:
                errors.note(f"{description}: {note(item)}")
                said = time.monotonic()
            yield item
        return
    from rich import console  # here: a quiet run spends no start-up time on it
    from rich import progress as rich

    bars = rich.BarColumn(), rich.TaskProgressColumn(), "{task.fields[note]}"
    columns = ("{task.description}", *bars, rich.TimeRemainingColumn())
    with rich.Progress(*columns, console=console.Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total, completed=done, note="")
        for item in items:
            bar.update(task, advance=size(item), note=note(item) if note else "")
            yield item
