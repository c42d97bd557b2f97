"""The environments for the short run: processes, threads, processors, Pythons, NumPys, BLAS libraries."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mlp.team import available_processes
from pipeline.program.errors import UserError

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
THIS = [sys.executable]
UV = [sys.executable, "-m", "uv", "run", "--quiet", "--isolated", "--no-project", "--no-config"]
# pyenv's shims start only one of its Pythons, so uv looks into pyenv's folders first
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
FOR_UV = {"PATH": os.pathsep.join([*map(str, PYENV.glob("versions/3.*/bin")), os.environ.get("PATH", os.defpath)])}
DEBIAN = ["bash", str(FOLDER / "debian.sh")]
# Emulated processors: Debian's name of the architecture, and the emulator's of the processor; what is special
FOREIGN = {
    "s390x": "big-endian",
    "armhf": "32 bits",
    "amd64:SandyBridge": "no FMA",
    "arm64": "ARM",
    "loong64": "LoongArch",
    "ppc64el": "POWER",
    "riscv64": "RISC-V",
    "amd64:Conroe": "no SSE4",
    "amd64:Nehalem": "no AVX",
    "amd64:Opteron_G5": "AMD, no AVX2",
    "amd64:Haswell": "AVX2",
    "amd64:EPYC-Rome": "AMD, AVX2",
}
CHEAP = ("s390x", "armhf", "amd64:SandyBridge")
PROCESSES = min(available_processes(), 2)  # more give no other kind of sum


class NotHereError(Exception):
    """This machine cannot have an environment. The text says why."""


class Environment(NamedTuple):
    """One place for the short run."""

    name: str  # what is special there
    python: list[str]  # the command that starts Python there
    variables: dict[str, str] = {}  # noqa: RUF012 (never changed)
    processes: int = PROCESSES  # how many share the training
    blas: str = ""  # the beginning of the file name of the BLAS that NumPy must have loaded; "" for any


def environments(everything: bool = True) -> Iterator[Environment]:
    """Yield the environments to compare; of the emulated ones only `CHEAP`, unless everything is wanted."""
    for processes in range(1, PROCESSES + 1):
        for threads in ("1", "2"):
            name = f"{processes} process{'es' * (processes > 1)}, {threads} thread{'s' * (threads > '1')}"
            yield Environment(name, THIS, {"OPENBLAS_NUM_THREADS": threads}, processes)
    if platform.machine() in ("x86_64", "AMD64"):
        for kernel in ("Haswell", "Sandybridge", "Nehalem", "Prescott"):
            yield Environment(f"OpenBLAS for {kernel}", THIS, {"OPENBLAS_CORETYPE": kernel})
        # From NumPy 2.4 on the features have the names of x86-64's levels
        yield Environment("NumPy's vector code off", THIS, {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4"})
    yield Environment("reference BLAS", [*DEBIAN, "native", "reference"], blas="libblas.so.3.")
    yield Environment("BLIS", [*DEBIAN, "native", "blis"], blas="libblis.so.")
    yield Environment("Intel MKL", [*DEBIAN, "native", "mkl"], blas="libmkl_rt.so.")
    pinned = next(line for line in (ROOT / "requirements.txt").read_text().split() if line.startswith("numpy=="))
    for version in ("3.11", "3.12", "3.13"):
        yield Environment(f"Python {version}", [*UV, "--python", version, "--with", pinned, "python"], FOR_UV)
    for numpy, version in (("1.26.4", "3.11"), ("2.0.2", "3.11"), ("2.5.5", "3.13")):
        yield Environment(f"NumPy {numpy}", [*UV, "--python", version, "--with", f"numpy=={numpy}", "python"], FOR_UV)
    # Emulated processes and threads that wait for each other are slow
    variables = {"OPENBLAS_NUM_THREADS": "1"}
    for processor, what in FOREIGN.items():
        if everything or processor in CHEAP:
            python = [*DEBIAN, processor, "openblas"]
            yield Environment(f"{processor}, emulated: {what}", python, variables, processes=1)


def short_run(where: Environment) -> dict[str, str]:
    """Return a line of the table: what `short_run.py` prints there, the name and the processes.

    Raises:
        NotHereError: there is no such Python with NumPy.
        UserError: there is, and the run fails, or NumPy uses another BLAS than it should.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBLAS", "NPY_"))}
    variables = inherited | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT)} | where.variables

    def start(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*where.python, *arguments], cwd=ROOT, env=variables, text=True, **options)

    try:
        probe = start("-c", "import numpy", stderr=subprocess.PIPE)
    except FileNotFoundError as error:
        raise NotHereError(f"there is no {error.filename}") from None
    if probe.returncode:
        raise NotHereError((probe.stderr.strip() or "it does not start").splitlines()[-1])
    result = start(str(FOLDER / "short_run.py"), str(where.processes), stdout=subprocess.PIPE)
    if result.returncode:
        raise UserError(f"the short run failed ({where.name}); see its message above.")
    found = json.loads(result.stdout)
    if not found["blas"].startswith(where.blas) or (where.blas and " + " in found["blas"]):
        raise UserError(f"NumPy used {found['blas']}, not {where.blas} ({where.name}).")
    return {"name": where.name, **found, "processes": str(where.processes)}
