"""What the fault tests share: how much to do, and a pipeline whose stages can be disturbed."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.flow import FLOW, HISTORY, is_beginning, written
from tests.support.project import STAGES, Project, start_python

resource = pytest.importorskip("resource", reason="limits and signals are tested where Unix has them")

SCALE = float(os.environ.get("FAULTS_SCALE", "1"))  # how many times the usual number of kills and cases
SEED = int(os.environ.get("FAULTS_SEED", "0"))


def times(number: int) -> int:
    """Return how often to do what is usually done `number` times."""
    return max(1, round(number * SCALE))


def results(project: Project) -> dict[str, bytes]:
    """Return the lock and all outputs of a project, by path."""
    found = {path: content for stage in STAGES for path, content in written(stage, project.folder).items()}
    return found | {"dvc.lock": (project.folder / "dvc.lock").read_bytes()}


class Pipeline:
    """A small pipeline that has been reproduced. Its stages can be disturbed one by one.

    Attributes:
        expected: the content of each output of a stage, by path.
    """

    def __init__(self, project: Project):
        self.project, self.folder = project, project.folder
        self.expected = {stage: written(stage, self.folder) for stage in STAGES}

    def clear(self, stage: str) -> None:
        """Remove the outputs of a stage, and all temporary files."""
        for path in self.parts() | {self.folder / path for path in self.outputs(stage)}:
            path.unlink()

    def start(self, stage: str) -> subprocess.Popen[str]:
        """Start a stage as DVC would: without its outputs."""
        self.clear(stage)
        return start_python(self.project, *FLOW[stage]["cmd"].split()[1:])

    def outputs(self, stage: str) -> dict[str, bytes]:
        """Return the content of each output of a stage as it is now, by path, without temporary files."""
        return {path: content for path, content in written(stage, self.folder).items() if not path.endswith(".part")}

    def files(self) -> set[Path]:
        """Return all files in the folders of outputs, temporary ones too."""
        return {path for folder in ("data", "models", "metrics") for path in (self.folder / folder).rglob("*")}

    def parts(self) -> set[Path]:
        """Return the temporary files."""
        return {path for path in self.files() if path.name.endswith(".part")}

    def check_nothing_half(self, stage: str) -> None:
        """Fail unless the outputs of a stage that are there are whole, or a history that grew."""
        for path, content in self.outputs(stage).items():
            whole = self.expected[stage][path]
            assert content == whole or (path == HISTORY and is_beginning(content, whole)), path

    def check_recovery(self, stage: str) -> None:
        """Run a stage undisturbed. Fail unless its outputs are then right."""
        process = self.start(stage)
        stderr = process.communicate()[1]
        assert process.returncode == 0, stderr
        assert self.outputs(stage) == self.expected[stage]
