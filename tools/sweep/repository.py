"""The leader's Git and DVC: what a sweep starts from, and what it leaves behind."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from pipeline.program.errors import UserError


def output(*command: str, stdin: str = "", cure: str = "") -> str:
    """Return what a command of Git or DVC prints. If it fails, raise a UserError that ends with `cure`."""
    python = [sys.executable, "-m"] if command[0] == "dvc" else []
    done = subprocess.run([*python, *command], input=stdin, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "it gave no reason").splitlines()
        reason = next((line for line in lines if line.lower().startswith(("fatal: ", "error: "))), lines[-1])
        raise UserError(f"`{' '.join(command[:3])}` failed: {reason}{cure}")
    return done.stdout.rstrip("\n")


def committed() -> str:
    """Return HEAD. Raise a UserError if files that Git tracks have changes."""
    if changed := output("git", "diff", "--name-only", "-z", "HEAD"):
        names = ", ".join(changed.split("\0")[:-1][:3])
        raise UserError(f"uncommitted changes in {names}; workers run the last commit: commit or restore them first.")
    return output("git", "rev-parse", "HEAD")


def remote_with(rev: str) -> str:
    """Return the address of the Git remote `origin`. Raise a UserError if it lacks the commit, or DVC has no remote."""
    origin = output("git", "remote", "get-url", "origin")
    output("git", "fetch", "--quiet", "origin")
    if not output("git", "branch", "--remotes", "--contains", rev):
        raise UserError(f"the Git remote origin lacks the commit {rev[:7]}; workers clone from it: git push")
    output("dvc", "remote", "default", cure="; workers need one for data: dvc remote add --default storage …")
    return str(Path(origin).resolve()) if Path(origin).exists() else origin


def cache_with_data() -> str:
    """Return the folder of DVC's cache. Raise a UserError if it lacks an output in dvc.lock: workers need them."""
    if missing := json.loads(output("dvc", "data", "status", "--json")).get("not_in_cache"):
        raise UserError(f"DVC's cache lacks {', '.join(missing[:3])}; make or get them first: dvc repro, or dvc pull")
    return str(Path(output("dvc", "cache", "dir")).resolve())


def refs_of(rev: str) -> str:
    """Return the folder of the refs of a commit's experiments. DVC chose it."""
    return f"refs/exps/{rev[:2]}/{rev[2:]}"


def known(origin: str, rev: str) -> set[str]:
    """Return the names of the commit's experiments that a remote has."""
    return {line.rpartition("/")[2] for line in output("git", "ls-remote", origin, f"{refs_of(rev)}/*").splitlines()}


def fetch(origin: str, rev: str, names: Iterable[str]) -> None:
    """Bring those of these experiments that a remote has into this repository, where `dvc exp show` finds them."""
    if refs := [f"{refs_of(rev)}/{name}" for name in known(origin, rev) & set(names) - known(".", rev)]:
        output("git", "fetch", "--quiet", "--stdin", origin, stdin="\n".join(f"{ref}:{ref}" for ref in refs))


def pinned_packages() -> list[str]:
    """Return the lines of requirements.txt that name a package and its version."""
    return re.findall(r"^[\w.-]+==[^\\\n]+", Path("requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
