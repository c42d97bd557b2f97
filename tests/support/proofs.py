"""A small project as it is after `dvc repro`, without DVC: data of the sample, a trained model, and
dvc.lock.
"""

import hashlib
from pathlib import Path

import yaml
from typer.testing import CliRunner

from pipeline.program.files import write_json
from stages.train import train
from tests.support.files import save_prepared
from tests.support.networks import digits
from tests.support.project import PLAIN, changed_params
from tools.sweep.combinations import load_changed

DATA = [f"data/prepared/{split}.npz" for split in ("train", "validation", "test")]
MODEL = "models/mlp.npz"


def new_proven_project(folder: Path) -> Path:
    """Make the project in an empty folder, and return the folder.

    The training has 30 epochs of 10 mini-batches.
    """
    for path in ("data/prepared", "models"):
        (folder / path).mkdir(parents=True)
    images, labels = digits("train")
    for name, rows in zip(DATA, (slice(0, 500), slice(500, 600)), strict=False):
        save_prepared(folder / name, images[rows], labels[rows])
    save_prepared(folder / DATA[2], *digits("test"))
    params = changed_params(PLAIN | {"train.batch_size": 50, "train.iterations": 300})
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    train_in_python(folder)
    outs = [
        {"path": path, "md5": hashlib.md5((folder / path).read_bytes()).hexdigest()}
        for path in [*DATA, MODEL]
    ]
    locked = {"params.yaml": {section: params[section] for section in ("distort", "train")}}
    lock = {"schema": "2.0", "stages": {"train": {"params": locked, "outs": outs}}}
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock), encoding="utf-8")
    return folder


def train_in_python(folder: Path, *options: str) -> str:
    """Train in a project as its pipeline does, with some options, and return the model's MD5."""
    paths = [*DATA[:2], MODEL, "train.json", "validation.json", "history.csv"]
    changed = load_changed(folder / "params.yaml", [option for option in options if option != "-S"])
    write_json(folder / "changed.yaml", changed.model_dump(mode="json"))  # JSON is YAML
    words = [*(str(folder / path) for path in paths), "--params", str(folder / "changed.yaml")]
    done = CliRunner().invoke(train, words)
    assert done.exit_code == 0, done.output
    return hashlib.md5((folder / MODEL).read_bytes()).hexdigest()


def project_like(folder: Path, new: Path) -> Path:
    """Return a new project with the data and the parameters of another one."""
    for name in ("data", "params.yaml"):
        (new / name).symlink_to(folder / name)
    (new / "models").mkdir()
    return new
