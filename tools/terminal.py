"""Tables for a terminal of any width, and for pipes and files."""

from rich.console import Console
from rich.table import Table


def plain_console() -> Console:
    """Return a console that prints text as it is: brackets are no markup. A pipe or a file gets lines of any length."""
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = 10_000
    return console


def fits(console: Console, table: Table) -> bool:
    """Say whether the console shows each row of `table` without breaking lines."""
    return console.measure(table, options=console.options.update(width=10_000)).maximum <= console.width
