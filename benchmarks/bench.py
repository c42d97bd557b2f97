"""Measure this project: speed beside other libraries, and agreement with PyTorch.

python -m benchmarks.bench          # all of it; writes speed.md and agreement.md
python -m benchmarks.bench agreement --quick    # a trial of one part; writes no file
"""

import importlib
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.program.command import command
from pipeline.program.errors import UserError
from pipeline.program.files import write_text

HERE = Path(__file__).parent
CORES = 2


class Part(StrEnum):
    """A module with `report`, which measures. It writes a page of the same name."""

    speed = "speed"
    agreement = "agreement"


@command
def main(
    parts: Annotated[
        list[Part] | None, typer.Argument(help="What to measure; without one, all.")
    ] = None,
    quick: Annotated[
        bool, typer.Option(help="A little of each, to see that all run; no file and no limit.")
    ] = False,
) -> None:
    """Measure on two cores, print the tables, and write them into benchmarks/.

    A missed limit is an error.
    """
    for folder in (Path("data/raw"), Path("data/prepared")):
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; run `dvc repro preprocess` to make it.")
    if hasattr(os, "sched_setaffinity"):
        # The processes of the peers inherit it
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    # For agreement, as in the train stage; before NumPy is imported
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    missed = []
    for part in parts or Part:
        text, found = importlib.import_module(f"benchmarks.{part}").report(quick)
        print(text)
        if not quick:
            write_text(HERE / f"{part}.md", text)
            missed += found
    if missed:
        raise UserError("\n".join(missed))


if __name__ == "__main__":
    main()
