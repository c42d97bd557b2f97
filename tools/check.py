"""Are the files that DVC keeps undamaged? `python -m tools.check` hashes them, so that DVC makes
damaged files again.

DVC does not hash a read-only file in its cache again, nor an output with the length and time that
it remembers. So it does not see damage by a disk, or through a hard link, and `dvc status` says
that everything is up to date.
"""

from pathlib import Path

from pipeline.program.command import command
from pipeline.program.errors import UserError
from tools.lock import inside, locked_outputs, md5_of, output
from tools.tables import show


@command
def main() -> None:
    """Hash DVC's caches and all outputs, and list the damaged files. `dvc repro` then makes them
    again.

    A damaged file in the cache is removed. An output that differs from dvc.lock gets a new time, so
    that DVC sees it. Files outside of this folder are left alone.
    """
    here, found = Path(), 0
    for lock in (Path("dvc.lock"), *here.glob("*/dvc.lock")):
        outputs = locked_outputs(inside(here, str(lock)))
        cache = output("dvc", "--cd", str(lock.parent), "cache", "dir")
        for path in sorted(inside(here, str(lock.parent / cache)).glob("files/md5/??/*")):
            writing = path.suffix == ".tmp"  # DVC writes it now
            if not writing and md5_of(path) != path.parent.name + path.name.removesuffix(".dir"):
                inside(here, str(path)).unlink()
                show(f"{path}: damaged in DVC's cache; removed.")
                found += 1
        for name, md5 in outputs.items():
            path = inside(here, str(lock.parent / name))
            if path.exists() and md5_of(path) != md5:
                for file in path.rglob("*") if path.is_dir() else [path]:
                    inside(here, str(file)).touch()
                show(f"{path}: not what {lock} says.")
                found += 1
    if found:
        raise UserError(
            "some files are damaged; run `dvc repro` beside their dvc.lock to make them again."
        )
    show("All files in DVC's cache and all outputs are undamaged.")


if __name__ == "__main__":
    main()
