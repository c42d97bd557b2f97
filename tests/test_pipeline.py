"""The whole pipeline by `dvc repro`, on a few hundred real digits."""

import csv
import json

OUTPUTS = [
    "data/raw/train-images-idx3-ubyte",
    "data/raw/train-labels-idx1-ubyte",
    "data/raw/t10k-images-idx3-ubyte",
    "data/raw/t10k-labels-idx1-ubyte",
    "data/prepared/train.npz",
    "data/prepared/validation.npz",
    "data/prepared/test.npz",
    "data/misclassified.npz",
    "models/mlp.npz",
    "metrics/train.json",
    "metrics/history.csv",
    "metrics/test.json",
    "metrics/classes.json",
    "metrics/confusion.csv",
]


def test_repro_makes_everything_once(project):
    """One long test: each step needs the one before, and DVC takes a second or two to start."""
    project.run("dvc", "repro")
    for name in OUTPUTS:
        assert (project.folder / name).is_file(), name
    figures = sorted((project.folder / "metrics" / "figures").iterdir())
    assert figures
    for figure in figures:
        assert figure.read_bytes().startswith(b"\x89PNG"), figure

    metrics = json.loads((project.folder / "metrics" / "test.json").read_text())
    assert 0.5 < metrics["accuracy"] <= 1, "chance is 0.1"
    history = list(csv.DictReader((project.folder / "metrics" / "history.csv").open()))
    assert len(history) > 10
    confusion = list(csv.reader((project.folder / "metrics" / "confusion.csv").open()))
    assert len(confusion) == 1 + 200, "one line for each test image"

    # Nothing changes without cause
    lock = (project.folder / "dvc.lock").read_bytes()
    again = project.run("dvc", "repro")
    assert again.stdout.count("didn't change, skipping") == 5
    assert "Running" not in again.stdout
    assert (project.folder / "dvc.lock").read_bytes() == lock
    assert "up to date" in project.run("dvc", "status").stdout

    assert "accuracy" in project.run("dvc", "metrics", "show").stdout
    dag = project.run("dvc", "dag", "--dot").stdout
    for arrow in ["download->preprocess", "preprocess->train", "train->evaluate", "evaluate->plot"]:
        assert arrow in dag.replace('"', "").replace(" ", "")

    # A knob turned: what reads it runs again, and only that
    project.set_params(project.small | {"train.hidden_sizes": [20]})
    changed = project.run("dvc", "repro").stdout
    for stage, runs in {"download": False, "preprocess": False, "train": True, "evaluate": True, "plot": True}.items():
        assert (f"Running stage '{stage}'" in changed) == runs, stage
    assert "hidden_sizes" in project.run("dvc", "params", "diff").stdout


def test_bad_parameter_stops_with_one_sentence(project):
    project.set_params(project.small | {"download.dataset": "mnits"})
    result = project.run("dvc", "repro", check=False)
    assert result.returncode != 0
    assert "did you mean mnist?" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
