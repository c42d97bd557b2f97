"""The leader makes results DVC's experiments, here and in Git's remote. `refs` is their folder."""

import tempfile
import time
from contextlib import suppress
from pathlib import Path

from pipeline.program.errors import UserError
from tools.lock import git, output
from tools.sweep.worker import WAITS


def experiments(origin: str, refs: str) -> set[str]:
    """Return the names of the experiments that a remote has."""
    lines = output("git", "ls-remote", origin, f"{refs}/*").splitlines()
    return {line.rpartition("/")[2] for line in lines}


def fetch(origin: str, refs: str, names: set[str]) -> None:
    """Fetch those experiments that a remote has, so that `dvc exp show` finds them here."""
    if new := names & experiments(origin, refs) - experiments(".", refs):
        refspecs = "\n".join(f"{refs}/{one}:{refs}/{one}" for one in new)
        output("git", "fetch", "--quiet", "--stdin", origin, stdin=refspecs)


def unpack(bundle: bytes) -> str:
    """Put the commit of a result into this repository, without a ref. Return its hash."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "bundle").write_bytes(bundle)
        return output("git", "bundle", "unbundle", f"{folder}/bundle").split()[0]


def differing(one: str, other: str) -> list[str]:
    """Return the files in which two results differ, those with DVC's own arguments left out."""
    return git("diff", "--name-only", one, other, "--", ".", ":!.dvc/tmp").splitlines()


def author(commit: str) -> str:
    """Return the worker that made a result."""
    return git("show", "--no-patch", "--format=%an", commit)


def accept(origin: str, refs: str, name: str, commit: str) -> str:
    """Make a result an experiment, if its name is free. Return the commit of that experiment.

    Raises:
        UserError: the Git remote has failed for a minute.
    """
    ref = f"{refs}/{name}"
    for wait in WAITS:
        with suppress(UserError):
            if name not in experiments(origin, refs):
                output("git", "push", f"--force-with-lease={ref}:", origin, f"{commit}:{ref}")
            fetch(origin, refs, {name})
            return output("git", "rev-parse", ref)
        time.sleep(wait)
    raise UserError(f"{origin} takes no experiment; when it does, start the same sweep again.")


def remove(origin: str, refs: str, names: set[str], workers: set[str]) -> None:
    """Remove those of these experiments that some workers made, here and in a remote."""
    fetch(origin, refs, names)
    there = [f"{refs}/{name}" for name in names & experiments(origin, refs)]
    if removed := [ref for ref in there if author(ref) in workers]:
        output("git", "push", origin, *(f":{ref}" for ref in removed))
        output("git", "update-ref", "--stdin", stdin="".join(f"delete {ref}\n" for ref in removed))
