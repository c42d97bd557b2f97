"""What a sweep costs: one experiment step by step, and very many that do nothing. Writes sweep.md.

python -m benchmarks.sweep                # half an hour
python -m benchmarks.sweep --points 20    # a trial; it writes no file
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import IO, Annotated, Any

import typer
import yaml

from benchmarks.machine import ROOT, describe_machine, table
from tools.sweep import repository
from tools.sweep.worker import run_new
from tools.sweep.worker.clone import Clone
from tools.sweep.worker.machine import environment, folder_for_clone

POINTS = 1000
ROUNDS = 5  # experiments; a step's time is their median
STAGE = {"cmd": "cp params.yaml copy.yaml", "params": ["train.seed"], "outs": ["copy.yaml"]}
Costs = list[tuple[str, float, float]]  # steps, with their wall-clock and processor seconds


def timed(function: Callable[[], Any]) -> tuple[float, float]:
    """Call a function; return its wall-clock seconds, and the processor seconds of this process and its children."""

    def processor() -> float:
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    began, before = time.perf_counter(), processor()
    function()
    return time.perf_counter() - began, processor() - before


class TimedClone(Clone):
    """A worker's clone that notes what its commands cost."""

    costs: Costs

    def run(self, *command: str, output: IO[bytes] | None = None) -> int:
        codes: list[int] = []
        cost = timed(lambda: codes.append(super(TimedClone, self).run(*command, output=output)))
        words = 3 if command[:2] == ("dvc", "exp") else 2
        self.costs.append((" ".join(command[:words]), *cost))
        return codes[0]


class Project:
    """This repository with one stage that does nothing, in Git and DVC, with a remote of each.

    Attributes:
        folder: the leader's clone.
        origin: the Git remote.
    """

    def __init__(self, around: Path):
        self.folder, self.origin, self.home = around / "project", around / "origin.git", around / "home"
        tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
        for name in tracked.decode().split("\0"):
            if name and name not in ("dvc.lock", "dvc.yaml") and (ROOT / name).is_file():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.folder / name)
        (self.folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"copy": STAGE}}))
        (self.folder / ".gitignore").write_text("__pycache__/\n/copy.yaml\n")
        self.run("git", "init", "--quiet")
        self.run("dvc", "remote", "add", "--quiet", "--default", "storage", str(around / "storage"))
        self.run("dvc", "repro", "--quiet")
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", "Begin")
        self.run("git", "clone", "--quiet", "--bare", ".", str(self.origin))
        self.run("git", "remote", "add", "origin", str(self.origin))
        self.push()
        self.rev = self.run("git", "rev-parse", "HEAD").strip()

    def run(self, *command: str) -> str:
        """Run a command in the project; return what it prints."""
        done = subprocess.run(
            command, cwd=self.folder, env=environment(self.home, checkpoints=False), check=True, stdout=subprocess.PIPE
        )
        return done.stdout.decode()

    def push(self) -> None:
        """Push all experiments, and what DVC keeps of them."""
        self.run("dvc", "push", "--quiet", "--all-commits", "--run-cache")
        self.run("git", "push", "--quiet", "origin", "refs/exps/*:refs/exps/*")

    def experiment(self, seed: int) -> Costs:
        """Run an experiment as a worker elsewhere does; return what it costs."""
        sweep = {"id": "", "rev": self.rev, "refs": repository.refs_of(self.rev), "origin": str(self.origin)}
        sweep |= {"home": str(self.home), "cache": None}
        with folder_for_clone(self.home) as folder:
            clone = TimedClone(
                folder, environment(self.home, checkpoints=False), [], report=lambda line: None, stopped=lambda: False
            )
            clone.costs = []
            outcome = run_new(clone, f"step-{seed}", [f"train.seed={seed}"], sweep)
        assert outcome["state"] == "done", outcome
        return clone.costs


