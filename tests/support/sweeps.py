"""A project with remotes, to start sweeps in, and what they print and leave behind."""

import glob
import hashlib
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import yaml

from tests.support.cluster import Cluster
from tests.support.project import Project, new_project


class Sweeps:
    """A committed project, a Git remote and a DVC remote that have all of it. A training is short.

    Attributes:
        project: the leader's clone.
        origin: the Git remote.
        storage: the DVC remote.
    """

    def __init__(self, folder: Path):
        self.project = new_project(folder)
        self.origin = folder / "origin.git"
        self.storage = folder / "storage"
        project, run = self.project, self.project.run
        pipeline = project.folder / "dvc.yaml"
        stages = yaml.safe_load(pipeline.read_text())["stages"]
        del stages["plot"]  # it would take as long as all other stages
        pipeline.write_text(yaml.safe_dump({"stages": stages}))
        project.set_params(Project.small | {"train.activation": "sigmoid", "train.seed": 7})
        project.dvc("repro", "-q")
        project.dvc("remote", "add", "-q", "--default", "storage", str(self.storage))
        project.dvc("config", "core.autostage", "false")
        project.commit("Run")
        run("git", "clone", "-q", "--bare", ".", str(self.origin))
        run("git", "remote", "add", "origin", str(self.origin))
        project.dvc("push", "-q")

    def start(self, *words: str, on: Cluster | None = None) -> subprocess.Popen[str]:
        """Start a sweep on this machine or on a cluster, in a process group of its own."""
        environment = self.project.environment | ({"DASK_CONFIG": str(on.config)} if on else {})
        scheduler = ["--scheduler", on.address] if on else []
        return subprocess.Popen(
            [sys.executable, "-m", "tools.sweep", *words, *scheduler],
                cwd=self.project.folder, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def run(self, *words: str, on: Cluster | None = None, code: int = 0) -> str:
        """Run a sweep; fail unless it ends with an exit code. Return what it printed."""
        return ended(self.start(*words, on=on), code)

    def files(self, prefix: str) -> dict[str, list[str]]:
        """Return hashes and names of the files of experiments. Both remotes must have them."""
        found = {}
        names = f"refs/exps/*/*/{prefix}-*"
        for ref in self._git("for-each-ref", "--format=%(refname)", names).splitlines():
            lock = yaml.safe_load(self._git("show", f"{ref}:dvc.lock"))
            for out in (out for stage in lock["stages"].values() for out in stage["outs"]):
                if not out["path"].startswith("metrics"):  # these are in Git
                    md5 = out["md5"]
                    data = (self.storage / "files" / "md5" / md5[:2] / md5[2:]).read_bytes()
                    assert hashlib.md5(data).hexdigest() == md5.removesuffix(".dir")
            lines = self._git("ls-tree", "-r", ref).splitlines()
            # DVC's arguments
            found[ref.rpartition("-")[2]] = [line for line in lines if "\t.dvc/tmp/" not in line]
        return found

    def _git(self, *words: str) -> str:
        return self.project.run("git", "--git-dir", str(self.origin), *words).stdout


def ended(process: subprocess.Popen[str], *codes: int) -> str:
    """Wait for a sweep; return what it printed. Fail if that has a traceback, or another code."""
    try:
        printed, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    assert "Traceback" not in printed, printed
    assert not codes or process.returncode in codes, printed
    return printed


def rows(printed: str) -> list[list[str]]:
    """Return the cells of a sweep's table: name, parameters, state, worker, seconds, dvc.lock."""
    row = r"^(\w+-[0-9a-f]{10})  +(\S.*?)  +(\w+(?: \w+)?)  +(\S*) +(\d+)  +([0-9a-f]{12})? *$"
    return [list(cells) for cells in re.findall(row, printed, re.MULTILINE)]


def states(printed: str) -> list[str]:
    """Return the state of each experiment."""
    return [state for _, _, state, *_ in rows(printed)]


def trees(printed: str) -> dict[str, str]:
    """Return the hash of each experiment's dvc.lock, if it has one, without its name's prefix."""
    return {row[0].rpartition("-")[2]: row[-1] for row in rows(printed) if row[-1]}


def wait_until_none_works(folder: Path) -> None:
    """Wait until no process works in a clone below a folder, and the workers have ended."""

    def in_clone(where: str) -> bool:
        return str(folder) in where and "/clones/" in where

    def owners() -> list[int]:
        return [int(Path(clone).name.partition("-")[0]) for clone in clones_below(folder)]

    ends = time.monotonic() + 120
    while (
        working := [one for one in psutil.process_iter(["cwd"]) if in_clone(one.info["cwd"] or "")]
    ) or any(map(psutil.pid_exists, owners())):
        assert time.monotonic() < ends, (working, owners())
        time.sleep(0.1)


def clones_below(folder: Path, pattern: str = "") -> list[str]:
    """Return the clones, or files in them, at most four folders below one. They may vanish."""
    places = (f"{glob.escape(str(folder))}/{'*/' * depth}clones/*{pattern}" for depth in range(5))
    return [path for place in places for path in glob.glob(place, include_hidden=True)]


def wait_for_log(process: subprocess.Popen[str], folder: Path, text: str) -> None:
    """Wait until the log of an experiment below a folder has a text, while a sweep runs."""
    ends = time.monotonic() + 300
    while time.monotonic() < ends and process.poll() is None:
        for log in map(Path, clones_below(folder, "/log")):
            with suppress(FileNotFoundError):  # the experiment has ended
                if text in log.read_text(errors="replace"):
                    return
        time.sleep(0.1)
    process.kill()
    raise TimeoutError(f"no log says {text!r}: {ended(process)}")
