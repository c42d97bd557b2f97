"""This code beside that of another commit, by turns in one run: a single step, and the train stage as a whole.

python -m benchmarks.against c20a845
"""

import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
import yaml

from benchmarks.bench import HIDDEN, Worker, least_ratio, ratio
from benchmarks.growth import write_params
from benchmarks.machine import ROOT, describe_machine, seconds, table

EPOCHS = 20  # of the train stage
AT_MOST = 1.05
PREPARED = Path("data", "prepared")


def check_out(commit: str, folder: Path) -> Path:
    """Clone a commit into a folder, beside a copy of the prepared images."""
    subprocess.run(["git", "clone", "--quiet", "--no-checkout", str(ROOT), str(folder)], check=True)
    subprocess.run(["git", "checkout", "--quiet", commit], cwd=folder, check=True)
    shutil.copytree(ROOT / PREPARED, folder / PREPARED, dirs_exist_ok=True)
    return folder


def turn_seconds(worker: Worker, epochs: int) -> float:
    """Let a worker take the steps of some epochs."""
    return worker.turn(epochs)["seconds"]


def stage_seconds(root: Path, knobs: dict[str, Any]) -> float:
    """Run the train stage of a checkout, as its dvc.yaml says, and return the seconds of the whole process."""
    write_params(root, root / "params.yaml", **knobs)
    command = shlex.split(yaml.safe_load((root / "dvc.yaml").read_text())["stages"]["train"]["cmd"])
    return seconds([sys.executable, *command[1:]], root)


def take_turns(measure: list[Callable[[], float]], rounds: int) -> list[list[float]]:
    """Return the times of each side; in every other round the second side goes first."""
    times: list[list[float]] = [[] for _ in measure]
    for turn in range(rounds):
        for side in reversed(range(len(measure))) if turn % 2 else range(len(measure)):
            times[side].append(measure[side]())
    return times


def row(label: str, times: list[list[float]], unit: str) -> list[str]:
    """Return a row of the table: the time of each side, and the ratio."""
    value = ratio(*times)
    sides = [f"{median(side):{unit}} ({min(side):{unit}})" for side in times]
    return [label, *sides, f"{value:.2f} ({least_ratio(*times):.2f})", "met" if value <= AT_MOST else "missed"]


def main(
    commit: Annotated[str, typer.Argument(help="The commit to compare with.")],
    rounds: Annotated[int, typer.Option(min=1, help="Turns that each step has.")] = 11,
    runs: Annotated[int, typer.Option(min=1, help="Turns that each train stage has.")] = 3,
) -> None:
    """Compare this checkout, as it is committed, with another commit, and print the table in Markdown."""
    if not (ROOT / PREPARED / "train.npz").exists():
        sys.exit(f"error: {PREPARED}/train.npz: no such file; run `dvc repro preprocess` to make it.")
    known = ["git", "cat-file", "-e", f"{commit}^{{commit}}"]
    if subprocess.run(known, cwd=ROOT, stderr=subprocess.DEVNULL).returncode:
        sys.exit(f"error: {commit} is not a commit of this repository.")
    steps, stages = [], []
    with tempfile.TemporaryDirectory() as folder:
        roots = [check_out(name, Path(folder, side)) for name, side in (("HEAD", "this"), (commit, "other"))]
        for hidden, epochs in HIDDEN.items():
            for arithmetic in ("exact", "float32"):
                label = f"784-{hidden}-10, {arithmetic}"
                print(label, file=sys.stderr)
                workers = [Worker(arithmetic, 1, hidden, ROOT / PREPARED / "train.npz", None, root) for root in roots]
                turns = [partial(turn_seconds, worker, epochs) for worker in workers]
                batches = workers[0].batches
                times = take_turns(turns, rounds)
                for worker in workers:
                    worker.close()
                microseconds = [[1e6 * turn / (epochs * batches) for turn in side] for side in times]
                steps.append(row(f"step, {label}", microseconds, ".0f"))

                knobs = {"hidden_sizes": [hidden], "arithmetic": arithmetic, "iterations": EPOCHS * batches}
                turns = [partial(stage_seconds, root, knobs) for root in roots]
                stages.append(row(f"train stage, {label}", take_turns(turns, runs), ".2f"))
    print(f"Medians of {rounds} rounds of a step, in µs, and of {runs} runs of the train stage, {EPOCHS} epochs, in")
    print("seconds; in brackets the least disturbed rounds.\n")
    print(table(["", "this code", commit, f"ratio, at most {AT_MOST}", ""], steps + stages))
    print("\n".join(f"- {key}: {value}" for key, value in describe_machine().items()))


if __name__ == "__main__":
    typer.run(main)
