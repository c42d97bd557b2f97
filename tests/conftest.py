"""The environment of all tests, real digits, and a small copy of this repository."""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

import hypothesis
import pytest
import yaml
from filelock import FileLock

from tests.support.project import Project, changed_params, new_project

# Test processes with two threads each wait for each other most of the time; the bits are the same.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# A test that wants checkpoints, or a mirror, says where.
os.environ["TRAIN_CHECKPOINTS"] = ""
os.environ.pop("DATA_MIRROR", None)

# Stages run in this Python; Git and DVC read and write nothing of the user's.
os.environ["PATH"] = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
os.environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "DVC_NO_ANALYTICS": "1"}
DVC_FOLDERS = tempfile.TemporaryDirectory(prefix="dvc-")
for variable in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR"):
    os.environ[variable] = str(Path(DVC_FOLDERS.name) / variable.lower())

# A shell starts background jobs with Ctrl-C ignored, and every process below inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine takes its time.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take minutes: at the end, one process would work alone."""
    items.sort(
        key=lambda item: (
            item.path.stem not in ("test_make_it_yours", "test_sweep_faults", "test_tour")
        )
    )


def _end_of_time(*_: object) -> None:
    raise TimeoutError("the test has run for too long")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """End a test that waits for ever; it fails, and the next one runs."""
    if not hasattr(signal, "SIGALRM"):  # on Windows
        return (yield)
    signal.signal(signal.SIGALRM, _end_of_time)
    signal.alarm(3600 if item.get_closest_marker("slow") else 300)  # seconds, on a busy machine
    try:
        return (yield)
    finally:
        signal.alarm(0)


@pytest.fixture
def write_params(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes the repository's params.yaml with some values replaced; the keys are
    dotted.
    """

    def write(values: dict[str, object]) -> Path:
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(changed_params(values), sort_keys=False), encoding="utf-8")
        return path

    return write


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A small pipeline ready for `dvc repro`: nothing has run, the data are a folder away."""
    return new_project(tmp_path)


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The small pipeline after `dvc repro`, committed: made by the first test process that needs
    it. To read only.
    """
    base = tmp_path_factory.getbasetemp()
    # By all test processes of this run
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "reproduced"
    with FileLock(shared / "reproduced.lock"):
        if not folder.exists():
            project = new_project(shared / "making")
            project.dvc("repro")
            project.commit("Results")
            (shared / "making").rename(folder)
    return Project(folder / "project")


@pytest.fixture
def project_with_results(reproduced: Project, tmp_path: Path) -> Project:
    """A copy of the small pipeline after `dvc repro`, to change."""
    shutil.copytree(reproduced.folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")
