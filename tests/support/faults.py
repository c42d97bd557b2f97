"""What the fault tests share: how much to do, and a pipeline in two states."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.flow import FLOW, HISTORY, is_beginning, outs, written
from tests.support.project import STAGES, Project, start_python

resource = pytest.importorskip("resource", reason="limits and signals are tested where Unix has them")

SCALE = float(os.environ.get("FAULTS_SCALE", "1"))  # how many times the usual number of kills and cases
SEED = int(os.environ.get("FAULTS_SEED", "0"))
NEW = Project.small | {"preprocess.scaling": "zscore", "train.seed": 1, "plot.dpi": 51}


def times(number: int) -> int:
    """Return how often to do what is usually done `number` times."""
    return max(1, round(number * SCALE))


class Pipeline:
    """A small pipeline whose stages can be disturbed one by one: all inputs are new, the disturbed one's outputs old.

    Attributes:
        old: the content of each output by path, from a run with other parameters; of download, whose files are always
            the same, there are none.
        new: what it should become.
        lock: the `dvc.lock` of the new ones.
    """

    def __init__(self, project: Project):
        """Take a project that has been reproduced."""
        self.project, self.folder = project, project.folder
        self.old = {path: content for stage in STAGES[1:] for path, content in self.outputs(stage).items()}
        project.set_params(NEW)
        project.dvc("repro")
        self.lock = (self.folder / "dvc.lock").read_bytes()
        self.new = {path: content for stage in STAGES for path, content in self.outputs(stage).items()}
        assert not set(self.old.items()) & set(self.new.items())

    def start(self, stage: str) -> subprocess.Popen[str]:
        """Start a stage as DVC would."""
        return start_python(self.project, *FLOW[stage]["cmd"].split()[1:])

    def outputs(self, stage: str) -> dict[str, bytes]:
        """Return the content of each output file as it is now, by path."""
        files = written(stage, self.folder)
        return {path: content for path, content in files.items() if not path.endswith(".part")}

    def expected(self, stage: str) -> dict[str, bytes]:
        """Return what the outputs of `stage` should become, by path."""
        paths = tuple(outs(stage))
        return {path: content for path, content in self.new.items() if path.startswith(paths)}

    def state(self, stage: str) -> dict[Path, tuple[int, int]]:
        """Return length and time of each file in the folders of a stage's outputs, with temporary ones."""
        paths = [self.folder / out for out in outs(stage)]
        folders = {path if path.is_dir() else path.parent for path in paths}
        found = {}
        for path in (path for folder in folders if folder.exists() for path in folder.iterdir()):
            with suppress(FileNotFoundError):  # a temporary file was renamed meanwhile
                if path.is_file():
                    found[path] = (path.stat().st_size, path.stat().st_mtime_ns)
        return found

    def parts(self, stage: str) -> list[Path]:
        """Return the temporary files among the outputs of a stage."""
        return [path for path in self.state(stage) if path.name.endswith(".part")]

    def reset(self, stage: str) -> None:
        """Put the old outputs of `stage` in place."""
        for path in [*self.parts(stage), *(self.folder / path for path in self.outputs(stage))]:
            path.unlink()
        for path in self.expected(stage):
            if path in self.old:
                (self.folder / path).write_bytes(self.old[path])

    def is_whole(self, path: str, content: bytes | None) -> bool:
        """Return whether an output is what it was, or what it should become, or a history that still grows."""
        grows = content and path == HISTORY and is_beginning(content, self.new[path])
        return bool(grows) or content in (self.old.get(path), self.new[path])

    def check_nothing_half(self, stage: str) -> None:
        """Fail unless all outputs are whole, and there are no others."""
        now, expected = self.outputs(stage), self.expected(stage)
        assert now.keys() <= expected.keys()
        assert [path for path in expected if not self.is_whole(path, now.get(path))] == []

    def check_recovery(self, stage: str) -> None:
        """Run `stage` undisturbed. Fail unless its outputs are then right."""
        process = self.start(stage)
        stderr = process.communicate()[1]
        assert process.returncode == 0, stderr
        assert self.outputs(stage) == self.expected(stage)

    def check_repro(self, project: Project) -> None:
        """Fail unless a project with the same parameters has the same lock and outputs, and DVC says so."""
        assert (project.folder / "dvc.lock").read_bytes() == self.lock
        assert "up to date" in project.dvc("status")
        for path, content in self.new.items():
            assert (project.folder / path).read_bytes() == content, path
