"""Is what DVC keeps what it says? Hash everything in its cache, and every output, and have what is damaged made again.

python -m tools.check

DVC does not look at a file in its cache that nobody may write to, nor at an output whose length and time are those that
it remembers. A damage by the disk, or through a hard link, stays unseen, and `dvc status` says that all is up to date.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml


def md5(path: Path) -> str:
    """Return the MD5 of a file, or of a folder as DVC counts it: of the list of its files."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        listed = sorted((file.relative_to(path).as_posix(), md5(file)) for file in files)
        text = json.dumps([{"md5": md5, "relpath": name} for name, md5 in listed])
        return hashlib.md5(text.encode()).hexdigest() + ".dir"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def damaged_in_cache(cache: Path) -> Iterator[Path]:
    """Find the files in the cache whose content is not what their name says."""
    for path in sorted(cache.glob("files/md5/??/*")):
        if md5(path) != path.parent.name + path.name.removesuffix(".dir"):
            yield path


def different_outputs(lock: Path) -> Iterator[Path]:
    """Find the outputs that are there and are not what `dvc.lock` says."""
    stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"] if lock.exists() else {}
    for stage in stages.values():
        for out in stage.get("outs", []):
            path = lock.parent / out["path"]
            if path.exists() and md5(path) != out["md5"]:
                yield path


def main() -> int:
    """Remove what is damaged in the cache, make DVC look at the outputs that differ, and list both; return 1 if any."""
    command = [sys.executable, "-m", "dvc", "cache", "dir"]
    cache = Path(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip())
    damaged = list(damaged_in_cache(cache))
    for path in damaged:
        path.unlink()
        print(f"{path}: damaged in DVC's cache; removed.")
    different = list(different_outputs(Path("dvc.lock")))
    for path in different:
        for file in [*path.rglob("*")] if path.is_dir() else [path]:
            file.touch()  # another time, so that DVC looks at the file again
        print(f"{path}: not what dvc.lock says.")
    if damaged or different:
        print("`dvc repro` makes again what is missing or not as it should be.")
        return 1
    print("All files in DVC's cache, and all outputs, are what they should be.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
