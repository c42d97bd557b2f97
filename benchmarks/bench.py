"""Measure this project against its peers: the same work, in turn, in one run. Writes results.md and results.json."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, NamedTuple

import typer

from benchmarks.machine import ROOT, describe_machine, environment, table
from benchmarks.peers import PEERS, PROCESSES, Peer

CORES = 2
HIDDEN = {50: 2, 800: 1}  # neurons of the hidden layer: epochs to a turn
AGREEMENT = 0.05  # every peer's mean loss over the last epoch is this near to their median, relatively
LEARNT = 0.5  # and below this
PAUSE = 0.2  # seconds after each turn, in which the threads of the process that had it fall asleep

TARGETS = [  # hidden neurons, whose time, at most what part of whose
    (50, "exact", 0.75, "jax"),
    (50, "float32", 0.40, "jax"),
    (800, "exact", 1.15, "products64"),
    (800, "float32", 0.75, "jax"),
]


class Measurement(NamedTuple):
    """One peer with one number of threads: microseconds per step of each round, and mean loss of each epoch."""

    peer: str
    threads: int
    version: str
    batches: int  # steps in an epoch
    times: list[float]
    losses: list[float]


class Worker:
    """A peer in a process of its own, which sleeps while another has its turn. `root` has the code that it runs."""

    def __init__(
        self,
        peer: str,
        threads: int,
        hidden: int,
        data: Path,
        limit: int | None,
        root: Path = ROOT,
        module: str = "benchmarks.peers",
    ):
        command = [sys.executable, "-m", module, peer, str(hidden), str(data.resolve()), str(limit or "")]
        settings = environment(OPENBLAS_NUM_THREADS=str(threads), OMP_NUM_THREADS=str(threads))
        self.process = subprocess.Popen(
            command, env=settings, cwd=root, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.peer, self.threads = peer, threads
        about = self._answer()
        self.version, self.batches = about["version"], about["batches"]
        self.losses = self.turn(1)["losses"]  # not timed: it compiles, and warms the caches

    def turn(self, epochs: int) -> dict:
        self.process.stdin.write(f"{epochs}\n")
        self.process.stdin.flush()
        answer = self._answer()
        time.sleep(PAUSE)
        return answer

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"error: {self.peer}: its process ended with code {self.process.wait()}, see above.")
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def measure(
    hidden: int,
    rounds: int,
    epochs: int,
    data: Path,
    limit: int | None,
    peers: Mapping[str, Peer] = PEERS,
    module: str = "benchmarks.peers",
) -> list[Measurement]:
    """Let every peer have one turn in each round."""
    workers = []
    for name, peer in peers.items():
        for threads in peer.threads:
            print(f"784-{hidden}-10: starting {name}, {threads} threads", file=sys.stderr)
            workers.append(Worker(name, threads, hidden, data, limit, module=module))
    measured = [
        Measurement(worker.peer, worker.threads, worker.version, worker.batches, [], worker.losses)
        for worker in workers
    ]
    for turn in range(rounds):
        print(f"784-{hidden}-10: round {turn + 1} of {rounds}", file=sys.stderr)
        pairs = list(zip(workers, measured, strict=True))
        first = turn % len(pairs)  # nobody always follows the same neighbour's heat
        for worker, measurement in pairs[first:] + pairs[:first]:
            answer = worker.turn(epochs)
            measurement.times.append(round(answer["seconds"] * 1e6 / (epochs * worker.batches), 1))
            measurement.losses.extend(answer["losses"])
    for worker in workers:
        worker.close()
    return measured


def fastest(measured: list[Measurement]) -> dict[str, Measurement]:
    """Return of each peer the measurement with the better number of threads."""
    best = {}
    for measurement in measured:
        rival = best.get(measurement.peer)
        if rival is None or median(measurement.times) < median(rival.times):
            best[measurement.peer] = measurement
    return best


def ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the median of the rounds' ratios: what slows a whole round down changes neither of the two."""
    return median(a / b for a, b in zip(one, other, strict=True))


def least_ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the ratio of the two least disturbed rounds, each one's fastest."""
    return min(one) / min(other)


def doubts(measured: list[Measurement], bound: float) -> list[str]:
    """Return what speaks against each peer's having learnt what the others did."""
    learners = [measurement for measurement in measured if measurement.losses]
    middle = median(measurement.losses[-1] for measurement in learners)
    return [
        f"{PEERS[m.peer].label}: its loss is {m.losses[-1]:.4f} at the end, the peers' median {middle:.4f}"
        for m in learners
        if not (abs(m.losses[-1] / middle - 1.0) <= AGREEMENT and m.losses[-1] < min(bound, m.losses[0]))
    ]


