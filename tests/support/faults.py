"""What the fault tests share: how much to do, bounds on memory and time, and a pipeline in two states."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.project import STAGES, Project, start_python

resource = pytest.importorskip("resource", reason="limits and signals are tested where Unix has them")

SCALE = float(os.environ.get("FAULTS_SCALE", "1"))  # how many times the usual number of kills and cases
SEED = int(os.environ.get("FAULTS_SEED", "0"))
OLD = Project.small
NEW = OLD | {"preprocess.scaling": "zscore", "train.seed": 1, "plot.dpi": 51}


def times(number: int) -> int:
    """Return how often to do what is usually done `number` times."""
    return max(1, round(number * SCALE))


@contextmanager
def bounded(megabytes: int = 512) -> Iterator[Callable[[], object]]:
    """Allow the block so much more memory, and five seconds of processor time between calls of the given function."""

    def too_long(number: int, frame: object) -> None:
        raise TimeoutError("one case took more than five seconds of processor time")

    before = resource.getrlimit(resource.RLIMIT_AS)
    sizes = Path("/proc/self/statm")
    if sizes.exists():
        now = int(sizes.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + (megabytes << 20), before[1]))
    handler = signal.signal(signal.SIGPROF, too_long)
    try:
        yield lambda: signal.setitimer(signal.ITIMER_PROF, 5)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


class Pipeline:
    """A small pipeline whose stages can be disturbed one by one: all inputs are new, the disturbed one's outputs old.

    Attributes:
        old: the content of each output by name, from a run with other parameters; of download, whose files are always
            the same, there are none.
        new: what it should become.
        seconds: how long each stage takes.
    """

    def __init__(self, project: Project):
        self.project = project
        self.folder = project.folder
        self.stages = yaml.safe_load((self.folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
        self.old: dict[str, bytes] = {}
        self.new: dict[str, bytes] = {}
        self.seconds: dict[str, float] = {}
        self._lock = b""
        for params in (OLD, NEW):
            project.set_params(params)
            self.old = self.new
            self.new = {}
            for stage in STAGES:
                begun = time.monotonic()
                self.run(stage)
                self.seconds[stage] = time.monotonic() - begun
                self.new |= self.outputs(stage)
        self.old = {name: content for name, content in self.old.items() if not name.startswith("data/raw/")}
        assert not set(self.old.items()) & set(self.new.items())

    def start(self, stage: str, **options: Any) -> subprocess.Popen[str]:
        """Start a stage as DVC would."""
        return start_python(self.project, *self.stages[stage]["cmd"].split()[1:], **options)

    def run(self, stage: str) -> None:
        """Run a stage to its end."""
        process = self.start(stage)
        stderr = process.communicate()[1]
        assert process.returncode == 0, stderr

    def outs(self, stage: str) -> list[Path]:
        """Return the files and folders that dvc.yaml names as outputs."""
        outs = [out for kind in ("outs", "metrics", "plots") for out in self.stages[stage].get(kind, [])]
        return [self.folder / (out if isinstance(out, str) else next(iter(out))) for out in outs]

    def outputs(self, stage: str) -> dict[str, bytes]:
        """Return the content of each output file as it is now, by name."""
        files = [file for out in self.outs(stage) for file in (out.iterdir() if out.is_dir() else [out])]
        whole = [file for file in files if file.is_file() and not file.name.endswith(".part")]
        return {file.relative_to(self.folder).as_posix(): file.read_bytes() for file in whole}

    def parts(self, stage: str) -> set[Path]:
        """Return the temporary files among the outputs of a stage."""
        folders = {out if out.is_dir() else out.parent for out in self.outs(stage)}
        return {part for folder in folders if folder.exists() for part in folder.glob(".*.part")}

    def reset(self, stage: str) -> None:
        """Put the old outputs of `stage` in place."""
        for name in self.outputs(stage):
            (self.folder / name).unlink()
        for name in self.expected(stage):
            if name in self.old:
                (self.folder / name).write_bytes(self.old[name])

    def expected(self, stage: str) -> dict[str, bytes]:
        """Return what the outputs of `stage` should become, by name."""
        outs = [out.relative_to(self.folder).as_posix() for out in self.outs(stage)]
        return {name: content for name, content in self.new.items() if name.startswith(tuple(outs))}

    def lock(self) -> bytes:
        """Return the dvc.lock of this pipeline undisturbed."""
        if not self._lock:
            assert self.new == {name: content for stage in STAGES for name, content in self.outputs(stage).items()}
            self.project.run("dvc", "commit", "--force")
            self._lock = (self.folder / "dvc.lock").read_bytes()
        return self._lock

    def check_nothing_half(self, stage: str) -> int:
        """Fail if an output is neither what it was nor what it should become. Return how many were compared."""
        now = self.outputs(stage)
        expected = self.expected(stage)
        assert now.keys() <= expected.keys()
        for name, content in expected.items():
            assert now.get(name) in (self.old.get(name), content), f"{name} is neither old nor new"
        return len(expected)

    def check_recovery(self, stage: str) -> int:
        """Run `stage` undisturbed. Fail unless its outputs are then right. Return how many were compared."""
        self.run(stage)
        assert self.outputs(stage) == self.expected(stage)
        return len(self.expected(stage))
