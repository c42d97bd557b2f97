"""The surroundings in which the pipeline runs in short: threads, processors, Pythons, NumPys, BLAS libraries."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mlp.team import available_processes
from pipeline.program.errors import UserError
from tools.portable.table import Row

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
THIS = [sys.executable]
UV = [sys.executable, "-m", "uv", "run", "--quiet", "--isolated", "--no-project", "--no-config"]
PINNED = next(
    line.split()[0] for line in (ROOT / "requirements.txt").read_text().splitlines() if line.startswith("numpy==")
)


class NotHereError(Exception):
    """This machine cannot have these surroundings. The text says why."""


class Surroundings(NamedTuple):
    """One place to run in.

    Attributes:
        name: what is special there.
        python: the command that starts Python there.
        variables: additional environment variables.
        processes: the number of processes that share the training.
        blas: the beginning of the file name of the BLAS that NumPy must have loaded; "" for any.
    """

    name: str
    python: list[str]
    variables: dict[str, str] = {}  # noqa: RUF012 (never changed)
    processes: int = available_processes()
    blas: str = ""


def surroundings() -> Iterator[Surroundings]:
    """Yield the surroundings to compare."""
    for processes in range(1, available_processes() + 1):
        for threads in ("1", "2"):
            name = f"{processes} process{'es' * (processes > 1)}, {threads} thread{'s' * (threads > '1')}"
            yield Surroundings(name, THIS, {"OPENBLAS_NUM_THREADS": threads}, processes)
    if platform.machine() in ("x86_64", "AMD64"):
        for kernel in ("Haswell", "Sandybridge", "Nehalem", "Prescott"):
            yield Surroundings(f"OpenBLAS for {kernel}", THIS, {"OPENBLAS_CORETYPE": kernel})
        # From NumPy 2.4 on the features have the names of x86-64's levels.
        yield Surroundings("NumPy's vector code off", THIS, {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4"})
    for name, short_name, library in (
        ("reference BLAS", "reference", "libblas.so.3."),
        ("BLIS", "blis", "libblis.so."),
        ("Intel MKL", "mkl", "libmkl_rt.so."),
    ):
        yield Surroundings(name, ["bash", str(FOLDER / "blas.sh"), short_name], blas=library)
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


def run(where: Surroundings) -> Row:
    """Run the pipeline in short there, in both arithmetics.

    Raises:
        NotHereError: there is no such Python with NumPy.
        UserError: there is, and the run fails, or NumPy uses another BLAS than it should.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBLAS", "NPY_"))}
    environment = inherited | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT)} | where.variables
    start = partial(subprocess.run, cwd=ROOT, env=environment, text=True)
    try:
        probe = start([*where.python, "-c", "import numpy"], stderr=subprocess.PIPE)
    except FileNotFoundError as error:
        raise NotHereError(f"there is no {error.filename}") from None
    if probe.returncode:
        raise NotHereError((probe.stderr.strip() or "it does not start").splitlines()[-1])
    command = [*where.python, str(FOLDER / "short_run.py"), str(where.processes)]
    result = start(command, stdout=subprocess.PIPE)
    if result.returncode:
        raise UserError(f"the short run failed ({where.name}); see its message above.")
    found = json.loads(result.stdout)
    if not found["blas"].startswith(where.blas) or (where.blas and " + " in found["blas"]):
        raise UserError(f"NumPy used {found['blas']}, not {where.blas} ({where.name}).")
    hashes = {arithmetic: found.pop(arithmetic)[:16] for arithmetic in ("exact", "float32")}
    return Row(where.name, **found, processes=str(where.processes), **hashes)
