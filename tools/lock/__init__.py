"""What `dvc.lock` states, what DVC and Git say, and the MD5 of a file or a folder as DVC computes
it.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from pipeline.program.errors import UserError


def locked_outputs(lock: Path, text: str | bytes | None = None) -> dict[str, str]:
    """Return the MD5 of each output in a `dvc.lock`, by its path: in the file, or in the `text`
    that a commit has.

    Raises:
        UserError: the file is not a valid `dvc.lock`.
        OSError: the file cannot be read.
    """
    with _valid(lock):
        stages = yaml.safe_load(lock.read_bytes() if text is None else text)["stages"]
        return {
            str(out["path"]): str(out["md5"])
            for stage in stages.values()
            for out in stage.get("outs", [])
        }


def locked_stages(lock: Path) -> dict[str, dict[str, str]]:
    """Return all that a `dvc.lock` states of each stage: its command, dependencies, parameters and
    outputs.

    Errors are those of `locked_outputs`.
    """
    with _valid(lock):
        stages = {}
        for name, stage in yaml.safe_load(lock.read_bytes())["stages"].items():
            stages[name] = facts = {"command": str(stage["cmd"])}
            for kind, entries in (
                ("dependency", stage.get("deps", [])),
                ("output", stage.get("outs", [])),
            ):
                facts |= {f"{kind} {entry['path']}": _described(entry) for entry in entries}
            for file, values in stage.get("params", {}).items():
                facts |= {
                    f"parameter {key} of {file}": json.dumps(value) for key, value in values.items()
                }
        return stages


def _described(entry: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} {value}" for key, value in sorted(entry.items()) if key not in ("path", "hash")
    )


@contextmanager
def _valid(lock: Path) -> Iterator[None]:
    try:
        yield
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise UserError(f"{lock} is not valid; restore it: git checkout {lock}") from None


def output(*command: str, stdin: str = "", cure: str = "") -> str:
    """Return what a command of Git or DVC prints.

    If it fails, raise a UserError that ends with `cure`.
    """
    python = [sys.executable, "-m"] if command[0] == "dvc" else []
    done = subprocess.run(
        [*python, *command], input=stdin, capture_output=True, text=True, encoding="utf-8"
    )
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "it gave no reason").splitlines()
        reason = next(
            (line for line in lines if line.lower().startswith(("fatal: ", "error: "))), lines[-1]
        )
        raise UserError(f"`{' '.join(command[:3])}` failed: {reason}{cure}")
    return done.stdout.rstrip("\n")


def git(*words: str) -> str:
    """Return what Git prints; nothing if it fails."""
    return subprocess.run(["git", *words], capture_output=True, encoding="utf-8").stdout.strip()


def commit_of(rev: str) -> str:
    """Return the hash of a commit, a tag or an experiment.

    Raises:
        UserError: there is no such revision.
    """
    experiments = git("for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{rev}").split()
    for name in [rev, *experiments]:
        if commit := git(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
        ):
            if name != rev and len(experiments) > 1:
                raise UserError(
                    f"{len(experiments)} commits have an experiment {rev}; name its own commit "
                    "instead."
                )
            return commit
    cure = "see `git log`, `git tag` or `dvc exp list`, or fetch it: git fetch --unshallow --tags"
    raise UserError(f"there is no commit, tag or experiment {rev} here; {cure}.")


def md5_of(path: Path) -> str:
    """Return the MD5 of a file, or DVC's MD5 of a folder: that of the list of its files, without
    those it ignores.
    """
    if path.is_dir():
        files = sorted(
            (file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file()
        )
        listed = [
            {"md5": md5_of(file), "relpath": name} for name, file in files if file.suffix != ".part"
        ]
        return hashlib.md5(json.dumps(listed).encode()).hexdigest() + ".dir"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
