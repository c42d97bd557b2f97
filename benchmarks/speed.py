"""The time of a step and of a whole training, by this project and its peers, in one run."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.machine import ROOT, describe_machine, environment, table
from benchmarks.peers import PEERS, PROCESSES, Peer
from benchmarks.trainings import EPOCHS, TRAININGS
from pipeline.program.errors import UserError

DATA = Path("data/prepared/train.npz")
ROUNDS = 11  # turns of each peer
HIDDEN = {50: 2, 800: 1}  # neurons of the hidden layer: epochs in a turn
LARGE = 800  # the network of the whole training
TURN = 2  # epochs in a turn of the training
# Each peer's mean loss over the last epoch is this near to their median, relatively
AGREEMENT = 0.05
PAUSE = 0.2  # seconds after each turn, in which the threads of the process that had it fall asleep

# The largest ratios of this project to the bare products, by network; and of its trainings to
# PyTorch. Each is a fifth above what the slower of two quiet machines gave, rounded to 0.2, because
# an AMD EPYC gave 1.43, 1.45, 1.05 and 0.79 where an Intel Xeon gave 2.11, 2.21, 1.50 and 1.16; a
# training's is a third above.
STEP_AT_MOST = {50: {"exact": 2.6, "float32": 2.6}, 800: {"exact": 1.8, "float32": 1.4}}
TRAINING_AT_MOST = {"exact": 2.0, "float32": 1.0}


class Measurement(NamedTuple):
    """A peer with a number of threads.

    Attributes:
        peer: its name.
        threads: the number of threads of its library.
        version: the library's version.
        batches: steps in an epoch.
        times: microseconds per step, of each round.
        losses: mean loss of each epoch; none if the peer tells none.
    """

    peer: str
    threads: int
    version: str
    batches: int
    times: list[float]
    losses: list[float]


class Worker:
    """A peer in a process of its own, which sleeps while another has its turn."""

    def __init__(self, module: str, peer: str, threads: int, hidden: int, limit: int | None):
        command = [sys.executable, "-m", module, peer, str(hidden), str(DATA), str(limit or "")]
        settings = environment(OPENBLAS_NUM_THREADS=str(threads), OMP_NUM_THREADS=str(threads))
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, env=settings, cwd=ROOT, text=True, **pipes)
        self.peer, self.threads = peer, threads
        about = self._answer()
        self.version, self.batches = about["version"], about["batches"]
        self.losses = self.turn(1)["losses"]  # not timed: it compiles, and warms the caches

    def turn(self, epochs: int) -> dict:
        """Train for some epochs. Return their seconds and losses."""
        self.process.stdin.write(f"{epochs}\n")
        self.process.stdin.flush()
        answer = self._answer()
        time.sleep(PAUSE)
        return answer

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            raise UserError(f"{self.peer}: its process ended with code {code}, see above.")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


def measure(
    module: str, peers: Mapping[str, Peer], hidden: int, rounds: int, epochs: int, limit: int | None
) -> list[Measurement]:
    """Let each of a module's peers have one turn of `epochs` in each round.

    Raises:
        UserError: a process ended early, or the peers' losses do not agree.
    """
    workers = []
    for name, peer in peers.items():
        for threads in peer.threads:
            print(f"784-{hidden}-10: starting {name}, {threads} threads", file=sys.stderr)
            workers.append(Worker(module, name, threads, hidden, limit))
    measured = [
        Measurement(worker.peer, worker.threads, worker.version, worker.batches, [], worker.losses)
        for worker in workers
    ]
    for turn in range(rounds):
        print(f"784-{hidden}-10: round {turn + 1} of {rounds}", file=sys.stderr)
        pairs = list(zip(workers, measured, strict=True))
        first = turn % len(pairs)  # no peer always follows the same neighbour's heat
        for worker, measurement in pairs[first:] + pairs[:first]:
            answer = worker.turn(epochs)
            measurement.times.append(round(answer["seconds"] * 1e6 / (epochs * worker.batches), 1))
            measurement.losses.extend(answer["losses"])
    for worker in workers:
        worker.close()
    check_losses(measured)
    return measured


def check_losses(measured: list[Measurement]) -> None:
    """Check that each peer has learnt what the others did.

    Raises:
        UserError: a loss did not fall, or differs from the peers' median.
    """
    learners = [m for m in measured if m.losses]
    middle = median(m.losses[-1] for m in learners)
    wrong = [
        f"{m.peer}: its loss is {m.losses[-1]:.4f} at the end, the peers' median {middle:.4f}"
        for m in learners
        if not (abs(m.losses[-1] / middle - 1.0) <= AGREEMENT and m.losses[-1] < m.losses[0])
    ]
    if wrong:
        raise UserError("\n".join(wrong))


def fastest(measured: list[Measurement]) -> dict[str, Measurement]:
    """Return the measurement of each peer with its better number of threads."""
    best = {}
    for m in measured:
        if m.peer not in best or median(m.times) < median(best[m.peer].times):
            best[m.peer] = m
    return best


def ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the median of the rounds' ratios: a slow round has the same ratio."""
    return median(a / b for a, b in zip(one, other, strict=True))


