"""What the environment's numbers of threads cost the train stage: nothing, if all is well.

python -m benchmarks.threads
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from benchmarks.growth import ROOT, write_params
from benchmarks.machine import describe_machine, environment, table

THREADS = [f"{variable}={n}" for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS") for n in (1, 2, 3, 4)]
NETWORKS = [(50, 1100, ["", "Haswell", "Sandybridge", "Nehalem", "Prescott"]), (800, 550, ["", "Prescott"])]
AT_MOST = 1.2


def seconds(arguments: list[str], settings: dict[str, str], core: bool) -> float:
    """Run the train stage in an environment that sets nothing else, on one core or on all."""
    pin = ["taskset", "--cpu-list", str(min(os.sched_getaffinity(0)))] if core else []
    command = [*pin, sys.executable, "-m", "stages.train", *arguments]
    began = time.perf_counter()
    subprocess.run(command, cwd=ROOT, env=environment(**settings), check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def main(rounds: Annotated[int, typer.Option(min=1, help="Times that each setting is run.")] = 3) -> None:
    """Print the table in Markdown."""
    prepared = ROOT / "data" / "prepared"
    rows, worst = [], 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [prepared / "train.npz", prepared / "validation.npz"]
        files += [folder / result for result in ("mlp.npz", "train.json", "history.csv")]
        for hidden, steps, kernels in NETWORKS:
            params = write_params(folder, hidden_sizes=[hidden], iterations=steps)
            arguments = [*map(str, files), "--params", str(params)]
            for core in (False, True):
                for kernel in kernels if platform.machine() == "x86_64" and not core else [""]:
                    fixed = {"OPENBLAS_CORETYPE": kernel} if kernel else {}
                    times: dict[str, list[float]] = {setting: [] for setting in ["", *THREADS]}
                    for _ in range(rounds):
                        for setting, found in times.items():
                            chosen = dict([setting.split("=")]) if setting else {}
                            found.append(seconds(arguments, fixed | chosen, core))
                    label = f"784-{hidden}-10, {steps} steps, {kernel or 'own'} kernel{', one core' * core}"
                    ratios = [
                        median(a / b for a, b in zip(times[setting], times[""], strict=True)) for setting in THREADS
                    ]
                    worst = max(worst, *ratios)
                    rows.append([label, f"{median(times['']):.2f}", *(f"{value:.2f}" for value in ratios)])
                    print(label, file=sys.stderr)
    header = ["", "unset, s", *(setting.replace("_NUM_THREADS", "").replace("=", " ") for setting in THREADS)]
    print("The train stage: seconds where the environment says nothing, and the ratio to that.", end=" ")
    print(f"Medians of {rounds} runs.\n")
    print(table(header, rows))
    print(f"Largest ratio {worst:.2f}, at most {AT_MOST}: {'met' if worst <= AT_MOST else 'missed'}.\n")
    print("\n".join(f"- {key}: {value}" for key, value in describe_machine().items()))


if __name__ == "__main__":
    typer.run(main)
