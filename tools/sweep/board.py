"""What a sweep shows: how far its experiments are, and their results at the end."""

import time
from typing import TYPE_CHECKING, Any

import typer

from tools.tables import plain_console

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

FINE = ("done", "known", "same bytes")


class Board:
    """What is shown while a sweep runs: a live table on a terminal, else a line for each finished experiment.

    Args:
        names: the experiments.
        console: where to show them.
    """

    def __init__(self, names: list[str], console: "Console | None" = None):
        self._console = console or plain_console()
        self._rows: dict[tuple[str, bool], dict[str, str]] = {}
        self._began: dict[tuple[str, bool], float] = {}
        self._live: Any = None
        for name in names:
            self.begin(name, False)

    def __enter__(self) -> "Board":
        if self._console.is_terminal:
            from rich.live import Live

            self._live = Live(get_renderable=self.table, console=self._console, refresh_per_second=2, transient=True)
            self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def begin(self, name: str, again: bool) -> None:
        """Note that an experiment is given out."""
        self._rows[name, again] = {"state": "waits", "where": "", "line": ""}

    def hear(self, event: dict[str, Any]) -> None:
        """Note what a worker says of an experiment."""
        key = (event["name"], event["again"])
        row = self._rows.setdefault(key, {"state": "waits", "where": "", "line": ""})
        if row["state"] in ("waits", "runs"):
            row |= {"state": "runs", "where": event["where"], "line": event["line"]}
            self._began.setdefault(key, time.monotonic())

    def end(self, result: dict[str, Any]) -> None:
        """Note the result of an experiment."""
        key = (result["name"], result["again"])
        self._rows[key] = {"state": result["state"], "where": result["where"], "line": ""}
        if not self._live:
            typer.echo(f"{result['name']}: {result['state']}, {result['where']}, {result['seconds']:.0f} s")

    def table(self) -> "Table":
        """Return the experiments that run, under a line that counts all."""
        from rich.table import Table

        states = [row["state"] for row in self._rows.values()]
        finished = sum(state not in ("waits", "runs") for state in states)
        title = f"{finished} of {len(states)} finished, {states.count('waits')} wait"
        # The title is above: a terminal with too few lines does not show the table's end
        table = Table(box=None, pad_edge=False, title=title, title_justify="left", expand=True)
        table.add_column("experiment", no_wrap=True)
        table.add_column("time", no_wrap=True, justify="right")
        table.add_column("worker", no_wrap=True, max_width=20)
        table.add_column("last line", no_wrap=True, ratio=1)
        for key, row in self._rows.items():
            if row["state"] == "runs":
                name, again = key
                seconds = f"{time.monotonic() - self._began[key]:.0f} s"
                table.add_row(f"{name}, again" if again else name, seconds, row["where"], row["line"])
        return table


def show(results: list[dict[str, Any]]) -> bool:
    """Print a table of the results, and the end of the log of each failure. Say whether there is one."""
    from rich.table import Table

    console = plain_console()
    table = Table(box=None, pad_edge=False)
    for column in ("experiment", "state", "worker", "seconds", "tree"):
        table.add_column(column, justify="right" if column == "seconds" else "left", overflow="fold")
    for result in sorted(results, key=lambda result: (result["name"], result["again"])):
        table.add_row(result["name"], result["state"], result["where"], f"{result['seconds']:.0f}", result["tree"])
    console.print(table)
    bad = [result for result in results if result["state"] not in FINE]
    for result in bad:
        console.print(f"\n{result['name']}: {result['state']}\n{result['log']}")
    return bool(bad)
