"""Real digits, and a small copy of this repository, for the tests."""

import gzip
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import hypothesis
import pytest
import yaml

# Two test processes with two threads each on two cores wait for each other most of the time; the bits are the same.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# A test that wants checkpoints says where.
os.environ["TRAIN_CHECKPOINTS"] = ""

# A shell starts background jobs with Ctrl-C ignored, and every process below inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine takes its time.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "tests" / "sample"


@pytest.fixture(scope="session")
def sample() -> Path:
    """The folder with a few hundred real digits, gzipped."""
    return SAMPLE


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A folder with the sample as the download stage leaves it: four IDX files."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for packed in SAMPLE.glob("*.gz"):
        (folder / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    return folder


@pytest.fixture
def write_params(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes the repository's params.yaml with some values replaced, and returns its path.

    The keys are dotted: `write_params({"train.seed": 1})`.
    """

    def write(values: dict[str, object]) -> Path:
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(changed_params(values), sort_keys=False), encoding="utf-8")
        return path

    return write


def changed_params(values: dict[str, object]) -> dict:
    """Return the repository's parameters with some replaced; the keys are dotted."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for key, value in values.items():
        section, name = key.split(".")
        assert name in params[section]
        params[section][name] = value
    return params


class Project:
    """A copy of this repository, in Git and DVC, that takes its data from the sample."""

    small: ClassVar = {"preprocess.validation_size": 100, "train.iterations": 200, "train.learning_rate": 1.0}

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = os.environ | {
            "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"],
            "GIT_CONFIG_GLOBAL": os.devnull,
            "DVC_NO_ANALYTICS": "1",
            "DVC_GLOBAL_CONFIG_DIR": str(folder.parent / "config"),
            "DVC_SYSTEM_CONFIG_DIR": str(folder.parent / "config"),
            "DVC_SITE_CACHE_DIR": str(folder.parent / "site-cache"),
        }
        self.environment.pop("DATA_MIRROR", None)  # the sample is at its own mirror

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the project's folder; with `check`, fail with its output if it does."""
        result = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, encoding="utf-8"
        )
        if check:
            assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}{result.stderr}"
        return result

    def set_params(self, values: dict[str, object]) -> None:
        """Write the repository's params.yaml with some values replaced, keys dotted."""
        text = yaml.safe_dump(changed_params(values), sort_keys=False)
        (self.folder / "params.yaml").write_text(text, encoding="utf-8")

    def commit(self, message: str) -> None:
        """Commit every file that Git does not ignore."""
        self.run("git", "add", "--all")
        self.run("git", "-c", "user.name=Somebody", "-c", "user.email=a@example.com", "commit", "-q", "-m", message)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A small pipeline ready for `dvc repro`: nothing has run, the data are a folder away."""
    return new_project(tmp_path)


def new_project(folder: Path) -> Project:
    """Make the small pipeline, and what DVC keeps beside it, in `folder`."""
    project = Project(folder / "project")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in tracked.decode().split("\0"):
        made = name == "dvc.lock" or name.startswith("metrics/")
        if name and not made and (ROOT / name).is_file():
            (project.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, project.folder / name)
    project.set_params(project.small)
    (project.folder / "datasets.yaml").write_text(yaml.safe_dump(sample_datasets()), encoding="utf-8")

    project.run("git", "init", "-q")
    project.run("dvc", "config", "core.site_cache_dir", str(folder / "site-cache"), "--local")
    project.commit("Begin")
    return project


def sample_datasets() -> dict:
    """Return a datasets.yaml whose `mnist` is the sample."""
    datasets = yaml.safe_load((ROOT / "datasets.yaml").read_text(encoding="utf-8"))
    mnist = datasets["mnist"]
    mnist["mirrors"] = [str(SAMPLE)]
    for file in mnist["files"].values():
        content = gzip.decompress((SAMPLE / f"{file['name']}.gz").read_bytes())
        file |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return {"mnist": mnist}
