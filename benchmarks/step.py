"""Where the time of a training step goes: of each part the median, in microseconds, measured while it trains.

python -m benchmarks.step
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.machine import table
from mlp import step, team, training
from mlp.arithmetic import ARITHMETICS
from mlp.network import init_network
from mlp.team import Team, available_processes
from pipeline.artifacts import load_prepared

BATCH = 100
HIDDEN = 50
EPOCHS = 8

# What is timed, by what it is in the table. Those after a dash are parts of the one above them.
PARTS = {
    "X W₁": (step.Step, "multiply"),
    "– bytes to numbers": (step, "widen"),
    "to the loss and back": (step.Step, "descend"),
    "– from X W₁ to the logits": (step, "forward"),
    "– softmax": (step, "softmax_parts"),
    "– from the loss to X W₁": (step, "backward"),
    "update": (step.Step, "update"),
    "waiting for each other": (Team, "meet"),
}
WHOLE = "**a whole step**"
OF_ALL = {"of all: matrix products": "matmul", "of all: rounding to grids": "grid", "of all: exponentials": "exp"}


def time_calls(owner: object, name: str, label: str, times: dict[str, list[float]]) -> None:
    """Replace a function by itself with a stopwatch, which adds the seconds of each call to the last in `times`."""
    function = getattr(owner, name)

    def timed(*args, **kwargs):
        began = time.perf_counter()
        result = function(*args, **kwargs)
        times[label][-1] += time.perf_counter() - began
        return result

    setattr(owner, name, timed)


def profile(arithmetic: str, processes: int) -> dict[str, float]:
    """Return the microseconds of each part of a step, as the first process has them, by what it is in the table."""
    prepared = load_prepared(Path("data/prepared/train.npz"))
    times: dict[str, list[float]] = {label: [] for label in [*PARTS, WHOLE, *OF_ALL]}
    for label, (owner, name) in PARTS.items():
        time_calls(owner, name, label, times)
    for label, name in OF_ALL.items():
        time_calls(type(ARITHMETICS[arithmetic]), name, label, times)
    time_calls(step.Step, "__call__", WHOLE, times)
    take_step = step.Step.__call__

    def begin_step(*args):
        for seconds in times.values():
            seconds.append(0.0)
        take_step(*args)

    step.Step.__call__ = begin_step
    training.Evaluation.__call__ = lambda self: None  # not part of a step
    training.Evaluation.results = lambda self: (0.0, 0.0, 0.0)
    team.MOST_WAITING = 1.0  # the first process never goes on alone

    sizes = [prepared.split.images.shape[1], HIDDEN, prepared.split.labels.shape[1]]
    source = np.random.PCG64(0)
    network = init_network(sizes, "sigmoid", 0.01, prepared.shift, prepared.scale, arithmetic, source)
    steps = EPOCHS * (len(prepared.split.images) // BATCH)
    for _ in training.train(network, prepared.split, prepared.split, steps, BATCH, 0.1, source, processes):
        pass
    return {label: median(seconds) * 1e6 for label, seconds in times.items()}


def main() -> None:
    """Measure each arithmetic in one process and in two, and print the table in Markdown."""
    if len(sys.argv) > 1:
        arithmetic, processes = sys.argv[1:]
        print(json.dumps(profile(arithmetic, int(processes))))
        return
    columns = {}
    for arithmetic in ARITHMETICS:
        for processes in range(1, available_processes() + 1):
            environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
            command = [sys.executable, "-m", "benchmarks.step", arithmetic, str(processes)]
            done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
            columns[f"{arithmetic}, {processes} process{'es' * (processes > 1)}"] = json.loads(done.stdout)
    rows = [[part, *(f"{column[part]:.0f}" for column in columns.values())] for part in next(iter(columns.values()))]
    print(table(["784-50-10, µs", *columns], rows))


if __name__ == "__main__":
    main()
