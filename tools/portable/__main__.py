"""Does the pipeline write the same bytes elsewhere? Run it in short in many environments, and compare the files' hash.

python -m tools.portable                     # in environments that this machine can have
python -m tools.portable --all               # in all of them, with every emulated processor
python -m tools.portable "reference BLAS"    # in one of them
python -m tools.portable --write             # in all, and write a line for each into docs/machines.csv
python -m tools.portable --add "My machine"  # with this Python and NumPy only, and add a line there
"""

import csv
import io
from typing import Annotated

from typer import Argument, Option

from pipeline.program.command import command
from pipeline.program.errors import UserError
from pipeline.program.files import write_text
from tools.portable.environments import ROOT, THIS, Environment, NotHereError, environments, short_run

TABLE = ROOT / "docs" / "machines.csv"
COLUMNS = ["name", "processor", "byte_order", "system", "python", "numpy", "blas", "processes", "exact", "float32"]


@command
def main(
    names: Annotated[list[str] | None, Argument(help="Names of environments.", show_default="all")] = None,
    add: Annotated[str | None, Option(metavar="NAME", help="Run here only, and add a line with this name.")] = None,
    everything: Annotated[bool, Option("--all", help="Also run what takes minutes each.")] = False,
    write: Annotated[bool, Option("--write", help="Write a line for each run. Drop those with another hash.")] = False,
) -> None:
    """Run the pipeline in short in many environments, and compare the hash of the files that it writes.

    The exact hash must be the same everywhere, and the same as in docs/machines.csv. The float32 hash must not.
    """
    if add is not None and (names or write):
        raise UserError("--add needs no names and no --write: it runs here, and writes one line.")
    stated = read_table()
    chosen = environments(everything or bool(names)) if add is None else [Environment(add, THIS)]
    places = {where.name: where for where in chosen}
    for name in names or []:
        if name not in places:
            raise UserError(f"there is no environment {name}; expected one of: {'; '.join(places)}.")
    rows = run_all([places[name] for name in names or places])
    if not rows:
        raise UserError("this machine has none of these environments; see the reasons above.")
    if write:  # lines with another hash come from other code
        stated = [row for row in stated if row["exact"] in [new["exact"] for new in rows]]
    table = [*stated, *rows]
    for row in table:
        if row["exact"] != table[0]["exact"]:
            both = " and ".join(f"{line['exact']} ({line['name']})" for line in (table[0], row))
            raise UserError(f"the exact hashes differ: {both}.")
    if not names and add is None and len({row["float32"] for row in rows}) < 2:
        raise UserError("float32 gave the same hash everywhere, so this comparison shows nothing.")
    if write or add is not None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({row["name"]: row for row in table}.values())  # a new line takes the place of the old one
        write_text(TABLE, text.getvalue())


def run_all(places: list[Environment]) -> list[dict[str, str]]:
    """Run in all environments that this machine can have, and print the hashes; return their lines of the table.

    Raises:
        UserError: a run fails.
    """
    rows = []
    for where in places:
        try:
            row = short_run(where)
        except NotHereError as reason:
            print(f"{where.name:24} not on this machine: {reason}", flush=True)
        else:
            rows.append(row)
            print(f"{where.name:24} exact {row['exact']}  float32 {row['float32']}  {row['blas']}", flush=True)
    for arithmetic in ("exact", "float32"):
        print(f"{arithmetic}: {len(rows)} runs, distinct hashes: {len({row[arithmetic] for row in rows})}")
    return rows


def read_table() -> list[dict[str, str]]:
    """Return the lines of docs/machines.csv.

    Raises:
        UserError: the file is not such a table.
    """
    with TABLE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if any(list(row) != COLUMNS or None in row.values() for row in rows):
        raise UserError(f"{TABLE} is not a table with the columns {', '.join(COLUMNS)}; git checkout it.", path=TABLE)
    return rows


if __name__ == "__main__":
    main()
