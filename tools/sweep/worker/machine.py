"""A worker's machine: its folders, the environment of its commands, its packages."""

import importlib.metadata
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def home_of(home: str) -> Path:
    """Return the folder for clones and checkpoints. Commands run in other folders, so it is absolute."""
    return Path(home).expanduser().resolve()


def environment(home: Path, *, checkpoints: bool) -> dict[str, str]:
    """Return the environment of an experiment's commands."""
    who = {f"GIT_{role}_{key}": "sweep" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    settings = {
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(home / "site-cache"),
        "TRAIN_CHECKPOINTS": str(home / "checkpoints") if checkpoints else "",
        "PYTHONUNBUFFERED": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"],
    }
    return os.environ | who | settings


@contextmanager
def folder_for_clone(home: Path) -> Iterator[Path]:
    """Yield a new folder, and remove it at the end of the block. Its name says whose it is: see `remove_leftovers`."""
    clones = home / "clones"
    clones.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{socket.gethostname()}-{os.getpid()}-", dir=clones))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(home: Path) -> None:
    """Remove the clones of this host's workers that are dead."""
    host = socket.gethostname()
    for folder in (home / "clones").glob(f"{host}-*"):
        owner = folder.name.removeprefix(f"{host}-").partition("-")[0]
        if owner.isdigit() and not _lives(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def differing_packages(pinned: list[str]) -> str:
    """Return what is installed here in another version, or not at all: at most three packages.

    Args:
        pinned: lines of a requirements file, such as "zipp==4.1.2 ; python_full_version < '3.12'".
    """
    from packaging.requirements import Requirement

    wrong = []
    for requirement in map(Requirement, pinned):
        if requirement.marker and not requirement.marker.evaluate():
            continue
        try:
            found = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            found = "missing"
        if found not in requirement.specifier:
            wrong.append(f"{requirement.name} {found} for {str(requirement.specifier).removeprefix('==')}")
    return ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
