"""Does every output have the bytes that `dvc.lock` states? Run all stages again in a clone, and compare.

python -m tools.verify --rev mlp@v1.0.0
python -m tools.verify --record simard-none --seed 0
"""

import os
import subprocess
import sys
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import Annotated

import typer

from pipeline.program.command import command
from pipeline.program.errors import UserError
from tools.lock import git, locked_outputs


@command
def main(
    rev: Annotated[str, typer.Option("--rev", help="A commit, a tag or an experiment.")] = "HEAD",
    record: Annotated[
        str | None, typer.Option("--record", help="A row of records/ instead: a record's name, or a committee's.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="The row's seed.", show_default="0, with --record")] = None,
) -> None:
    """Run all stages of a commit again in a clone, and compare every output with its dvc.lock.

    With --record, run the stages of one row of the records again, and compare with records/dvc.lock. A committee needs
    the networks of its records, so they are trained, too.
    """
    if seed is not None and not record:
        raise UserError("--seed is that of a record's row; give --record, too.")
    commit = commit_of(rev)
    if rev == "HEAD" and git("status", "--porcelain"):
        typer.echo("note: the last commit is verified, without the changes since.", err=True)
    if git("diff", "--name-only", commit, "--", "requirements.txt"):
        typer.echo(f"note: {rev} has another requirements.txt; it runs with the packages that are here.", err=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        clone = Path(folder, "clone")
        # A clone of a folder has all its objects, those of experiments too
        _run(["git", "clone", "--quiet", "--no-checkout", "--local", ".", str(clone)], Path())
        _run(["git", "checkout", "--quiet", "--detach", commit], clone)
        lock = Path("records" if record else "", "dvc.lock")
        project = (clone / lock).parent
        try:
            stated = locked_outputs(clone / lock)
        except (UserError, OSError):
            raise UserError(f"the {lock.as_posix()} of {rev} is not valid; name a commit with a valid one.") from None
        targets = [stage_of(record, seed, stated, lock)] if record else []
        reproduce(project, *targets)
        made = locked_outputs(clone / lock)
        ran = stages_before(project, *targets)
    stated, made = ({key: md5 for key, md5 in some.items() if key[0] in ran} for some in (stated, made))
    print_comparison(stated, made, lock.as_posix())
    for stage, path in stated | made:
        if stated.get((stage, path)) != made.get((stage, path)):
            raise UserError(f"the output {path} of the stage {stage} is not what {lock.as_posix()} states.")
    print(f"All {len(stated)} outputs have the bytes that {lock.as_posix()} states.")


def commit_of(rev: str) -> str:
    """Return the hash of a commit, a tag or an experiment.

    Raises:
        UserError: there is no such revision.
    """
    experiments = git("for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{rev}").split()
    for name in [rev, *experiments]:
        if commit := git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"):
            if name != rev and len(experiments) > 1:
                raise UserError(f"{len(experiments)} commits have an experiment {rev}; name its own commit instead.")
            return commit
    raise UserError(f"there is no commit, tag or experiment {rev} here; see `git log`, `git tag` or `dvc exp list`.")


def stage_of(record: str, seed: int | None, outputs: dict[tuple[str, str], str], lock: Path) -> str:
    """Return the stage that writes the result of a record's row, or of a committee.

    Raises:
        UserError: there is no such record, or it lacks this seed.
    """
    results = {Path(path).stem: stage for stage, path in outputs if path.startswith("results/")}
    if record in results and seed is not None:
        raise UserError(f"{record} has no seeds; leave out --seed.")
    for name in (f"{record}-{seed or 0}", record):
        if name in results:
            return results[name]
    if seeds := [name.removeprefix(f"{record}-") for name in results if name.rpartition("-")[0] == record]:
        raise UserError(f"{lock.as_posix()}: {record} has no seed {seed or 0}; expected one of {', '.join(seeds)}.")
    rows = (name.rpartition("-") for name in results)
    names = dict.fromkeys(start if end.isdigit() else f"{start}-{end}" for start, _, end in rows)
    raise UserError(f"{lock.as_posix()} has no record {record}; expected one of {', '.join(names)}.")


def reproduce(project: Path, *stages: str) -> None:
    """Run these stages of a project and all before them, or all, whether or not DVC has their results.

    Raises:
        UserError: a stage fails.
    """
    _run([sys.executable, "-m", "dvc", "repro", "--force", "--no-run-cache", *stages], project)


def stages_before(project: Path, *stages: str) -> set[str]:
    """Return the names of these stages of a project and of all before them, or of all stages."""
    from dvc.repo import Repo  # here, so that `--help` is quick

    with chdir(project), Repo() as repo:
        chosen = [stage for name in stages for stage in repo.stage.collect(name, with_deps=True)]
        return {stage.name for stage in (chosen if stages else repo.index.stages)}


def _run(command: list[str], folder: Path) -> None:
    variables = {
        "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"],
        "DVC_SITE_CACHE_DIR": str(folder.parent / "site-cache"),
        "TRAIN_CHECKPOINTS": "",  # from the beginning to the end
    }
    if subprocess.run(command, cwd=folder, env=os.environ | variables).returncode:
        raise UserError(f"`{' '.join(command)}` failed, so nothing was compared.")


def print_comparison(stated: dict[tuple[str, str], str], made: dict[tuple[str, str], str], lock: str) -> None:
    """Print a table with a line for each output."""
    from rich.table import Table  # here, so that `--help` is quick

    from tools.tables import plain_console

    table = Table("stage", "output", f"MD5 in {lock}", "made now")
    for output in stated | made:
        before, now = (md5s.get(output, "nothing") for md5s in (stated, made))
        table.add_row(*output, before[:12], "same bytes" if now == before else now[:12])
    plain_console().print(table)


if __name__ == "__main__":
    main()
