"""Does every output have the bytes that `dvc.lock` states? Run all stages again in a clone, and compare.

python -m tools.verify
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline.program.command import command
from pipeline.program.errors import UserError
from tools.lock import locked_outputs

Outputs = dict[tuple[str, str], str]  # MD5 by stage and path


@command
def main() -> None:
    """Run all stages again in a clone of the last commit, and compare every output with dvc.lock."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        clone = Path(folder, "clone")
        _run(["git", "clone", "--quiet", "--no-local", ".", str(clone)], Path(), {})
        stated = locked_outputs(clone / "dvc.lock")
        reproduce(clone)
        made = locked_outputs(clone / "dvc.lock")
    print_comparison(stated, made)
    for stage, path in stated | made:
        if stated.get((stage, path)) != made.get((stage, path)):
            raise UserError(f"the output {path} of the stage {stage} is not what dvc.lock states.")
    print(f"All {len(stated)} outputs have the bytes that dvc.lock states.")


def reproduce(project: Path) -> None:
    """Run all stages of a project, whether or not DVC has their results.

    Raises:
        UserError: a stage fails.
    """
    variables = {
        "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"],
        "DVC_SITE_CACHE_DIR": str(project.with_name("site-cache")),
        "TRAIN_CHECKPOINTS": "",  # from the beginning to the end
    }
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--no-run-cache"]
    _run(command, project, variables)


def _run(command: list[str], folder: Path, variables: dict[str, str]) -> None:
    if subprocess.run(command, cwd=folder, env=os.environ | variables).returncode:
        raise UserError(f"`{' '.join(command)}` failed, so nothing was compared.")


def print_comparison(stated: Outputs, made: Outputs) -> None:
    """Print a table with a line for each output."""
    from rich.console import Console  # here, so that `--help` is quick
    from rich.table import Table

    table = Table("stage", "output", "MD5 in dvc.lock", "made now")
    for output in stated | made:
        before, now = (md5s.get(output, "nothing") for md5s in (stated, made))
        table.add_row(*output, before[:12], "same bytes" if now == before else f"[red]{now[:12]}")
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    main()
