"""Mend what a killed DVC left, so that the next one can work: `python -m pipeline.mend`.

DVC writes two files in place. A kill in that moment leaves half of one, and DVC refuses it.
"""

import json
import subprocess
from pathlib import Path
from typing import Annotated

import psutil
from ruamel.yaml import YAML, YAMLError
from typer import Argument

from pipeline.program.command import command
from pipeline.program.errors import note

BUSY = Path(".dvc/tmp/rwlock")  # which DVC reads and writes which files
LOCK = Path("dvc.lock")


@command
def main(lock: Annotated[Path, Argument(help="DVC's record of the results.")] = LOCK) -> None:
    """Remove DVC's list of busy files, and restore a broken dvc.lock, unless a DVC runs here."""
    is_listed = BUSY.exists() and not _is_idle(BUSY.read_text(errors="replace"))
    is_broken = lock.exists() and not _is_lock(lock.read_text(errors="replace"))
    if not (is_listed or is_broken) or _runs_here():
        return
    if is_listed:
        BUSY.unlink()
        note(f"note: {BUSY} is removed: the DVC that wrote it is gone.")
    if is_broken:
        restore = ["git", "checkout", "--quiet", "HEAD", "--", str(lock)]
        if subprocess.run(restore, capture_output=True).returncode:
            lock.unlink()  # Git has none
        note(f"note: {lock} was not whole; now it is the committed one, if there is one.")


def _is_idle(text: str) -> bool:
    try:
        lists = json.loads(text)
        return isinstance(lists, dict) and not any(lists.values())
    except ValueError:
        return False


def _is_lock(text: str) -> bool:
    try:
        lock = YAML(typ="safe", pure=True).load(text)
        return "schema" in lock and all("cmd" in stage for stage in lock["stages"].values())
    except (AttributeError, KeyError, TypeError, YAMLError):
        return False


def _runs_here() -> bool:
    """Return whether a DVC runs in this folder, or in one below."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        names = {Path(word).name for word in process.info["cmdline"] or ()}
        folder = Path(process.info["cwd"] or "")
        if names & {"dvc", "dvc.exe"} and folder.is_relative_to(Path.cwd()):
            return True
    return False


if __name__ == "__main__":
    main()
