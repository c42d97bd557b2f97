"""What the parameters of training cost, and a whole training with them beside other libraries. Writes knobs.md.

python -m benchmarks.knobs
"""

import sys
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from benchmarks.bench import Measurement, doubts, fastest, least_ratio, measure, prepare, ratio
from benchmarks.machine import describe_machine, table
from benchmarks.peers import PROCESSES
from benchmarks.recipes import EPOCHS, KNOBS, ON_DISTORTED, PLAIN, RECIPE, STEPS

HIDDEN = 800
TURN = 2  # epochs
MODULE = "benchmarks.recipes"

RIVAL = "pytorch"
TRAINING_AT_MOST = {"exact": 1.6, "float32": 0.8}  # of PyTorch's time
COMPARED_WITH = dict.fromkeys(KNOBS, PLAIN) | {"distortions": ON_DISTORTED}
# Distortions are a fifth of the training that they are part of
STEP_AT_MOST = {"momentum": 1.10, "`adam`": 1.35, "distortions": 1.25}


def verdict(value: float, bound: float | None) -> list[str]:
    """Return the cells of a bound, and of whether it is kept."""
    return ["", ""] if bound is None else [f"{bound:.2f}", "met" if value <= bound else "missed"]


def training_table(measured: list[Measurement]) -> str:
    """Return the table of whole trainings."""
    rival = fastest(measured)[RIVAL]
    rows = []
    for m in measured:
        value = ratio(m.times, rival.times)
        seconds = sum(m.times) * TURN * m.batches / 1e6
        cells = [f"{seconds:.1f}", f"{value:.2f} ({least_ratio(m.times, rival.times):.2f})"]
        loss = f"{m.losses[-1]:.4f}" if m.losses else ""
        rows.append([RECIPE[m.peer].label, str(m.threads), *cells, *verdict(value, TRAINING_AT_MOST.get(m.peer)), loss])
    header = [f"784-{HIDDEN}-10", "threads", "seconds", "÷ PyTorch", "at most", "", "loss in the last epoch"]
    return table(header, rows)


def steps_table(measured: list[Measurement]) -> str:
    """Return the table of steps, each with one parameter."""
    times = {m.peer: m.times for m in measured}
    rows = []
    for name in KNOBS:
        other = COMPARED_WITH[name]
        value = ratio(times[name], times[other])
        cells = [f"{median(times[name]):.0f}", f"{value:.2f} ({least_ratio(times[name], times[other]):.2f})"]
        rows.append([name, *cells, other, *verdict(value, STEP_AT_MOST.get(name))])
    return table([f"784-{HIDDEN}-10, exact", "µs per step", "ratio", "of", "at most", ""], rows)


def main(
    data: Annotated[Path, typer.Option(help="The prepared training images.")] = Path("data/prepared/train.npz"),
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path("benchmarks/knobs.md"),
    rounds: Annotated[int, typer.Option(min=1, help="Turns that each step has.")] = 11,
    quick: Annotated[bool, typer.Option(help="A few steps of each, to see that all run; no file.")] = False,
) -> None:
    """Measure and print the tables."""
    prepare(data)
    limit, turns = (5_000, 1) if quick else (None, (EPOCHS - 1) // TURN)
    trained = measure(HIDDEN, turns, TURN, data, limit, RECIPE, MODULE)
    stepped = measure(HIDDEN, 1 if quick else rounds, 1, data, limit, STEPS, MODULE)
    text = "\n".join(
        [
            "# The parameters of training\n",
            f"`make bench` writes this file. A whole training: {EPOCHS - 1} epochs of all images in batches of 100,",
            "ReLU, momentum 0.9, a rate that falls linearly, images with other distortions in each epoch",
            "(rotation, shear, scaling, elastic; PyTorch's with `grid_sample`).",
            "Each peer has its own process, and takes two epochs in",
            "every round. Seconds are the sum, ratios the median of the rounds; in brackets, the ratio of the two",
            "fastest rounds. This project trains with",
            f"{PROCESSES} process{'es' * (PROCESSES > 1)}, of one thread each.\n",
            training_table(trained),
            "A step with one parameter more than plain gradient descent, measured in the same way:\n",
            steps_table(stepped),
            *(f"- {key}: {value}" for key, value in describe_machine().items()),
        ]
    )
    print(text)
    learners = [m for m in trained if m.losses]
    if not quick and (wrong := doubts(learners, 0.1)):
        sys.exit("\n".join(f"error: {doubt}" for doubt in wrong))
    if not quick:
        output.write_text(text + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    typer.run(main)
