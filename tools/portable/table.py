"""The table in docs/machines.csv: one line for each surroundings in which the short run took place."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pipeline.program.errors import UserError
from pipeline.program.files import write_text


class Row(NamedTuple):
    """A line of the table.

    Attributes:
        name: the line's key.
        processor, system, python, numpy, blas: facts that the short run prints.
        processes: the number of processes that shared the training.
        exact, float32: the first 16 hexadecimal digits of the hash of the files, for both arithmetics.
    """

    name: str
    processor: str
    system: str
    python: str
    numpy: str
    blas: str
    processes: str
    exact: str
    float32: str


def read_table(path: Path) -> list[Row]:
    """Return the lines of a table; none if there is no such file.

    Raises:
        UserError: the file is not such a table.
    """
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *lines = csv.reader(file, strict=True)
            if header != list(Row._fields):
                raise ValueError
            return [Row(*line) for line in lines]
    except (TypeError, ValueError, csv.Error):
        raise UserError(f"{path} is not a table with the columns {', '.join(Row._fields)}.") from None


def write_table(path: Path, rows: Iterable[Row]) -> None:
    """Write the whole table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([Row._fields, *rows])
    write_text(path, text.getvalue())


def updated(old: Iterable[Row], new: Iterable[Row]) -> list[Row]:
    """Return the old rows with the new ones in the places of those with the same name, or at the end."""
    return list({row.name: row for row in [*old, *new]}.values())


def check_same(rows: Iterable[Row]) -> None:
    """Check that all rows have one exact hash.

    Raises:
        UserError: two rows differ; it names them.
    """
    rows = list(rows)
    for row in rows:
        if row.exact != rows[0].exact:
            raise UserError(f"the exact hashes differ: {rows[0].exact} ({rows[0].name}) and {row.exact} ({row.name}).")
