"""What the commands print: tables for a terminal, pipes and files; numbers over several seeds."""

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported inside the function: the records' ledger prints no table
    from rich.console import Console


def mean_and_deviation(values: Sequence[float], digits: int = 4, sign: str = "") -> str:
    """Return mean ± standard deviation of a sample (n − 1); of one number, the number alone.

    There are so many `digits` after the point. "+" as `sign` gives a positive mean a sign, too.
    """
    mean = f"{fmean(values):{sign}.{digits}f}"
    return f"{mean} ± {stdev(values):.{digits}f}" if len(values) > 1 else mean


def markdown(head: str, rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; without rows, "No changes.".

    In `head`, "a | b:", the colon puts b flush right.
    """
    if not rows:
        return "No changes."
    names = head.split(" | ")
    rule = "|".join("---:" if name.endswith(":") else "---" for name in names)
    first = [name.removesuffix(":") for name in names]
    lines = (f"| {' | '.join(cells)} |" for cells in (first, *rows))
    return "\n".join([next(lines), f"|{rule}|", *lines])


def plain_console() -> "Console":
    """Return a console that prints brackets as they are, and long lines to a pipe or a file."""
    from rich.console import Console

    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = 10_000
    return console
