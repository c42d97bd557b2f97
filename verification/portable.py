"""Does the same training give the same bits elsewhere? Train short runs in many surroundings, and print a hash of each.

    python -m verification.portable

A row that this machine cannot run (an interpreter that is not to be had, no emulator) says so and counts for nothing.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
THIS = [sys.executable]
UV = [sys.executable, "-m", "uv", "run", "--quiet", "--isolated", "--no-project", "--no-config"]
PINNED = next(
    line.split()[0] for line in (ROOT / "requirements.txt").read_text().splitlines() if line.startswith("numpy==")
)


class Surroundings(NamedTuple):
    """Where a run takes place: its name, the command that is Python there, and environment variables."""

    name: str
    python: list[str]
    variables: dict[str, str] = {}  # noqa: RUF012 (nobody changes it)


def surroundings() -> Iterator[Surroundings]:
    """Yield the rows of the table."""
    for threads in ("1", "2"):
        yield Surroundings(f"{threads} thread{'s' * (threads > '1')}", THIS, {"OPENBLAS_NUM_THREADS": threads})
    if platform.machine() in ("x86_64", "AMD64"):
        for kernel in ("Haswell", "Sandybridge", "Nehalem", "Prescott"):
            yield Surroundings(f"OpenBLAS for {kernel}", THIS, {"OPENBLAS_CORETYPE": kernel})
        # From NumPy 2.4 on the features have the names of x86-64's levels.
        yield Surroundings("NumPy's vector code off", THIS, {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4"})
    for version in ("3.11", "3.12", "3.13"):
        yield Surroundings(f"Python {version}", [*UV, "--python", version, "--with", PINNED, "python"])
    for numpy, version in (("1.26.4", "3.11"), ("2.0.2", "3.11"), ("2.5.5", "3.13")):
        yield Surroundings(f"NumPy {numpy}", [*UV, "--python", version, "--with", f"numpy=={numpy}", "python"])
    if platform.machine() == "x86_64":
        yield Surroundings("aarch64, emulated", ["bash", str(ROOT / "verification" / "aarch64.sh")])


def run(where: Surroundings, arithmetic: str) -> str:
    """Return the hash of the short runs there, or why there is none."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBLAS", "NPY_"))}
    done = subprocess.run(
        [*where.python, "-m", "verification.short_run", arithmetic],
        cwd=ROOT,
        env=inherited | where.variables,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        return f"not available here: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"
    return done.stdout.strip()


def main() -> int:
    """Print a table in Markdown; return 0 if `exact` gave one hash everywhere, else 1."""
    print("| surroundings | exact | float32 |\n|---|---|---|")
    hashes: dict[str, list[str]] = {"exact": [], "float32": []}
    for where in surroundings():
        results = [run(where, arithmetic) for arithmetic in hashes]
        for seen, result in zip(hashes.values(), results, strict=True):
            if not result.startswith("not available"):
                seen.append(result)
        cells = [f"`{result[:16]}`" if " " not in result else result for result in results]
        print(f"| {where.name} | {' | '.join(cells)} |", flush=True)
    for arithmetic, seen in hashes.items():
        print(f"\n{arithmetic}: {len(seen)} runs, {len(set(seen))} distinct")
    return 0 if len(set(hashes["exact"])) == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
