"""Does the pipeline write the same bytes elsewhere? Run it in short in many surroundings, and compare the files' hash.

python -m tools.portable                     # in all surroundings that this machine can have
python -m tools.portable --write             # the same, and write their lines into docs/machines.csv
python -m tools.portable --add "My machine"  # with this Python and NumPy only, and add a line there
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from pipeline.program.command import command
from pipeline.program.errors import UserError
from tools.portable.surroundings import ROOT, THIS, NotHereError, Surroundings, run, surroundings
from tools.portable.table import Row, check_same, read_table, updated, write_table

TABLE = ROOT / "docs" / "machines.csv"


@command
def main(
    add: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Run with this Python and NumPy only, and add a line with this name."),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write the lines of all surroundings. Drop lines with other exact hashes.")
    ] = False,
    table: Annotated[Path, typer.Option(help="The table of machines.", show_default="docs/machines.csv")] = TABLE,
) -> None:
    """Run the pipeline in short in many surroundings, and compare the hash of the files that it writes.

    The exact hash must be the same everywhere, and the same as in the table. The float32 hash must not.
    """
    if write and add is not None:
        raise UserError("use --add or --write, not both.")
    if add is not None and not re.fullmatch(r"\w[^\n\r]*", add):
        raise UserError("the name must begin with a letter or digit, on one line.")
    stated = read_table(table)
    rows = run_all(surroundings() if add is None else [Surroundings(add, THIS)])
    if write:
        exact = {row.exact for row in rows}
        stated = [row for row in stated if row.exact in exact]  # the other lines come from other code
    check_same([*stated, *rows])
    if add is None and len({row.float32 for row in rows}) < 2:
        raise UserError("float32 gave the same hash everywhere, so this comparison shows nothing.")
    if write or add is not None:
        write_table(table, updated(stated, rows))


def run_all(places: Iterable[Surroundings]) -> list[Row]:
    """Run in all surroundings that this machine can have, and print the hashes; return the rows.

    Raises:
        UserError: a run fails.
    """
    rows = []
    for where in places:
        try:
            row = run(where)
        except NotHereError as reason:
            print(f"{where.name:24} not on this machine: {reason}", flush=True)
        else:
            rows.append(row)
            print(f"{row.name:24} exact {row.exact}  float32 {row.float32}  {row.blas}", flush=True)
    for arithmetic in ("exact", "float32"):
        print(f"{arithmetic}: {len(rows)} runs, distinct hashes: {len({getattr(row, arithmetic) for row in rows})}")
    return rows


if __name__ == "__main__":
    main()
