"""A convolution in place of the perceptron, and a project without the folder mlp/divided."""

import runpy
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from mlp.protocol import Preparation
from mlp.regularization import Dropout
from pipeline.program.files import sha256_of
from tests.support.networks import Float64, assert_slopes
from tests.support.project import ROOT, Project, new_project

MODEL = "models/mlp.npz"
OUTPUTS = MODEL, "metrics/train.json", "metrics/validation.json", "metrics/history.csv"
TRAIN = sys.executable, "-m", "stages.train"


def edit(project: Project, name: str, old: str, new: str) -> None:
    path = project.folder / name
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def convolution(tmp_path) -> Project:
    """A project whose network is the convolution, by the steps of the page."""
    project = new_project(tmp_path)
    shutil.copy(ROOT / "docs" / "convolution.py", project.folder / "mlp")
    old, new = "mlp.network import MLP as", "mlp.convolution import Convolution as"
    edit(project, "pipeline/store/artifacts.py", old, new)
    keep = '    keep: Literal["last", "best"]'
    edit(project, "pipeline/settings/params.py", keep, f"    channels: int = _whole(1, 64)\n{keep}")
    values = {"train.weight_init_std": "he", "train.learning_rate": 0.1, "train.iterations": 100}
    project.set_params(project.small | values)
    edit(project, "params.yaml", "  keep: last\n", "  keep: last\n  channels: 4\n")
    project.commit("Another network")
    return project


@pytest.mark.parametrize("dropout", [Dropout(), Dropout(0.2, 0.5)], ids=["", "dropout"])
def test_gradients_of_the_convolution(dropout):
    rng = np.random.default_rng(1)
    network = runpy.run_path(str(ROOT / "docs" / "convolution.py"))["Convolution"]
    settings = SimpleNamespace(arithmetic="exact", seed=0, channels=3, weight_init_std="he")
    network = network.new(settings, Preparation(33.5, 1 / 80, (9, 8), ("a", "b", "c")))
    network.arithmetic = Float64()
    X = rng.integers(0, 256, (5, 72), np.uint8)
    t = np.eye(3, dtype=np.uint8)[rng.integers(0, 3, 5)]
    masks = dropout.masks(network.layer_inputs, 5, 0, 0)
    assert_slopes(network, X, t, masks, 1e-6, 1e-7)


@pytest.mark.slow
def test_a_convolution_runs_through_all_stages_and_has_the_same_bits_everywhere(convolution):
    convolution.dvc("repro")
    convolution.dvc("plots", "show")
    figures = convolution.folder / "metrics" / "figures"
    names = {"misclassified.png", "training_images.png", "weights.png"}
    assert {path.name for path in figures.iterdir()} == names
    model = convolution.folder / MODEL
    expected = sha256_of(model)
    with np.load(model) as file:
        assert file["weights_1"].shape == (25, 4)

    # The package `stages` would set the number of threads
    code = "import runpy; runpy.run_module('stages.train', run_name='__main__')"
    for variables in ({"OPENBLAS_NUM_THREADS": "2"}, {"OPENBLAS_CORETYPE": "Prescott"}):
        model.unlink()
        environment = convolution.environment | {"TRAIN_CHECKPOINTS": ""} | variables
        words = [sys.executable, "-c", code]
        subprocess.run(words, cwd=convolution.folder, env=environment, check=True)
        assert sha256_of(model) == expected

    # After a kill in the middle, the next run continues
    model.unlink()
    code = f"import pipeline.fitting.checkpoint as c; c.INTERVAL = 0.0; {code}"
    words = [sys.executable, "-c", code]
    checkpoints = convolution.folder / "checkpoints"
    convolution.environment["TRAIN_CHECKPOINTS"] = str(checkpoints)
    process = subprocess.Popen(words, cwd=convolution.folder, env=convolution.environment)
    while process.poll() is None and not list(checkpoints.glob("*.npz")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert "Training continues after epoch" in convolution.run(*TRAIN).stderr
    assert sha256_of(model) == expected


@pytest.mark.slow
def test_without_the_folder_divided_one_process_trains_the_same_bytes(tmp_path):
    project = new_project(tmp_path)
    project.environment["TRAIN_PROCESSES"] = "2"
    project.dvc("repro", "preprocess")
    project.run(*TRAIN)
    expected = [sha256_of(project.folder / name) for name in OUTPUTS]
    shutil.rmtree(project.folder / "mlp" / "divided")
    path = project.folder / "pipeline" / "fitting" / "fit.py"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    others = [line for line in lines if "mlp.divided" not in line]
    assert len(others) == len(lines) - 1
    path.write_text("".join(others), encoding="utf-8")
    (project.folder / MODEL).unlink()
    project.run(*TRAIN)
    assert [sha256_of(project.folder / name) for name in OUTPUTS] == expected