def results_table(hidden: int, measured: list[Measurement]) -> str:
    best = fastest(measured)
    header = [f"784-{hidden}-10", "threads", "µs per step", "min–max"]
    header += ["÷ PyTorch", "÷ scikit-learn", "÷ JAX", "÷ bare products"]
    rows = []
    for m in measured:
        floor = PEERS[m.peer].floor
        rivals = [best["pytorch"], best["sklearn"], best["jax"], best[floor]]
        rows.append(
            [PEERS[m.peer].label, str(m.threads), f"{median(m.times):.0f}", f"{min(m.times):.0f}–{max(m.times):.0f}"]
            + [f"{ratio(m.times, r.times):.2f} ({least_ratio(m.times, r.times):.2f})" for r in rivals]
        )
    return table(header, rows)


def targets(results: dict[int, list[Measurement]]) -> list[dict]:
    found = []
    for hidden, peer, bound, rival in TARGETS:
        best = fastest(results[hidden])
        times = best[peer].times, best[rival].times
        value, least = ratio(*times), least_ratio(*times)
        target = {"network": f"784-{hidden}-10", "peer": peer, "rival": rival, "at_most": bound}
        found.append(target | {"measured": round(value, 3), "least": round(least, 3), "met": value <= bound})
    return found


def targets_table(found: list[dict]) -> str:
    rows = [
        [
            f"{target['network']}: {PEERS[target['peer']].label} ÷ {PEERS[target['rival']].label}",
            f"{target['at_most']:.2f}",
            f"{target['measured']:.2f}",
            f"{target['least']:.2f}",
            "met" if target["met"] else "missed",
        ]
        for target in found
    ]
    return table(["", "at most", "median", "least disturbed", ""], rows)


def quietness(results: dict[int, list[Measurement]]) -> str:
    """Say how much the rounds of one peer differ: little on a quiet machine."""
    spreads = [max(m.times) / min(m.times) - 1 for measured in results.values() for m in measured]
    return f"a peer's slowest round took {median(spreads):.0%} longer than its fastest (the median of the peers)"


def report(machine: dict[str, str], results: dict[int, list[Measurement]], found: list[dict]) -> str:
    parts = [
        "# Speed\n",
        "`make bench` writes this file. One step: form a batch of 100 images, forward, loss, backward, update. Each",
        "peer has its own process, and one turn in every round. The table has the median of the rounds and of the",
        "ratios round by round; in brackets, the ratio of the two fastest rounds. PyTorch counts with the better",
        "number of threads. Bare products are the five matrix products of a step and nothing else, in the same number",
        "type. The peers' losses agree. This project trains with",
        f"{PROCESSES} process{'es' * (PROCESSES > 1)}, of one thread each.\n",
    ]
    for hidden, measured in results.items():
        parts.append(results_table(hidden, measured))
    parts += [targets_table(found), *(f"- {key}: {value}" for key, value in machine.items())]
    return "\n".join(parts) + "\n"


def prepare(data: Path) -> None:
    """Check that there are prepared images, and use two cores: the workers inherit that."""
    if not data.exists():
        sys.exit(f"error: {data}: no such file; run `dvc repro preprocess` to make it.")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


def main(
    data: Annotated[Path, typer.Option(help="The prepared training images.")] = Path("data/prepared/train.npz"),
    output: Annotated[Path, typer.Option(help="The folder for results.md and results.json.")] = Path("benchmarks"),
    rounds: Annotated[int, typer.Option(min=1, help="Turns that each peer has.")] = 11,
    quick: Annotated[bool, typer.Option(help="A few steps of each, to see that all run; no file.")] = False,
) -> None:
    """Measure this project against its peers and print the table."""
    prepare(data)
    limit, rounds = (5_000, 1) if quick else (None, rounds)
    results, wrong = {}, []
    for hidden, epochs in HIDDEN.items():
        results[hidden] = measure(hidden, rounds, epochs, data, limit)
        wrong += doubts(results[hidden], float("inf") if quick else LEARNT)
    versions = {PEERS[m.peer].library: m.version for m in results[50]}
    machine = describe_machine() | versions
    machine["quietness"] = quietness(results)
    found = targets(results)
    text = report(machine, results, found)
    print(text)
    if wrong:
        sys.exit("\n".join(f"error: {doubt}" for doubt in wrong))
    if not quick:
        (output / "results.md").write_text(text, encoding="utf-8", newline="\n")
        networks = {f"784-{hidden}-10": [m._asdict() for m in measured] for hidden, measured in results.items()}
        content = {"machine": machine, "targets": found, "microseconds_per_step": networks}
        (output / "results.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    typer.run(main)