def ratios(one: Sequence[float], other: Sequence[float]) -> str:
    """Return `ratio`, and in brackets that of the two fastest rounds, the least disturbed ones."""
    return f"{ratio(one, other):.2f} ({min(one) / min(other):.2f})"


def verdict(value: float, bound: float | None) -> list[str]:
    """Return the cells of a limit, and of whether it is met."""
    return ["", ""] if bound is None else [f"{bound:.2f}", "met" if value <= bound else "missed"]


def steps_table(hidden: int, measured: list[Measurement]) -> str:
    """Return the table of a step.

    The limits are ratios to the bare products, in the last column of ratios.
    """
    best = fastest(measured)
    rows = []
    for m in measured:
        peer = PEERS[m.peer]
        floor = best[peer.floor]
        times = [f"{median(m.times):.0f}", f"{min(m.times):.0f}–{max(m.times):.0f}"]
        compared = [ratios(m.times, best[name].times) for name in ("pytorch", "sklearn", "jax")]
        judged = verdict(ratio(m.times, floor.times), STEP_AT_MOST[hidden].get(m.peer))
        compared.append(ratios(m.times, floor.times))
        rows.append([peer.label, str(m.threads), *times, *compared, *judged])
    header = [f"784-{hidden}-10", "threads", "µs per step", "min–max"]
    header += ["÷ PyTorch", "÷ scikit-learn", "÷ JAX", "÷ bare products", "at most", ""]
    return table(header, rows)


def trainings_table(measured: list[Measurement]) -> str:
    """Return the table of whole trainings. The limits are ratios to PyTorch."""
    rival = fastest(measured)["pytorch"]
    rows = []
    for m in measured:
        seconds = sum(m.times) * TURN * m.batches / 1e6
        judged = verdict(ratio(m.times, rival.times), TRAINING_AT_MOST.get(m.peer))
        loss = f"{m.losses[-1]:.4f}" if m.losses else ""
        cells = [f"{seconds:.1f}", ratios(m.times, rival.times)]
        rows.append([TRAININGS[m.peer].label, str(m.threads), *cells, *judged, loss])
    header = [f"784-{LARGE}-10", "threads", "seconds", "÷ PyTorch", "at most", ""]
    return table([*header, "loss in the last epoch"], rows)


def missed(steps: Mapping[int, list[Measurement]], trained: list[Measurement]) -> list[str]:
    """Return a sentence for each limit that is missed."""
    found = []
    for hidden, measured in steps.items():
        best = fastest(measured)
        for name, bound in STEP_AT_MOST[hidden].items():
            value = ratio(best[name].times, best[PEERS[name].floor].times)
            if value > bound:
                compared = f"{value:.2f} times the bare products; at most {bound:.2f}."
                found.append(f"784-{hidden}-10, {name}: {compared}")
    best = fastest(trained)
    for name, bound in TRAINING_AT_MOST.items():
        value = ratio(best[name].times, best["pytorch"].times)
        if value > bound:
            found.append(f"whole training, {name}: {value:.2f} times PyTorch; at most {bound:.2f}.")
    return found


def page(
    steps: Mapping[int, list[Measurement]], trained: list[Measurement], machine: Mapping[str, str]
) -> str:
    """Return the page with all tables."""
    steps_tables = [steps_table(hidden, measured) for hidden, measured in steps.items()]
    facts = [f"- {key}: {value}" for key, value in machine.items()]
    of_steps = f"""\
# Speed

`make bench` writes this file. Each peer has its own process, and one turn in every round. Ratios
are the median of the rounds' ratios; in brackets, the ratio of the two fastest rounds. A peer
counts with its better number of threads. Processes of this project: at most {PROCESSES}, of one
thread each.

A step: form a batch of 100 images, forward, loss, backward, update. Bare products are the five
matrix products of a step and nothing else, in the same number type: the limits are ratios to them.
The peers' losses agree within {AGREEMENT:.0%}.
"""
    of_trainings = f"""\
A whole training: {EPOCHS - 1} epochs of all images in batches of 100, ReLU, momentum 0.9, a rate
that falls linearly, images with other distortions in each epoch (rotation, shear, scaling, elastic;
PyTorch's by `grid_sample`, JAX's by `map_coordinates`). The limits are ratios to PyTorch.
"""
    parts = [of_steps, *steps_tables, of_trainings, trainings_table(trained), *facts, ""]
    return "\n".join(parts)


def report(quick: bool) -> tuple[str, list[str]]:
    """Measure. Return the page, and a sentence for each limit that is missed."""
    limit = 5_000 if quick else None
    rounds, turns = (1, 1) if quick else (ROUNDS, (EPOCHS - 1) // TURN)
    steps = {
        hidden: measure("benchmarks.peers", PEERS, hidden, rounds, epochs, limit)
        for hidden, epochs in HIDDEN.items()
    }
    trained = measure("benchmarks.trainings", TRAININGS, LARGE, turns, TURN, limit)
    versions = {PEERS[m.peer].library: m.version for m in steps[50]}
    return page(steps, trained, describe_machine() | versions), missed(steps, trained)
