"""Does the pipeline write the same bytes elsewhere? Run it in short in many environments.

They differ in processes, threads, processors, Pythons, NumPys and BLAS libraries.
"""

import csv
import io
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from typer import Argument, Option

from pipeline.fitting.processes import available_processes
from pipeline.program.command import command
from pipeline.program.errors import UserError
from pipeline.program.files import write_text

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
TABLE = ROOT / "docs" / "machines.csv"
COLUMNS = ["name", "processor", "byte_order", "system", "python", "numpy", "blas"]
COLUMNS += ["processes", "exact", "float32"]
THIS = [sys.executable]
UV = [sys.executable, "-m", "uv", "run", "--quiet", "--isolated", "--no-project", "--no-config"]
# pyenv's shims start only one of its Pythons, so uv looks into pyenv's folders first
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
PYTHONS = map(str, PYENV.glob("versions/3.*/bin"))
FOR_UV = {"PATH": os.pathsep.join([*PYTHONS, os.environ.get("PATH", os.defpath)])}
DEBIAN = ["bash", str(FOLDER / "debian.sh")]
# Emulated: Debian's name of the architecture, the emulator's of the processor; what is special
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
    "amd64:phenom": "AMD, no AVX",
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
    blas: str = ""  # how the file name begins of the BLAS that NumPy must have loaded


@command
def main(
    names: Annotated[
        list[str] | None, Argument(help="Names of environments.", show_default="all")
    ] = None,
    add: Annotated[
        str | None, Option(metavar="NAME", help="Run here only, and add a line with this name.")
    ] = None,
    everything: Annotated[bool, Option("--all", help="Also run what takes minutes each.")] = False,
    write: Annotated[bool, Option("--write", help="Write the lines of these runs.")] = False,
) -> None:
    """Run the pipeline in short in many environments, and compare the hash of its files.

    The exact hash must be the same everywhere, and the same as in docs/machines.csv. The float32
    hash must not. --write removes the lines with another exact hash from that file.
    """
    if add is not None and (names or write):
        raise UserError("--add needs no names and no --write: it runs here, and writes one line.")
    with TABLE.open(newline="", encoding="utf-8") as file:
        stated = list(csv.DictReader(file))
    chosen = environments(everything or bool(names)) if add is None else [Environment(add, THIS)]
    places = {where.name: where for where in chosen}
    for name in names or []:
        if name not in places:
            expected = f"one of: {'; '.join(places)}"
            raise UserError(f"there is no environment {name}; expected {expected}.")
    rows = run_all([places[name] for name in names or places])
    if not rows:
        raise UserError("this machine has none of these environments; see the reasons above.")
    if write:  # lines with another hash come from other code
        stated = [row for row in stated if row["exact"] in [new["exact"] for new in rows]]
    table = [*stated, *rows]
    for row in table:
        if row["exact"] != table[0]["exact"]:
            both = " and ".join(f"{line['exact']} ({line['name']})" for line in (table[0], row))
            raise UserError(f"the exact hashes differ: {both}.")
    if not names and add is None and len({row["float32"] for row in rows}) < 2:
        raise UserError("float32 gave the same hash everywhere, so this comparison shows nothing.")
    if write or add is not None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        # a new line takes the place of the old one
        writer.writerows({row["name"]: row for row in table}.values())
        write_text(TABLE, text.getvalue())


def run_all(places: list[Environment]) -> list[dict[str, str]]:
    """Run in the environments that this machine can have, print the hashes, and return the lines.

    Raises:
        UserError: a run fails.
    """
    rows = []
    for where in places:
        try:
            row = short_run(where)
        except NotHereError as reason:
            print(f"{where.name:24} not on this machine: {reason}", flush=True)
        else:
            rows.append(row)
            hashes = f"exact {row['exact']}  float32 {row['float32']}"
            print(f"{where.name:24} {hashes}  {row['blas']}", flush=True)
    for arithmetic in ("exact", "float32"):
        distinct = {row[arithmetic] for row in rows}
        print(f"{arithmetic}: {len(rows)} runs, distinct hashes: {len(distinct)}")
    return rows


def environments(everything: bool = True) -> Iterator[Environment]:
    """Yield the environments to compare. Without everything, only the `CHEAP` emulated ones."""
    for processes in range(1, PROCESSES + 1):
        for threads in ("1", "2"):
            of_threads = f"{threads} thread{'s' * (threads > '1')}"
            name = f"{processes} process{'es' * (processes > 1)}, {of_threads}"
            yield Environment(name, THIS, {"OPENBLAS_NUM_THREADS": threads}, processes)
    if platform.machine() in ("x86_64", "AMD64"):
        for kernel in ("Haswell", "Sandybridge", "Nehalem", "Prescott"):
            yield Environment(f"OpenBLAS for {kernel}", THIS, {"OPENBLAS_CORETYPE": kernel})
        # From NumPy 2.4 on the features have the names of x86-64's levels
        features = {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4"}
        yield Environment("NumPy's vector code off", THIS, features)
    yield Environment("reference BLAS", [*DEBIAN, "native", "reference"], blas="libblas.so.3.")
    yield Environment("BLIS", [*DEBIAN, "native", "blis"], blas="libblis.so.")
    yield Environment("Intel MKL", [*DEBIAN, "native", "mkl"], blas="libmkl_rt.so.")
    words = (ROOT / "requirements.txt").read_text().split()
    (pinned,) = (word.removeprefix("numpy==") for word in words if word.startswith("numpy=="))
    # t: without a global lock
    for name in ("Python 3.11", "Python 3.12", "Python 3.13", "Python 3.13t", "PyPy 3.11"):
        version = name.removeprefix("Python ").lower().replace(" ", "")
        yield Environment(name, with_uv(version, pinned), FOR_UV)
    for numpy, version in (("1.26.4", "3.11"), ("2.0.2", "3.11"), ("2.5.5", "3.13")):
        yield Environment(f"NumPy {numpy}", with_uv(version, numpy), FOR_UV)
    for processor, what in FOREIGN.items():
        if everything or processor in CHEAP:
            # Emulated threads wait long
            variables = {"OPENBLAS_NUM_THREADS": "1", "EMULATED": processor}
            python = [*DEBIAN, processor, "openblas"]
            yield Environment(f"{processor}, emulated: {what}", python, variables, processes=1)


def with_uv(python: str, numpy: str) -> list[str]:
    """Return the command that starts a Python with a NumPy, both of these versions."""
    return [*UV, "--python", python, "--with", f"numpy=={numpy}", "python"]


def short_run(where: Environment) -> dict[str, str]:
    """Return a line of the table: what `short_run.py` prints there, the name and the processes.

    Raises:
        NotHereError: there is no such Python with NumPy.
        UserError: there is, and the run fails, or NumPy uses another BLAS than it should.
    """
    names = [name for name in os.environ if not name.startswith(("OPENBLAS", "NPY_"))]
    inherited = {name: os.environ[name] for name in names}
    variables = inherited | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT)} | where.variables

    def start(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [*where.python, *words]
        options |= {"encoding": "utf-8", "errors": "replace"}
        return subprocess.run(command, cwd=ROOT, env=variables, **options)

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


if __name__ == "__main__":
    main()
