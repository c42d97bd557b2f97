"""What the commands print: tables for a terminal, pipes and files; numbers over several seeds."""

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING

import typer

from pipeline.program.errors import visible

if TYPE_CHECKING:  # imported inside the function: the records' ledger prints no table
    from rich.table import Table


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


def show(shown: "str | Table", err: bool = False) -> None:
    """Print a text or a table, with "?" for control characters, which a terminal would obey.

    Brackets are no markup. A pipe or a file gets lines of any length.
    """
    if not isinstance(shown, str):
        from rich.console import Console

        console = Console(markup=False, emoji=False, highlight=False, color_system=None)
        if not console.is_terminal:
            console.width = 10_000
        with console.capture() as text:
            console.print(shown)
        shown = text.get().removesuffix("\n")
    typer.echo("\n".join(map(visible, shown.split("\n"))), err=err)
