"""What a benchmark runs in, and what it ran on."""

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
    """Return this environment without what changes how a BLAS works, such as its kernel and
    threads; and settings.

    A training in it begins at its beginning, even if an earlier one was killed.
    """
    settings = {"TRAIN_CHECKPOINTS": ""} | settings
    prefixes = ("OPENBLAS_", "OMP_", "MKL_", "BLIS_", "GOTO_")
    return {
        name: value for name, value in os.environ.items() if not name.startswith(prefixes)
    } | settings


def seconds(command: list[str], **settings: str) -> float:
    """Run a command in such an environment, and return how long it takes."""
    began = time.perf_counter()
    subprocess.run(
        command, cwd=ROOT, env=environment(**settings), check=True, stderr=subprocess.DEVNULL
    )
    return time.perf_counter() - began


def training(data: Path, folder: Path, params: str = "params.yaml", **changes: Any) -> list[str]:
    """Return the command that trains on prepared `data`, with changes of the section train; it
    writes into `folder`.
    """
    values = load_params(ROOT / params).model_dump(mode="json")
    values["train"] |= changes
    changed = folder / f"{len(list(folder.glob('*.params')))}.params"
    write_json(changed, values)  # JSON is YAML
    files = [data / "train.npz", data / "validation.npz", folder / "mlp.npz"]
    files += [folder / name for name in ("train.json", "validation.json", "history.csv")]
    return [sys.executable, "-m", "stages.train", *map(str, files), "--params", str(changed)]


def describe_machine() -> dict[str, str]:
    """Return what is worth knowing of a measurement: processor, cores, memory, system, Python, and
    the commit.
    """
    cpu, vectors = platform.processor() or platform.machine(), ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        facts = dict(line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
        facts = {key.strip(): value.strip() for key, value in facts.items()}
        cpu = facts.get("model name", cpu)
        flags = facts.get("flags", "").split()
        vectors = next(
            (
                f", {name}"
                for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2"))
                if flag in flags
            ),
            "",
        )
    machine = {
        "processor": f"{cpu} ({platform.machine()}{vectors})",
        "cores": f"{available_cores()} used of {os.cpu_count()}",
    }
    if hasattr(os, "sysconf"):
        machine["memory"] = (
            f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
        )
    machine["system"] = f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}"
    machine["python"] = platform.python_version()
    git = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    machine["commit"] = subprocess.run(git, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return machine


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table whose first column is flush left, the others flush right."""
    rules = ["---", *["---:"] * (len(header) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, rules, *rows))
