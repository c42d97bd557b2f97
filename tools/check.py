"""Are the files that DVC keeps undamaged? Hash all of its caches and outputs, so that DVC makes damaged files again.

python -m tools.check

DVC does not hash a read-only file in its cache again, nor an output with the length and time that it remembers. So it
does not see damage by a disk, or through a hard link, and `dvc status` says that everything is up to date.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from pipeline.program.command import command
from pipeline.program.errors import UserError
from tools.lock import locked_outputs, md5_of


@command
def main() -> None:
    """Hash DVC's caches and all outputs, and list the damaged files. `dvc repro` then makes them again.

    A damaged file in the cache is removed. An output that differs from dvc.lock gets a new time, so that DVC sees it.
    """
    damaged = different = 0
    for project in (Path(), *(lock.parent for lock in Path().glob("*/dvc.lock"))):
        for path in damaged_in_cache(cache_of(project)):
            damaged += 1
            path.unlink()
            print(f"{path}: damaged in DVC's cache; removed.")
        lock = project / "dvc.lock"
        for path in different_outputs(lock):
            different += 1
            for file in path.rglob("*") if path.is_dir() else [path]:
                file.touch()
            print(f"{path}: not what {lock} says.")
    if damaged or different:
        raise UserError("some files are damaged; run `dvc repro` beside their dvc.lock to make them again.")
    print("All files in DVC's cache and all outputs are undamaged.")


def cache_of(project: Path) -> Path:
    """Return the folder of a DVC project's cache.

    Raises:
        UserError: it is not a DVC project.
    """
    command = [sys.executable, "-m", "dvc", "cache", "dir"]
    result = subprocess.run(command, cwd=project, stdout=subprocess.PIPE, text=True)
    if result.returncode:
        raise UserError(f"{project.absolute()}: not a DVC project.", path=project)
    return project / result.stdout.strip()


def damaged_in_cache(cache: Path) -> Iterator[Path]:
    """Yield the files in the cache with an MD5 that is not their name, without those that DVC is writing."""
    for path in sorted(cache.glob("files/md5/??/*")):
        if path.suffix != ".tmp" and md5_of(path) != path.parent.name + path.name.removesuffix(".dir"):
            yield path


def different_outputs(lock: Path) -> Iterator[Path]:
    """Yield the outputs with an MD5 that is not the one in `lock`. Missing ones are left out."""
    for (_, name), md5 in locked_outputs(lock).items():
        path = lock.parent / name
        if path.exists() and md5_of(path) != md5:
            yield path


if __name__ == "__main__":
    main()
