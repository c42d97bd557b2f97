"""Is `dvc.lock` true? Run every stage anew from a clone of the committed state, and compare each output with the lock.

python -m tools.verify
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table


def locked_outputs(lock: Path) -> dict[tuple[str, str], str]:
    """Return the MD5 of each output, by stage and path, that a `dvc.lock` states."""
    stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"]
    return {(name, out["path"]): out["md5"] for name, stage in stages.items() for out in stage.get("outs", [])}


def reproduce(repository: Path, folder: Path) -> Path:
    """Clone `repository` into `folder` and run all of its stages there, with nothing cached; return the clone."""
    clone = folder / "clone"
    subprocess.run(["git", "clone", "--quiet", "--no-local", str(repository), str(clone)], check=True)
    environment = os.environ | {
        "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"],
        "DVC_SITE_CACHE_DIR": str(folder / "site-cache"),
    }
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--no-run-cache"]
    subprocess.run(command, cwd=clone, env=environment, check=True)
    return clone


def main() -> int:
    """Print the table of outputs; return 0 if all have the bytes of the lock, else 1."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            clone = reproduce(Path.cwd(), Path(folder))
        except subprocess.CalledProcessError as error:
            print(f"error: `{' '.join(map(str, error.cmd))}` failed; nothing was compared.", file=sys.stderr)
            return 1
        made = locked_outputs(clone / "dvc.lock")
        committed = subprocess.run(["git", "show", "HEAD:dvc.lock"], cwd=clone, check=True, capture_output=True).stdout
        lock = Path(folder) / "dvc.lock"
        lock.write_bytes(committed)
        claimed = locked_outputs(lock)

    table = Table("stage", "output", "MD5 in dvc.lock", "made anew")
    different = [output for output in claimed | made if claimed.get(output) != made.get(output)]
    for stage, path in claimed | made:
        same = (stage, path) not in different
        table.add_row(
            stage,
            path,
            claimed.get((stage, path), "nothing")[:12],
            "same bytes" if same else f"[red]{made.get((stage, path), 'nothing')[:12]}",
        )
    Console().print(table)
    if different:
        stage, path = different[0]
        print(f"error: {path} of stage {stage} is not what dvc.lock says.", file=sys.stderr)
        return 1
    print(f"All {len(claimed)} outputs have the bytes that dvc.lock states.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
