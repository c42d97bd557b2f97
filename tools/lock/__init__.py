"""What `dvc.lock` states, what DVC and Git say, and the MD5 of a file or a folder as DVC computes
it.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from pipeline.program.errors import UserError, clip

# How to read what programs print. Bytes that are not UTF-8 are kept: they may be in a path
UTF_8: Any = {"encoding": "utf-8", "errors": "surrogateescape"}


def locked_outputs(lock: Path, text: str | bytes | None = None) -> dict[str, str]:
    """Return the MD5 of each output in a `dvc.lock`, by its path: in the file, or in the `text`
    that a commit has.

    Raises:
        UserError: the file is not a valid `dvc.lock`.
        OSError: the file cannot be read.
    """
    with _valid(lock, "" if text else f"; restore it: git checkout {lock}"):
        stages = yaml.safe_load(text or lock.read_bytes())["stages"]
        return {
            str(out["path"]): str(out["md5"])
            for stage in stages.values()
            for out in stage.get("outs", [])
        }


def locked_facts(folder: Path, lock: str) -> dict[str, str]:
    """Return all that a `dvc.lock` in a folder states, such as {"train outs models/mlp.npz size":
    "318480"}; nothing if it is not there.

    Errors are those of `locked_outputs`.
    """
    path = folder / lock
    with _valid(Path(lock), f"; restore it: git checkout {lock}"):
        stages = yaml.safe_load(path.read_bytes())["stages"] if path.exists() else {}
        return dict(_flat(stages))


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        files = {one.pop("path"): one for one in value}
        if len(files) < len(value):
            raise ValueError("a file is there twice")
        value = files
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _flat(one, f"{name} {key}".strip())
    else:
        yield name, json.dumps(value)


@contextmanager
def _valid(lock: Path, cure: str) -> Iterator[None]:
    try:
        yield
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise UserError(f"{lock} is not valid{cure or '.'}") from None


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file in a folder; the name comes from a file of somebody else.

    Raises:
        UserError: by "..", by a link or as a whole path it leads out of the folder.
    """
    path = folder / name
    try:
        leaves = not path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # too long, links in a circle, a zero
        leaves = True
    if leaves:
        raise UserError(f"{clip(name)} is outside of this folder, so it is left alone.")
    return path


def output(*command: str, stdin: str = "", cure: str = "") -> str:
    """Return what a command of Git or DVC prints.

    If it fails, raise a UserError that ends with `cure`. With -P, no file of this folder is
    imported in place of DVC's.
    """
    python: list[str] = []
    variables = dict(os.environ)
    if command[0] == "dvc":
        # DVC writes there, wherever .dvc/config says
        variables.setdefault("DVC_SITE_CACHE_DIR", str(inside(Path.cwd(), ".dvc/tmp/site")))
        python = [sys.executable, "-P", "-m"]
    done = subprocess.run(
        [*python, *command],
        input=stdin,
        env=variables,
        capture_output=True,
        **UTF_8,
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
    return subprocess.run(["git", *words], capture_output=True, **UTF_8).stdout.strip()


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
