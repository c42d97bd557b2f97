"""Where the time of a training step goes: the median of each part, in microseconds, measured while it trains.

python -m benchmarks.step
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from benchmarks.machine import environment, table
from mlp import network, parallel, team, training
from mlp.arithmetic import ARITHMETICS
from mlp.layers import ACTIVATIONS
from mlp.network import init_network
from mlp.optimizers import Optimizer, Schedule
from mlp.parallel import DividedStep
from mlp.team import Team, available_processes
from mlp.training import Method, new_state, train
from pipeline.program.command import command
from pipeline.store.artifacts import load_prepared

BATCH = 100
DATA = Path("data/prepared/train.npz")
HIDDEN = 50
EPOCHS = 8
WHOLE = "**a whole step**"

# What is timed: its name in the table, and where the function is. Names with a dash are parts of the one above them.
PLAIN = {
    WHOLE: (training, "step"),
    "`gradients`": (network, "gradients"),
    "– `forward`": (network, "forward"),
    "`Optimizer.update`": (Optimizer, "update"),
}
DIVIDED = {
    WHOLE: (DividedStep, "__call__"),
    "`multiply`: X W₁": (DividedStep, "multiply"),
    "`forward_backward`: to the loss and back": (DividedStep, "forward_backward"),
    "– `softmax`": (parallel, "softmax"),
    "`update`": (DividedStep, "update"),
    "`meet`: waiting": (Team, "meet"),
}
OF_ALL = {"of all: matrix products": "matmul", "of all: rounding to grids": "grid", "of all: exponentials": "exp"}


def time_calls(owner: object, name: str, label: str, times: dict[str, list[float]]) -> None:
    """Replace a function by itself with a stopwatch, which adds the seconds of each call to the last in `times`."""
    function = getattr(owner, name)

    def timed(*args, **kwargs):
        if label == WHOLE:
            for seconds in times.values():
                seconds.append(0.0)
        began = time.perf_counter()
        result = function(*args, **kwargs)
        times[label][-1] += time.perf_counter() - began
        return result

    setattr(owner, name, timed)


def profile(arithmetic: str, processes: int) -> dict[str, float]:
    """Return the microseconds of each part of a step, as the leader has them, by its name in the table."""
    A = ARITHMETICS[arithmetic]
    parts = PLAIN if processes == 1 else DIVIDED
    parts |= {label: (type(A), name) for label, name in OF_ALL.items()}
    times: dict[str, list[float]] = {label: [0.0] for label in parts}
    for label, (owner, name) in parts.items():
        time_calls(owner, name, label, times)
    team.MOST_WAITING = 1.0  # the leader never goes on alone

    split, preparation = load_prepared(DATA)
    network = init_network((HIDDEN,), ACTIVATIONS["sigmoid"], 0.01, A, preparation, seed=0)
    method = Method(EPOCHS * (len(split.images) // BATCH), BATCH, 0, Optimizer(Schedule(0.1)))
    for _ in train(new_state(network, method), split, method, processes=processes):
        pass
    return {label: median(seconds) * 1e6 for label, seconds in times.items()}


@command
def main(
    one: Annotated[tuple[str, int] | None, typer.Option(help="Only this arithmetic and number of processes.")] = None,
) -> None:
    """Measure each arithmetic in one process and in two, and print the tables in Markdown."""
    if one:
        print(json.dumps(profile(*one)))
        return
    load_prepared(DATA)  # says now what is wrong with it
    for processes in range(1, available_processes() + 1):
        columns = {}
        for arithmetic in ARITHMETICS:
            command = [sys.executable, "-m", "benchmarks.step", "--one", arithmetic, str(processes)]
            one_thread = environment(OPENBLAS_NUM_THREADS="1")
            done = subprocess.run(command, env=one_thread, check=True, stdout=subprocess.PIPE, text=True)
            columns[arithmetic] = json.loads(done.stdout)
        rows = [[part, *(f"{column[part]:.0f}" for column in columns.values())] for part in columns["exact"]]
        print(table([f"784-50-10, µs, {processes} process{'es' * (processes > 1)}", *columns], rows))


if __name__ == "__main__":
    main()
