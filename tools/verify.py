"""Does a commit show what its code makes? Delete all its results, run all stages, and compare."""

import json
import os
import shutil
import site
import subprocess
import sysconfig
import tempfile
import venv
from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.program.command import command
from pipeline.program.errors import UserError, clip
from pipeline.program.files import write_text
from tools import lock as lock_package
from tools.lock import commit_of, git, inside, locked_facts, locked_outputs, md5_of, output
from tools.lock.plots import check_plots
from tools.tables import show

RESULTS = ("data/", "metrics/", "models/")  # all files there are results, but for .gitignore
Facts = dict[str, str]  # what a lock states: {"train outs models/mlp.npz size": "318480", …}


@command
def main(
    rev: Annotated[str, Option(help="A commit, a tag or an experiment.")] = "HEAD",
    record: Annotated[
        str | None, Option(help="A row of records/ instead: the name of a record.")
    ] = None,
    seed: Annotated[
        int | None, Option(help="The row's seed.", show_default="0, with --record")
    ] = None,
    epochs: Annotated[
        int | None, Option(min=1, help="Only the first epochs of the row's training.")
    ] = None,
) -> None:
    """Delete the results of a commit in a copy, run all its stages, and compare all bytes.

    With --record, run the stages of one row of the records again. With --epochs, compare the state
    of the network after each of the first epochs.
    """
    if not record and (seed, epochs) != (None, None):
        raise UserError("--seed and --epochs are those of a record's row; give --record, too.")
    commit = commit_of(rev)
    if rev == "HEAD" and git("status", "--porcelain"):
        show("note: the last commit is verified, without the changes since.", err=True)
    if git("diff", "--name-only", commit, "--", "requirements.txt"):
        show(f"note: {rev} has another requirements.txt; it runs with the packages here.", err=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        copy = Copy(Path(folder).resolve(), commit, "records" if record else "")
        stated = {lock: locked_facts(copy.folder, lock) for lock in copy.locks}
        targets = []
        if record:
            row, stage = row_of(record, seed or 0, stated[copy.locks[0]])
            targets = [stage]
        found = copy.described(*targets)
        if epochs:
            result, lock = f"results/{row}.json", copy.project / "dvc.lock"
            if md5_of(copy.project / result) != locked_outputs(lock)[result]:
                raise UserError(f"records/{result} in Git is not what records/dvc.lock states.")
            targets = [name for name in found["stages"] if name != stage]
            found = copy.described(*targets)
        copy.delete_results(found["outs"] + found["shown"])
        words = targets or ["--all-pipelines"]
        copy.run("-P", "-m", "dvc", "repro", "--force", "--no-run-cache", *words)
        number = sum(
            compare(facts, locked_facts(copy.folder, lock), lock, part=bool(record))
            for lock, facts in stated.items()
        )
        copy.compare(found["shown"])
        # The pages of an experiment are those of the commit before it
        pages = not record and not git("for-each-ref", "refs/exps", f"--points-at={commit}")
        if pages and (copy.folder / "tests" / "docs").is_dir():
            copy.run("-m", "pytest", "-q", "-m", "committed", "tests/docs", "tests/tools")
        if epochs:
            numbers = [str(seed or 0), "--epochs", str(epochs)]
            copy.run("-m", "records.row", str(record), *numbers, folder=copy.folder)
    show(f"All {number} outputs have the bytes that {', '.join(stated)} states.")
    if copy.others and not record:
        show(f"Projects of their own, which did not run: {', '.join(copy.others)}.")


class Copy:
    """The files of a commit in a new folder, without its history and without DVC's settings.

    folder: where the files are; Git's own files are beside it.
    project: the folder of the DVC project.
    locks: its dvc.lock, and those of its pipelines in other folders.
    others: the folders of other DVC projects.
    """

    def __init__(self, place: Path, commit: str, project: str):
        self.folder, self._git, self._python = place / "commit", place / "git", place / "python"
        self.project = self.folder / project
        # A clone of a folder has all its objects, those of experiments too
        output("git", "clone", "--quiet", "--bare", "--local", ".", str(self._git))
        # Git then compares bytes, whatever the commit says about line ends
        attributes = "* -text -filter -ident -working-tree-encoding\n"
        write_text(self._git / "info" / "attributes", attributes)
        self.folder.mkdir()
        self.git("checkout", "--quiet", "--detach", commit)
        self._tracked = self.git("ls-files", "-z").split("\0")[:-1]
        settings = {name.split(".dvc/")[0] for name in self._tracked if "/.dvc/" in name}
        self.others = sorted(folder for folder in settings if folder != f"{project}/")
        locks = [
            name
            for name in self._tracked
            if name.endswith("/dvc.lock") and not name.startswith(tuple(settings))
        ]
        self.locks = ["records/dvc.lock"] if project else ["dvc.lock", *locks]
        # DVC gets a repository without history, and neither settings nor a cache of the commit
        output("git", "init", "--quiet", str(self.folder))
        check_plots(self.project)
        delete(self.project / ".dvc")
        write_text(self.project / ".dvc" / "config", "[core]\nanalytics = false\n")
        # Stages find the packages, and no file of the folder that this program belongs to
        venv.create(self._python, symlinks=os.name != "nt")
        write_text(Path(self._path("purelib"), "packages.pth"), "\n".join(site.getsitepackages()))

    def _path(self, name: str) -> str:
        return sysconfig.get_path(name, "venv", {"base": str(self._python)})

    def git(self, *words: str) -> str:
        """Return what Git says of the copy. A link is a file that has the name of its target."""
        places = ["--git-dir", str(self._git), "--work-tree", str(self.folder)]
        settings = ["-c", "core.symlinks=false", "-c", "core.fileMode=false"]
        return output("git", *places, *settings, *words)

    def run(self, *words: str, folder: Path | None = None, silent: bool = False) -> str:
        """Run Python in the project, or in another folder; return what it prints, if `silent`.

        Raises:
            UserError: it failed.
        """
        variables = {key: value for key, value in os.environ.items() if key[:6] != "PYTHON"} | {
            "PATH": self._path("scripts") + os.pathsep + os.environ["PATH"],
            "PYTHONPYCACHEPREFIX": str(self._python / "cache"),  # no bytecode that is in Git
            "DVC_SITE_CACHE_DIR": str(self._python / "site-cache"),
            "TRAIN_CHECKPOINTS": "",  # from the beginning to the end
        }
        done = subprocess.run(
            [str(Path(self._path("scripts"), "python")), *words],
            cwd=folder or self.project,
            env=variables,
            capture_output=silent,
            **lock_package.UTF_8,
        )
        if done.returncode:
            reason = f"`python {' '.join(words)}` failed"
            if silent:
                reason = f"DVC cannot read the stages: {clip(done.stderr.strip())}"
            raise UserError(f"{reason}.")
        return done.stdout

    def described(self, *targets: str) -> dict[str, list[str]]:
        """Return what tools/lock/shown.py says of these stages and all before them, or of all.

        Raises:
            UserError: DVC cannot read the stages, or one of their files is outside of the copy.
        """
        script = str(Path(lock_package.__file__).with_name("shown.py"))
        found: dict[str, list[str]] = json.loads(self.run("-P", script, *targets, silent=True))
        for path in found["deps"] + found["outs"] + found["shown"]:
            inside(self.folder, path)
        return found

    def delete_results(self, paths: list[str]) -> None:
        """Delete the files and folders, the locks, and all in RESULTS."""
        results = RESULTS if self.project == self.folder else ()  # not those beside the records
        for name in self._tracked:
            if name.startswith(results) and not name.endswith("/.gitignore"):
                paths = [*paths, name]
        for path in [*paths, *self.locks]:
            delete(inside(self.folder, path))

    def compare(self, shown: list[str]) -> None:
        """Compare all files of the commit with what is there after a run.

        Raises:
            UserError: a file differs, only one side has it, or what DVC shows is not there.
        """
        settings = (self.project / ".dvc").relative_to(self.folder).as_posix()
        left_out = [f":(exclude){name}" for name in [settings, *self.locks]]
        words = ["--porcelain", "--no-renames", "--untracked-files=all", "-z"]
        for line in self.git("status", *words, "--", ".", *left_out).split("\0"):
            kind, name = line[:2].strip(), line[3:]
            if kind == "D":
                raise UserError(f"{name} was deleted as a result, and no stage made it again.")
            if kind:
                raise UserError(f"{name} in Git is not what the stages make.")
        for name in self._tracked:  # a submodule is a folder, in which Git compares nothing
            if (self.folder / name).is_dir() and os.listdir(self.folder / name):
                raise UserError(f"{name} in Git is a submodule, and stages write into it.")
        for path in shown:
            name = os.path.relpath(path, self.folder)
            if not os.path.exists(path) or name.startswith(f"{settings}/"):
                raise UserError(f"dvc.yaml shows {clip(name)}, which no stage makes.")


def delete(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()


def row_of(record: str, seed: int, facts: Facts) -> tuple[str, str]:
    """Return the name of a record's row, and the stage that makes its result.

    Raises:
        UserError: there is no such row.
    """
    found = (fact.split(" ") for fact in facts if " outs results/" in fact)
    stages = {Path(words[2]).stem: words[0] for words in found}
    row = f"{record}-{seed}"
    if row not in stages:
        rows = [name for name in stages if name.startswith(record)]
        rows = rows or sorted({name.rstrip("0123456789").rstrip("-") for name in stages})
        raise UserError(f"the records have no row {row}; expected one of {', '.join(rows)}.")
    return row, stages[row]


def compare(stated: Facts, made: Facts, lock: str, part: bool) -> int:
    """Print the MD5 of each output, and all else that differs. Return the number of outputs.

    With `part`, only some stages ran, and the others are left out.

    Raises:
        UserError: something differs.
    """
    ran = {fact.split(" ")[0] for fact in made}
    facts = [fact for fact in stated | made if not part or fact.split(" ")[0] in ran]
    outputs = [fact for fact in facts if " outs " in fact and fact.endswith(" md5")]
    differing = [fact for fact in facts if stated.get(fact) != made.get(fact)]
    sentences = {
        fact: f"{fact} was {clip(made.get(fact, 'nothing'))}; {lock} states "
        f"{clip(stated.get(fact, 'nothing'))}."
        for fact in differing
    }
    for fact in dict.fromkeys(outputs + differing):
        show(sentences[fact] if fact in sentences else f"{fact}: same bytes, {made[fact]}.")
    if differing:
        raise UserError(sentences[differing[0]])
    return len(outputs)


if __name__ == "__main__":
    main()
