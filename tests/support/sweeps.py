"""A project with remotes, to start sweeps in, and what they print and leave behind."""

import glob
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import yaml

from tests.support.cluster import Cluster
from tests.support.project import Project, new_project

AXES = ["-S", "train.seed=0,1", "-S", "train.activation=sigmoid,tanh"]
POINTS = 4


class Sweeps:
    """A committed project, a Git remote and a DVC remote that have all of it. A training is short.

    Args:
        folder: where to put them.
        without: a stage that the pipeline lacks.

    Attributes:
        project: the leader's clone.
        origin: the Git remote.
        storage: the DVC remote.
    """

    def __init__(self, folder: Path, without: str = ""):
        self.folder = folder
        self.project = new_project(folder)
        pipeline = self.project.folder / "dvc.yaml"
        if without:
            stages = yaml.safe_load(pipeline.read_text())["stages"]
            stages.pop(without)
            pipeline.write_text(yaml.safe_dump({"stages": stages}))
        self.origin = folder / "origin.git"
        self.storage = folder / "storage"
        run = self.project.run
        self.project.set_params(Project.small | {"plot.dpi": 50, "plot.misclassified": 1})
        run("dvc", "repro", "-q")
        run("dvc", "remote", "add", "-q", "--default", "storage", str(self.storage))
        run("dvc", "config", "core.autostage", "false")
        self.project.commit("Run")
        run("git", "clone", "-q", "--bare", ".", str(self.origin))
        run("git", "remote", "add", "origin", str(self.origin))
        run("dvc", "push", "-q")

    def start(self, *words: str, on: Cluster | None = None) -> subprocess.Popen[str]:
        """Start a sweep on this machine or on a cluster, in a process group of its own."""
        environment = self.project.environment | ({"DASK_CONFIG": str(on.config)} if on else {})
        scheduler = ["--scheduler", on.address] if on else []
        return subprocess.Popen(
            [sys.executable, "-m", "tools.sweep", *words, *scheduler], cwd=self.project.folder, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def sweep(self, *words: str) -> tuple[int, str]:
        """Run a sweep on this machine; return its exit code and what it printed."""
        return finish(self.start(*words))

    def run(self, *words: str, on: Cluster | None = None, code: int = 0) -> str:
        """Run a sweep; fail unless it ends with an exit code. Return what it printed."""
        return ended(self.start(*words, on=on), code)

    def pushed(self, prefix: str) -> dict[str, str]:
        """Return the refs in the Git remote of the experiments with this prefix, without it.

        Fail if the DVC remote lacks any of their data, or has it damaged.
        """
        listed = self._git("for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{prefix}-*")
        refs = {ref.rpartition("-")[2]: ref for ref in listed.splitlines()}
        for ref in refs.values():
            lock = yaml.safe_load(self._git("show", f"{ref}:dvc.lock"))
            for out in (out for stage in lock["stages"].values() for out in stage["outs"]):
                if not out["path"].startswith("metrics"):  # these are in Git
                    data = (self.storage / "files" / "md5" / out["md5"][:2] / out["md5"][2:]).read_bytes()
                    assert hashlib.md5(data).hexdigest() == out["md5"].removesuffix(".dir")
        return refs

    def files(self, prefix: str) -> dict[str, list[str]]:
        """Return the hashes and names of these experiments' files in Git, without DVC's notes on its arguments."""
        listed = {name: self._git("ls-tree", "-r", ref).splitlines() for name, ref in self.pushed(prefix).items()}
        return {name: [line for line in lines if "\t.dvc/tmp/" not in line] for name, lines in listed.items()}

    def _git(self, *words: str) -> str:
        return self.project.run("git", "--git-dir", str(self.origin), *words).stdout


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a sweep; return its exit code and what it printed. Fail if that has a traceback."""
    try:
        printed, _ = process.communicate(timeout=900)
    finally:
        process.kill()
    assert "Traceback" not in printed, printed
    return process.returncode, printed


def ended(process: subprocess.Popen[str], code: int = 0) -> str:
    """Wait for a sweep; fail unless it ends with an exit code. Return what it printed."""
    found, printed = finish(process)
    assert found == code, printed
    return printed


def stop_within_10_seconds(process: subprocess.Popen[str]) -> None:
    """Press Ctrl-C, which a terminal sends to a group of processes. Fail if the sweep takes longer to end."""
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    ended(process, 130)
    assert time.monotonic() - began < 10
    time.sleep(1)  # a guard that was told to kill does it


def rows(printed: str) -> list[list[str]]:
    """Return the cells of the table at the end of a sweep: experiment, parameters, state, worker, seconds, dvc.lock."""
    row = r"^(\w+-[0-9a-f]{10})  +(\S.*?)  +(\w+(?: \w+)?)  +(\S*) +(\d+)  +([0-9a-f]{12})? *$"
    return [list(cells) for cells in re.findall(row, printed, re.MULTILINE)]


def states(printed: str) -> list[tuple[str, str]]:
    """Return each experiment and its state."""
    return [(name, state) for name, _, state, *_ in rows(printed)]


def trees(printed: str) -> dict[str, str]:
    """Return the hash of each experiment's dvc.lock, if it has one, without the prefix of its name."""
    return {row[0].rpartition("-")[2]: row[-1] for row in rows(printed) if row[-1]}


def working_below(folder: Path) -> list[str]:
    """Return the processes that work in a clone below a folder."""
    found = [process.info for process in psutil.process_iter(["cwd", "cmdline"]) if process.info["cwd"]]
    return [str(info["cmdline"]) for info in found if str(folder) in info["cwd"] and "/clones/" in info["cwd"]]


def wait_until_none_works_below(folder: Path) -> None:
    ends = time.monotonic() + 60
    while working := working_below(folder):
        assert time.monotonic() < ends, working
        time.sleep(0.1)


def left_behind(folder: Path) -> list[str]:
    """Return these processes, and the clones."""
    return working_below(folder) + found_below(folder, "clones/*")


def found_below(folder: Path, pattern: str) -> list[str]:
    """Return the paths at most four folders below one that end like this. They may vanish meanwhile."""
    return [path for depth in range(5) for path in glob.glob(f"{folder}/{'*/' * depth}{pattern}", include_hidden=True)]


def wait_for_log(process: subprocess.Popen[str], folder: Path, text: str) -> Path:
    """Wait until the log of an experiment below a folder has a text, while a sweep runs; return the log."""
    ends = time.monotonic() + 600
    while time.monotonic() < ends and process.poll() is None:
        for log in map(Path, found_below(folder, "clones/*/log")):
            with suppress(FileNotFoundError):  # the experiment has ended
                if text in log.read_text(errors="replace"):
                    return log
        time.sleep(0.1)
    process.kill()
    raise TimeoutError(f"no log says {text!r}: {finish(process)}")
