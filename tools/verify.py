"""Does every output have the bytes that `dvc.lock` states? Run all stages again in a clone, and compare.

python -m tools.verify
python -m tools.verify --record simard-none --seed 0
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from pipeline.program.command import command
from pipeline.program.errors import UserError
from tools.lock import locked_outputs

Outputs = dict[tuple[str, str], str]  # MD5 by stage and path


@command
def main(
    record: Annotated[
        str | None, typer.Option("--record", help="A record's name: train one row of records/ instead.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="The row's seed.", show_default="0, with --record")] = None,
) -> None:
    """Run all stages again in a clone of the last commit, and compare every output with dvc.lock.

    With --record, run the stages of one row of the records again, and compare with records/dvc.lock.
    """
    if seed is not None and not record:
        raise UserError("--seed is that of a record's row; give --record, too.")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        clone = Path(folder, "clone")
        _run(["git", "clone", "--quiet", "--no-local", ".", str(clone)], Path())
        if subprocess.run(["git", "status", "--porcelain"], capture_output=True, check=True).stdout:
            typer.echo("note: the last commit is verified, without the changes since.", err=True)
        project, lock, row = clone, "dvc.lock", ""
        if record:
            project, lock, row = clone / "records", "records/dvc.lock", f"{record}-{seed or 0}"
        stages = {f"short@{record}", f"train@{row}", f"evaluate@{row}"} if record else None
        try:
            outputs = locked_outputs(clone / lock)
        except UserError:
            raise UserError(f"the committed {lock} is not valid; commit a valid one.") from None
        stated = _chosen(outputs, stages)
        if record and f"evaluate@{row}" not in {stage for stage, _ in stated}:
            trained = {stage.removeprefix("train@"): None for stage, _ in outputs if stage.startswith("train@")}
            seeds = [number for name, _, number in (name.rpartition("-") for name in trained) if name == record]
            if seeds:
                raise UserError(f"{lock}: {record} has no seed {seed or 0}; expected one of {', '.join(seeds)}.")
            records = ", ".join(dict.fromkeys(name.rpartition("-")[0] for name in trained))
            raise UserError(f"{lock} has no record {record} of single networks; expected one of {records}.")
        reproduce(project, *([f"evaluate@{row}"] if record else []))
        made = _chosen(locked_outputs(clone / lock), stages)
    print_comparison(stated, made, lock)
    for stage, path in stated | made:
        if stated.get((stage, path)) != made.get((stage, path)):
            raise UserError(f"the output {path} of the stage {stage} is not what {lock} states.")
    print(f"All {len(stated)} outputs have the bytes that {lock} states.")


def _chosen(outputs: Outputs, stages: Collection[str] | None) -> Outputs:
    """Return the outputs of these stages, or of all."""
    return {key: md5 for key, md5 in outputs.items() if stages is None or key[0] in stages}


def reproduce(project: Path, *stages: str) -> None:
    """Run these stages of a project and all before them, or all, whether or not DVC has their results.

    Raises:
        UserError: a stage fails.
    """
    _run([sys.executable, "-m", "dvc", "repro", "--force", "--no-run-cache", *stages], project)


def _run(command: list[str], folder: Path) -> None:
    variables = {
        "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"],
        "DVC_SITE_CACHE_DIR": str(folder.parent / "site-cache"),
        "TRAIN_CHECKPOINTS": "",  # from the beginning to the end
    }
    if subprocess.run(command, cwd=folder, env=os.environ | variables).returncode:
        raise UserError(f"`{' '.join(command)}` failed, so nothing was compared.")


def print_comparison(stated: Outputs, made: Outputs, lock: str) -> None:
    """Print a table with a line for each output."""
    from rich.console import Console  # here, so that `--help` is quick
    from rich.table import Table

    table = Table("stage", "output", f"MD5 in {lock}", "made now")
    for output in stated | made:
        before, now = (md5s.get(output, "nothing") for md5s in (stated, made))
        table.add_row(*output, before[:12], "same bytes" if now == before else f"[red]{now[:12]}")
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    main()
