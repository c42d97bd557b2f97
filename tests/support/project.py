"""A small copy of this repository, in Git and DVC, that takes its data from the sample."""

import gzip
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import ClassVar

import yaml

from pipeline.settings.checked import load_plain_yaml
from pipeline.settings.datasets import SAVED_AS

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "sample"
STAGES = ["download", "preprocess", "train", "evaluate", "plot"]

# Training without anything else; the 25 steps are five epochs of 500 images
PLAIN: dict[str, object] = {
    "train.hidden_sizes": [50],
    "train.activation": "sigmoid",
    "train.weight_init_std": 0.01,
    "train.arithmetic": "exact",
    "train.seed": 0,
    "train.iterations": 25,
    "train.batch_size": 100,
    "train.optimizer": "sgd",
    "train.learning_rate": 1.0,
    "train.schedule": "constant",
    **{f"train.{key}": 0 for key in ("warmup", "momentum", "weight_decay", "max_norm")},
    **{f"train.{key}": 0 for key in ("input_dropout", "hidden_dropout", "patience")},
    "train.label_smoothing": 0,
    "train.nesterov": False,
    "train.keep": "last",
    **{f"distort.{key}": 0 for key in ("rotation", "shear", "scaling", "shift", "elastic")},
    "distort.smoothness": 6,
}


def changed_params(values: dict[str, object]) -> dict:
    """Return the repository's parameters with some replaced; the keys are dotted."""
    params = load_plain_yaml(ROOT / "params.yaml")  # as the stages read it: 1e-3 is a number
    for key, value in values.items():
        section, name = key.split(".")
        assert name in params[section]
        params[section][name] = value
    return params


def sample_datasets() -> dict:
    """Return a datasets.yaml whose `mnist` is the sample."""
    files = {}
    for key, name in SAVED_AS.items():
        content = gzip.decompress((SAMPLE / f"{name}.gz").read_bytes())
        digest = hashlib.sha256(content).hexdigest()
        files[key] = {"name": name, "bytes": len(content), "sha256": digest}
    classes = [str(digit) for digit in range(10)]
    return {"mnist": {"classes": classes, "mirrors": [str(SAMPLE)], "files": files}}


class Project:
    """A copy of this repository, in Git and DVC, that takes its data from the sample."""

    # All parameters, whatever params.yaml says
    small: ClassVar[dict[str, object]] = PLAIN | {
        "download.dataset": "mnist",
        "preprocess.scaling": "minmax",
        "preprocess.validation_size": 100,
        "preprocess.seed": 0,
        "train.iterations": 200,
        "plot.misclassified": 25,
        "plot.dpi": 50,
    }

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = dict(os.environ)

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the project's folder; with `check`, fail with its output if it does."""
        options = {"cwd": self.folder, "env": self.environment, "encoding": "utf-8"}
        result = subprocess.run(command, capture_output=True, **options)
        if check:
            assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}{result.stderr}"
        return result

    def dvc(self, *words: str, check: bool = True) -> str:
        """Run a command of DVC in this process; return what it and its stages printed."""
        from dvc.cli import main

        with chdir(self.folder), captured() as text:
            code = main(list(words))
        if check:
            assert code == 0, f"dvc {' '.join(words)}\n{text[0]}"
        return text[0]

    def set_params(self, values: dict[str, object]) -> None:
        """Write the repository's params.yaml with some values replaced, keys dotted."""
        text = yaml.safe_dump(changed_params(values), sort_keys=False)
        (self.folder / "params.yaml").write_text(text, encoding="utf-8")

    def commit(self, message: str) -> None:
        """Commit every file that Git does not ignore."""
        self.run("git", "add", "--all")
        who = ["-c", "user.name=Somebody", "-c", "user.email=a@example.com"]
        self.run("git", *who, "commit", "-q", "-m", message)


@contextmanager
def captured() -> Iterator[list[str]]:
    """Collect what this process and its children write; it is in the list at the end."""
    text: list[str] = []
    saved = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            stream = os.fdopen(os.dup(file.fileno()), "w", encoding="utf-8", buffering=1)
            with stream, redirect_stdout(stream), redirect_stderr(stream):
                yield text
        finally:
            for number, old in enumerate(saved, start=1):
                os.dup2(old, number)
                os.close(old)
            file.seek(0)
            text.append(file.read())


def new_project(folder: Path) -> Project:
    """Make the small project in `folder`: nothing has run, the data are a folder away."""
    project = Project(folder / "project")
    # A user's new stage may not be committed yet
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(listed, cwd=ROOT, encoding="utf-8").split("\0"):
        # The user's own data
        made = name == "dvc.lock" or name.startswith("metrics/") or name.endswith(".dvc")
        if name and not made and (ROOT / name).is_file():
            (project.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, project.folder / name)
    project.set_params(project.small)
    own = "[core]\n    analytics = false\n    autostage = false\n"  # without the user's remotes
    (project.folder / ".dvc" / "config").write_text(own, encoding="utf-8")
    datasets = yaml.safe_dump(sample_datasets())
    (project.folder / "datasets.yaml").write_text(datasets, encoding="utf-8")
    project.run("git", "init", "-q")
    project.commit("Begin")
    return project