def steps(project: Project, first_seed: int) -> Costs:
    """Return the median costs of each step of an experiment, and of all steps together."""
    runs = [project.experiment(first_seed + number) for number in range(ROUNDS)]
    costs: Costs = []
    for same in zip(*runs, strict=True):
        costs.append((same[0][0], median(cost[1] for cost in same), median(cost[2] for cost in same)))
    return [*costs, ("all", sum(cost[1] for cost in costs), sum(cost[2] for cost in costs))]


def leader(project: Project, around: Path) -> Costs:
    """Return what is done once in a sweep, or when people look at it."""
    other = around / "other"
    project.run("git", "clone", "--quiet", str(project.origin), str(other))
    python = [sys.executable, "-m"]
    commands = {
        "known experiments: `git ls-remote`": ["git", "ls-remote", str(project.origin), "refs/exps/*"],
        "all of them into another clone: `git fetch`": [
            "git", "-C", str(other), "fetch", "--quiet", "origin", "refs/exps/*:refs/exps/*",
        ],
        "a sweep that has nothing to do": [*python, "tools.sweep", "many", "-S", f"train.seed={seeds(1)}"],
        "`dvc exp list`": [*python, "dvc", "exp", "list"],
        "`dvc exp show --json`": [*python, "dvc", "exp", "show", "--json"],
    }  # fmt: skip
    return [(name, *timed(lambda command=command: project.run(*command))) for name, command in commands.items()]


def scheduler(points: int) -> tuple[float, float]:
    """Return what as many tasks cost that are nothing but Dask's own work, on this machine's workers."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            threads_per_worker=1, memory_limit=0, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as client,
    ):
        client.gather(client.map(abs, range(10), pure=False))  # the workers are there
        return timed(lambda: client.gather(client.map(abs, range(points), pure=False)))


def seeds(points: int) -> str:
    """Return the values of an axis with as many points."""
    return ",".join(map(str, range(points)))


def main(
    points: Annotated[int, typer.Option(min=2, help="Experiments; only the usual number writes a file.")] = POINTS,
) -> None:
    """Measure a sweep's own share of the time, and print tables."""
    with tempfile.TemporaryDirectory() as name:
        around = Path(name)
        project = Project(around)
        few = steps(project, 10_000)
        print("Sweeping ...", file=sys.stderr, flush=True)
        sweep = [sys.executable, "-m", "tools.sweep", "many", "-S", f"train.seed={seeds(points)}"]
        wall, processor = timed(lambda: project.run(*sweep))
        project.push()
        many = steps(project, 20_000)
        once = leader(project, around)
    once.append((f"Dask: {points:,} tasks that do nothing", *scheduler(points)))
    rows = [
        [f"`{step}`" if step != "all" else step, *(f"{cost:.2f}" for cost in (*costs, *more))]
        for (step, *costs), (_, *more) in zip(few, many, strict=True)
    ]
    parts = [
        "# Sweeps\n",
        "`python -m benchmarks.sweep` writes this file. The pipeline has one stage that copies a file, so the time is",
        "that of Git and DVC. The Git remote and the DVC remote are folders on this machine. Other work slows it",
        "down, so compare the processor seconds.\n",
        f"{points:,} experiments on {os.cpu_count()} workers of this machine took {wall / 60:.0f} minutes: "
        f"{3600 * points / wall:,.0f} an hour, {processor / points:.2f} processor seconds each.\n",
        f"One experiment on a worker elsewhere, if the remotes have few experiments, and if they have {points:,}:\n",
        table(["", "few: seconds", "processor seconds", f"{points:,}: seconds", "processor seconds"], rows),
        f"Around a sweep, with {points:,} experiments:\n",
        table(
            ["", "seconds", "processor seconds"], [[step, *(f"{cost:.2f}" for cost in costs)] for step, *costs in once]
        ),
        *(f"- {key}: {value}" for key, value in describe_machine().items()),
    ]
    text = "\n".join(parts) + "\n"
    print(text)
    if points == POINTS:
        Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    typer.run(main)
