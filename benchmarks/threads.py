"""What the environment's numbers of threads cost the train stage: nothing, if all is well.

python -m benchmarks.threads
"""

import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from benchmarks.bench import ratio
from benchmarks.growth import stage, write_params
from benchmarks.machine import ROOT, describe_machine, seconds, table
from pipeline.program.command import command
from pipeline.store.artifacts import load_prepared

THREADS = [f"{variable}={n}" for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS") for n in (1, 2, 3, 4)]
NETWORKS = [(50, 1100, ["", "Haswell", "Sandybridge", "Nehalem", "Prescott"]), (800, 550, ["", "Prescott"])]
AT_MOST = 1.2


def cases() -> Iterator[tuple[int, int, str, bool]]:
    """Yield each row of the table: neurons, steps, kernel of OpenBLAS ("" for its own choice), whether on one core."""
    for hidden, steps, kernels in NETWORKS:
        for kernel in kernels if platform.machine() == "x86_64" else [""]:
            yield hidden, steps, kernel, False
        yield hidden, steps, "", True


def measure(command: list[str], fixed: dict[str, str], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each round, by what the environment sets; by "" where it sets nothing."""
    times: dict[str, list[float]] = {setting: [] for setting in ["", *THREADS]}
    for _ in range(rounds):
        for setting, found in times.items():
            chosen = dict([setting.split("=")]) if setting else {}
            found.append(seconds(command, **fixed, **chosen))
    return times


@command
def main(rounds: Annotated[int, typer.Option(min=1, help="Times that each setting is run.")] = 3) -> None:
    """Print the table in Markdown."""
    prepared = ROOT / "data" / "prepared"
    load_prepared(prepared / "train.npz")  # says now what is wrong with it
    rows, worst = [], 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [prepared / "train.npz", prepared / "validation.npz"]
        files += [folder / "mlp.npz", folder / "training"]
        for hidden, steps, kernel, one_core in cases():
            label = f"784-{hidden}-10, {steps} steps, {kernel or 'own'} kernel{', one core' * one_core}"
            print(label, file=sys.stderr)
            command = stage("train", files, write_params(folder, hidden_sizes=[hidden], iterations=steps))
            if one_core:
                command = ["taskset", "--cpu-list", str(min(os.sched_getaffinity(0))), *command]
            times = measure(command, {"OPENBLAS_CORETYPE": kernel} if kernel else {}, rounds)
            ratios = [ratio(times[setting], times[""]) for setting in THREADS]
            worst = max(worst, *ratios)
            rows.append([label, f"{median(times['']):.2f}", *(f"{value:.2f}" for value in ratios)])
    header = ["", "unset, s", *(setting.replace("_NUM_THREADS", "").replace("=", " ") for setting in THREADS)]
    print("The train stage: seconds where the environment says nothing, and the ratio to that.", end=" ")
    print(f"Medians of {rounds} runs.\n")
    print(table(header, rows))
    print(f"Largest ratio {worst:.2f}, at most {AT_MOST}: {'met' if worst <= AT_MOST else 'missed'}.\n")
    print("\n".join(f"- {key}: {value}" for key, value in describe_machine().items()))


if __name__ == "__main__":
    main()
