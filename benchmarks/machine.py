"""What a benchmark runs in, and what it ran on."""

import functools
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.program.files import write_json
from pipeline.settings.params import load_params

ROOT = Path(__file__).resolve().parent.parent


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment(**settings: str) -> dict[str, str]:
    """Return this environment without settings of a BLAS, and with `settings`.

    A training in it begins at its beginning, even if an earlier one was killed.
    """
    prefixes = ("OPENBLAS_", "OMP_", "MKL_", "BLIS_", "GOTO_")
    kept = [name for name in os.environ if not name.startswith(prefixes)]
    return {name: os.environ[name] for name in kept} | {"TRAIN_CHECKPOINTS": ""} | settings


def seconds(command: list[str], **settings: str) -> float:
    """Run a command in such an environment, and return how long it takes."""
    began, variables = time.perf_counter(), environment(**settings)
    subprocess.run(command, cwd=ROOT, env=variables, check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def training(data: Path, folder: Path, params: str = "params.yaml", **changes: Any) -> list[str]:
    """Return the command that trains on `data`, with changes of `train`, and writes to `folder`."""
    values = load_params(ROOT / params).model_dump(mode="json")
    values["train"] |= changes
    changed = folder / f"{len(list(folder.glob('*.params')))}.params"
    write_json(changed, values)  # JSON is YAML
    files = [data / "train.npz", data / "validation.npz", folder / "mlp.npz"]
    files += [folder / name for name in ("train.json", "validation.json", "history.csv")]
    return [sys.executable, "-m", "stages.train", *map(str, files), "--params", str(changed)]


@functools.cache  # the first page that is written changes the folder
def describe_machine() -> dict[str, str]:
    """Return processor, cores, memory, system, Python and commit, for a page of measurements."""
    cpu, vectors = platform.processor() or platform.machine(), ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        facts = dict(line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
        facts = {key.strip(): value.strip() for key, value in facts.items()}
        cpu = facts.get("model name", cpu)
        flags = facts.get("flags", "").split()
        known = (("avx512f", ", AVX-512"), ("avx2", ", AVX2"))
        vectors = next((name for flag, name in known if flag in flags), "")
    machine = {
        "processor": f"{cpu} ({platform.machine()}{vectors})",
        "cores": f"{available_cores()} used of {os.cpu_count()}",
    }
    if hasattr(os, "sysconf"):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        machine["memory"] = f"{memory / 2**30:.0f} GiB"
    machine["system"] = f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}"
    machine["python"] = platform.python_version()
    git = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    machine["commit"] = subprocess.run(git, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return machine


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table whose first column is flush left, the others flush right."""
    rules = ["---", *["---:"] * (len(header) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, rules, *rows))
