"""Does a commit state what its code makes? Run all stages again in a clone, and compare `dvc.lock`
and Git.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml
from typer import Option

from pipeline.program.command import command
from pipeline.program.errors import UserError, clip
from pipeline.program.files import write_text
from tools.lock import commit_of, git, locked_stages, output

if TYPE_CHECKING:  # imported inside a function, so that `--help` is quick
    from dvc.stage import PipelineStage

# By stage: what a lock states of its command, dependencies, parameters and outputs
Facts = dict[str, dict[str, str]]


@command
def main(
    rev: Annotated[str, Option(help="A commit, a tag or an experiment.")] = "HEAD",
    record: Annotated[
        str | None, Option(help="A row of records/ instead: a record, or a committee.")
    ] = None,
    seed: Annotated[
        int | None, Option(help="The row's seed.", show_default="0, with --record")
    ] = None,
    epochs: Annotated[
        int | None, Option(min=1, help="Only the first epochs of the row's training.")
    ] = None,
) -> None:
    """Run all stages of a commit again in a clone, and compare with its dvc.lock, and with the
    outputs in Git.

    With --record, run the stages of one row of the records again, and compare with
    records/dvc.lock. A committee needs the networks of its records, so they are trained, too. With
    --epochs, compare the state of the network after each of the first epochs.
    """
    if not record and (seed, epochs) != (None, None):
        raise UserError("--seed and --epochs are those of a record's row; give --record, too.")
    commit = commit_of(rev)
    if rev == "HEAD" and git("status", "--porcelain"):
        typer.echo("note: the last commit is verified, without the changes since.", err=True)
    if git("diff", "--name-only", commit, "--", "requirements.txt"):
        typer.echo(
            f"note: {rev} has another requirements.txt; it runs with the packages that are here.",
            err=True,
        )
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        clone = Path(folder, "clone").resolve()
        # A clone of a folder has all its objects, those of experiments too
        _run(["git", "clone", "--quiet", "--no-checkout", "--local", ".", str(clone)], Path())
        # Git then compares bytes, whatever the commit says about line ends
        write_text(
            clone / ".git" / "info" / "attributes",
            "* -text -filter -ident -working-tree-encoding\n",
        )
        _run(["git", "checkout", "--quiet", "--detach", commit], clone)
        lock = Path("records" if record else "", "dvc.lock")
        project = (clone / lock).parent
        try:
            stated = locked_stages(clone / lock)
        except (UserError, OSError):
            raise UserError(
                f"the {lock.as_posix()} of {rev} is not valid; name a commit with a valid one."
            ) from None
        target = [stage_of(record, seed, epochs, stated, lock)] if record else []
        stages = stages_before(project, clone, *target)
        if epochs:
            stages = [stage for stage in stages if stage.name not in target]
            target = [stage.name for stage in stages]
        # Nothing that is there may pass for something that was made
        (clone / lock).unlink()
        for path in (Path(out.fs_path) for stage in stages for out in stage.outs):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(
                missing_ok=True
            )
        _run([sys.executable, "-m", "dvc", "repro", "--force", "--no-run-cache", *target], project)
        made = locked_stages(clone / lock)
        names = made if record else stated | made
        number = compare({name: stated.get(name, {}) for name in names}, made, lock.as_posix())
        compare_with_git(clone, stages)
        if epochs:
            _run(
                [
                    sys.executable,
                    "-m",
                    "records.row",
                    str(record),
                    str(seed or 0),
                    "--epochs",
                    str(epochs),
                ],
                clone,
            )
    print(f"All {number} outputs have the bytes that {lock.as_posix()} states.")


def stage_of(record: str, seed: int | None, epochs: int | None, stated: Facts, lock: Path) -> str:
    """Return the stage that writes the result of a record's row, or of a committee.

    Raises:
        UserError: there is no such record, or it lacks this seed; or a committee, which is not
            trained, has some.
    """
    start = "output results/"
    results = {
        Path(fact).stem: stage
        for stage, facts in stated.items()
        for fact in facts
        if fact.startswith(start)
    }
    if record in results and (seed, epochs) != (None, None):
        raise UserError(f"{record} has no seeds and no epochs; leave out --seed and --epochs.")
    for name in (f"{record}-{seed or 0}", record):
        if name in results:
            return results[name]
    if seeds := [
        name.removeprefix(f"{record}-") for name in results if name.rpartition("-")[0] == record
    ]:
        raise UserError(
            f"{lock.as_posix()}: {record} has no seed {seed or 0}; expected one of "
            f"{', '.join(seeds)}."
        )
    rows = (name.rpartition("-") for name in results)
    names = dict.fromkeys(start if end.isdigit() else f"{start}-{end}" for start, _, end in rows)
    raise UserError(
        f"{lock.as_posix()} has no record {record}; expected one of {', '.join(names)}."
    )


def stages_before(project: Path, clone: Path, *names: str) -> "list[PipelineStage]":
    """Return these stages of a project and all before them, or all stages, if their run makes what
    the project shows.

    A stage that is always changed, and an output that persists, are allowed: all stages run, from
    nothing.

    Raises:
        UserError: DVC cannot read the stages; one is frozen or has no command; a file is outside
            the repository; or no stage writes a metric, a plot or an artifact.
    """
    from dvc.exceptions import DvcException  # here, so that `--help` is quick
    from dvc.repo import Repo

    try:
        with chdir(project), Repo() as repo:
            stages = [
                stage
                for name in names or ["dvc.yaml"]
                for stage in repo.stage.collect(name, with_deps=True)
            ]
    except DvcException as error:
        raise UserError(f"DVC cannot read the stages: {clip(str(error))}.") from None
    for stage in stages:
        if stage.is_data_source:
            raise UserError(
                f"{stage.addressing} brings data that no stage makes, so they cannot be verified."
            )
        if stage.frozen:
            raise UserError(
                f"the stage {stage.name} is frozen, so DVC does not run it; unfreeze it to verify "
                "it."
            )
        for file in (*stage.deps, *stage.outs):
            if file.fs.protocol != "local" or not Path(file.fs_path).resolve().is_relative_to(
                clone
            ):
                outside = "which is outside the repository, so what it holds cannot be verified"
                raise UserError(f"the stage {stage.name} uses {file.def_path}, {outside}.")
    text = yaml.safe_load((project / "dvc.yaml").read_text(encoding="utf-8"))
    shown = yaml.safe_dump([text.get(key) for key in ("metrics", "plots", "artifacts")])
    outs = [Path(out.fs_path) for stage in stages for out in stage.outs]
    for name in (token.value for token in yaml.scan(shown) if isinstance(token, yaml.ScalarToken)):
        path = project / name  # if it is one
        if len(name) < 256 and path.is_file() and not any(path.is_relative_to(out) for out in outs):
            raise UserError(
                f"dvc.yaml shows {clip(name)}, which no stage writes, so it cannot be verified."
            )
    return stages


def _run(command: list[str], folder: Path) -> None:
    variables = {
        "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"],
        "DVC_SITE_CACHE_DIR": str(folder.parent / "site-cache"),
        "TRAIN_CHECKPOINTS": "",  # from the beginning to the end
    }
    if subprocess.run(command, cwd=folder, env=os.environ | variables).returncode:
        raise UserError(f"`{' '.join(command)}` failed, so nothing was compared.")


def compare(stated: Facts, made: Facts, lock: str) -> int:
    """Print a table: each output, and all else that differs. Return the number of outputs.

    Raises:
        UserError: something differs.
    """
    from rich.table import Table  # here, so that `--help` is quick

    from tools.tables import plain_console

    table, differs, number = Table("stage", "", f"in {lock}", "made now"), [], 0
    for stage in stated | made:
        before, now = stated.get(stage, {}), made.get(stage, {})
        for fact in before | now:
            one, other = before.get(fact, "nothing"), now.get(fact, "nothing")
            number += fact.startswith("output ")
            if one != other or fact.startswith("output "):
                table.add_row(stage, fact, clip(one), "same bytes" if one == other else clip(other))
            if one != other:
                differs.append(
                    f"the {fact} of the stage {stage} was {clip(other)}; {lock} states {clip(one)}."
                )
    plain_console().print(table)
    if differs:
        raise UserError(differs[0])
    return number


def compare_with_git(clone: Path, stages: "Sequence[PipelineStage]") -> None:
    """Compare the outputs that are in Git, byte by byte, with what the stages made.

    Raises:
        UserError: a file differs, or only one side has it.
    """

    def ask(*words: str) -> str:
        return output("git", "-C", str(clone), "-c", "core.fileMode=false", *words)

    for stage in stages:
        for out in (out.fs_path for out in stage.outs):
            changed = ask("diff", "--name-only", "--no-renames", "-z", "HEAD", "--", out)
            added = ask("ls-files", "--others", "-z", "--", out)
            if ask("ls-tree", "-r", "HEAD", "--", out) and (differing := changed + added):
                name, *_ = differing.split("\0")
                raise UserError(f"{name} in Git is not what the stage {stage.name} makes.")


if __name__ == "__main__":
    main()
