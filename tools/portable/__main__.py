"""Does the pipeline write the same bytes elsewhere? Run it in short in many surroundings, and print a hash of each.

    python -m tools.portable.__main__

A row that this machine cannot have (no such Python, no emulator) says so and counts for nothing; a failure ends it.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mlp.parallel import available_processes

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
THIS = [sys.executable]
UV = [sys.executable, "-m", "uv", "run", "--quiet", "--isolated", "--no-project", "--no-config"]
PINNED = next(
    line.split()[0] for line in (ROOT / "requirements.txt").read_text().splitlines() if line.startswith("numpy==")
)


class Surroundings(NamedTuple):
    """Where a run takes place: its name, the command that is Python there, environment variables, and processes."""

    name: str
    python: list[str]
    variables: dict[str, str] = {}  # noqa: RUF012 (nobody changes it)
    processes: int = available_processes()


def surroundings() -> Iterator[Surroundings]:
    """Yield the rows of the table."""
    for processes in range(1, available_processes() + 1):
        for threads in ("1", "2"):
            name = f"{processes} process{'es' * (processes > 1)}, {threads} thread{'s' * (threads > '1')}"
            yield Surroundings(name, THIS, {"OPENBLAS_NUM_THREADS": threads}, processes)
    if platform.machine() in ("x86_64", "AMD64"):
        for kernel in ("Haswell", "Sandybridge", "Nehalem", "Prescott"):
            yield Surroundings(f"OpenBLAS for {kernel}", THIS, {"OPENBLAS_CORETYPE": kernel})
        # From NumPy 2.4 on the features have the names of x86-64's levels.
        yield Surroundings("NumPy's vector code off", THIS, {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4"})
    for version, python in pythons():
        yield Surroundings(f"Python {version}", [*UV, "--python", python, "--with", PINNED, "python"])
    for numpy, version in (("1.26.4", "3.11"), ("2.0.2", "3.11"), ("2.5.5", "3.13")):
        yield Surroundings(f"NumPy {numpy}", [*UV, "--python", version, "--with", f"numpy=={numpy}", "python"])
    if platform.machine() == "x86_64":
        yield Surroundings("aarch64, emulated", ["bash", str(FOLDER / "aarch64.sh")])


def pythons() -> Iterator[tuple[str, str]]:
    """Yield the oldest and the newest installed patch release of each Python: its version, and what uv finds it by.

    Where none is installed, uv may fetch one.
    """
    # pyenv's shims start only one of its Pythons, so uv looks into its folders instead
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders = [folder for folder in os.environ["PATH"].split(os.pathsep) if Path(folder) != pyenv / "shims"]
    path = os.pathsep.join([*map(str, pyenv.glob("versions/3.*/bin")), *folders])
    command = [sys.executable, "-m", "uv", "python", "list", "--only-installed", "--output-format", "json"]
    listed = subprocess.run(command, env=os.environ | {"PATH": path}, check=True, stdout=subprocess.PIPE)
    installed = {
        tuple(python["version_parts"].values()): python["path"]
        for python in json.loads(listed.stdout)
        if (python["implementation"], python["variant"]) == ("cpython", "default")
    }
    for minor in (11, 12, 13):
        releases = sorted(release for release in installed if release[:2] == (3, minor))
        for release in dict.fromkeys([*releases[:1], *releases[-1:]]):
            yield ".".join(map(str, release)), installed[release]
        if not releases:
            yield f"3.{minor}", f"3.{minor}"


def run(where: Surroundings, arithmetic: str) -> str | None:
    """Return the hash of the short runs there, or None where there is no such Python with NumPy.

    Raises:
        subprocess.CalledProcessError: there is, and the runs fail.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBLAS", "NPY_"))}
    environment = inherited | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT)} | where.variables
    settings = {"cwd": ROOT, "env": environment, "text": True}
    if subprocess.run([*where.python, "-c", "import numpy"], stderr=subprocess.DEVNULL, **settings).returncode:
        return None
    command = [*where.python, str(FOLDER / "short_run.py"), arithmetic, str(where.processes)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, **settings).stdout.strip()


def main() -> int:
    """Print a table in Markdown; return 0 if `exact` gave one hash everywhere and float32 did not, else 1."""
    print("| surroundings | exact | float32 |\n|---|---|---|")
    hashes: dict[str, list[str]] = {"exact": [], "float32": []}
    for where in surroundings():
        cells = []
        for arithmetic, seen in hashes.items():
            result = run(where, arithmetic)
            seen += [result] if result else []
            cells.append(f"`{result[:16]}`" if result else "not to be had here")
        print(f"| {where.name} | {' | '.join(cells)} |", flush=True)
    distinct = {arithmetic: len(set(seen)) for arithmetic, seen in hashes.items()}
    for arithmetic, seen in hashes.items():
        print(f"\n{arithmetic}: {len(seen)} runs, {distinct[arithmetic]} distinct")
    return 0 if len(hashes["exact"]) > 1 and distinct["exact"] == 1 < distinct["float32"] else 1


if __name__ == "__main__":
    sys.exit(main())
