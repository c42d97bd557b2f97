"""The leader's Git and DVC: what a sweep starts from, and what it leaves behind."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from pipeline.program.errors import UserError


def git(*words: str, stdin: str = "") -> str:
    """Return what Git prints.

    Raises:
        UserError: Git fails.
    """
    done = subprocess.run(["git", *words], input=stdin, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it gave no reason"]
        reason = next((line for line in lines if line.startswith(("fatal: ", "error: "))), lines[-1])
        raise UserError(f"`git {words[0]}` failed: {reason}")
    return done.stdout.rstrip("\n")


def dvc(*words: str) -> subprocess.CompletedProcess[str]:
    """Run DVC."""
    return subprocess.run([sys.executable, "-m", "dvc", *words], capture_output=True, text=True)


def committed() -> str:
    """Return HEAD. The files that Git tracks must be as in it.

    Raises:
        UserError: some have changes.
    """
    if changed := git("-c", "core.quotePath=false", "status", "--porcelain", "--untracked-files=no"):
        names = ", ".join(line[3:] for line in changed.splitlines()[:3])
        raise UserError(
            f"uncommitted changes in {names}; workers run the last commit, so commit or restore them first."
        )
    return git("rev-parse", "HEAD")


def remote_with(rev: str) -> str:
    """Return the address of the Git remote `origin`, which has the commit.

    Raises:
        UserError: there is no such remote, no branch of it has the commit, or DVC has no default remote.
    """
    origin = git("remote", "get-url", "origin")
    git("fetch", "--quiet", "origin")
    if not git("branch", "--remotes", "--contains", rev):
        raise UserError(f"the Git remote origin lacks the commit {rev[:7]}; workers clone from it: git push")
    if dvc("remote", "default").returncode:
        raise UserError("DVC has no default remote, and workers need one for data: dvc remote add --default storage …")
    return str(Path(origin).resolve()) if Path(origin).exists() else origin


def refs_of(rev: str) -> str:
    """Return the folder of the refs of a commit's experiments. DVC chose it."""
    return f"refs/exps/{rev[:2]}/{rev[2:]}"


def known(origin: str, rev: str) -> set[str]:
    """Return the names of the commit's experiments that a remote has."""
    return {line.rpartition("/")[2] for line in git("ls-remote", origin, f"{refs_of(rev)}/*").splitlines()}


def fetch(origin: str, rev: str, names: Iterable[str]) -> None:
    """Bring those of these experiments that a remote has into this repository, where `dvc exp show` finds them."""
    here = known(".", rev)
    if refs := [f"{refs_of(rev)}/{name}" for name in known(origin, rev) & set(names) - here]:
        git("fetch", "--quiet", "--stdin", origin, stdin="\n".join(f"{ref}:{ref}" for ref in refs))


def check_data() -> None:
    """Check that DVC's cache has the outputs that dvc.lock names: workers take from it what the parameters leave alone.

    Raises:
        UserError: some are missing, or DVC fails.
    """
    done = dvc("data", "status", "--json")
    if done.returncode:
        raise UserError(f"`dvc data status` failed: {done.stderr.strip()}")
    if missing := json.loads(done.stdout).get("not_in_cache"):
        names = ", ".join(missing[:3])
        raise UserError(f"DVC's cache lacks {names}; make or get them first: dvc repro, or dvc pull")


def cache_folder() -> str:
    """Return the folder of DVC's cache.

    Raises:
        UserError: this folder is not a DVC project.
    """
    done = dvc("cache", "dir")
    if done.returncode:
        raise UserError("this folder is not a DVC project.")
    return str(Path(done.stdout.strip()).resolve())


def pinned_packages() -> list[str]:
    """Return the lines of requirements.txt that name a package and its version."""
    return re.findall(r"^[\w.-]+==[^\\\n]+", Path("requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
