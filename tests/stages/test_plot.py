"""The plot stage: each figure is drawn from the files that it belongs to, as the parameters say."""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from mlp.arithmetic import ARITHMETICS
from mlp.distortions import Distortion, Strength
from mlp.layers import ACTIVATIONS
from mlp.network import Network, Preparation
from pipeline.drawing import figures
from pipeline.store.arrays import load_arrays, save_arrays
from pipeline.store.artifacts import load_misclassified, save_model
from tests.support.flow import arguments, run_stage, written
from tests.support.project import ROOT, changed_params
from tests.support.refusals import refusal

MODEL, TRAINING_IMAGES = Path("models/mlp.npz"), Path("data/prepared/train.npz")
MISTAKES = Path("models/misclassified.npz")

NAMES = ("T-shirt/top", "Trouser", "Bag")
IMAGES = np.random.default_rng(1).integers(0, 256, (12, 20), dtype=np.uint8)  # of 4 × 5 pixels
SHOWN = IMAGES[[0, 3, 6, 1, 4, 7, 2, 5, 8]]  # the first three of each class: the labels are 0, 1, 2, 0, 1, 2, …
ACTUAL, PREDICTED = np.random.default_rng(0).integers(0, 3, (2, 60))
WEIGHTS = np.random.default_rng(2).normal(size=(20, 7))
PARAMS = {
    **{f"distort.{key}": 0 for key in ("rotation", "shear", "scaling", "shift", "elastic")},
    "distort.smoothness": 6,
    "plot.misclassified": 4,
    "plot.dpi": 60,
}


def write_params(**distort: object) -> None:
    params = changed_params(PARAMS | {f"distort.{key}": value for key, value in distort.items()})
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def save_network(weights: np.ndarray, classes: tuple[str, ...]) -> None:
    """Write a network of two layers, the first with these weights, and the images that it was trained on."""
    rest, biases = np.zeros((weights.shape[1], len(classes))), [np.zeros(weights.shape[1]), np.zeros(len(classes))]
    preparation = Preparation(0.0, 1 / 255, (4, 5), classes)
    network = Network([weights, rest], biases, ACTIVATIONS["sigmoid"], ARITHMETICS["exact"], preparation)
    save_model(MODEL, network)
    save_arrays(
        TRAINING_IMAGES,
        images=IMAGES,
        labels=np.eye(len(classes), dtype=np.uint8)[np.arange(12) % len(classes)],
        shift=np.float64(0),
        scale=np.float64(1 / 255),
        image_shape=np.array([4, 5]),
        classes=np.array(classes),
    )


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_inputs() -> None:
    """Write what the stage reads: three classes, seven neurons, some forty mistakes."""
    save_network(WEIGHTS, NAMES)
    wrong = np.flatnonzero(ACTUAL != PREDICTED)
    save_arrays(
        MISTAKES,
        images=np.random.default_rng(3).integers(0, 256, (len(wrong), 20), dtype=np.uint8),
        actual=ACTUAL[wrong],
        predicted=PREDICTED[wrong],
        probability=np.full(len(wrong), 0.75),
        place=wrong,
        image_shape=np.array([4, 5]),
        classes=np.array(NAMES),
    )
    write_params(shift=2)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """A folder in which the stage has run, by its command, with settings of the user's that would spoil the figures."""
    folder = tmp_path_factory.mktemp("drawn")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_inputs()
        write_text(Path("matplotlibrc"), "font.family: serif\nfont.size: 20\nsavefig.dpi: 10\nfigure.facecolor: red\n")
        environment = {**os.environ, "MPLBACKEND": "svg", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "stages.plot", *arguments("plot")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


@pytest.fixture
def inputs(drawn, tmp_path, monkeypatch) -> Path:
    """A folder, the current one, with what the stage reads, before it has run."""
    ignored = shutil.ignore_patterns("figures", "metrics", "matplotlibrc")
    monkeypatch.chdir(shutil.copytree(drawn, tmp_path / "inputs", ignore=ignored))
    return tmp_path / "inputs"


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "metrics" / "figures").iterdir()}


def test_figures_are_drawn_from_the_files_they_belong_to(drawn):
    distortion = Distortion((4, 5), Strength(0.0, 0.0, 0.0, 2.0, 0.0, 6.0))
    epochs = [distortion.distort(SHOWN, 0, epoch, 0) for epoch in range(6)]
    figures.use_own_settings()
    expected = {
        "misclassified.png": figures.draw_misclassified(load_misclassified(drawn / MISTAKES), 4),
        "training_images.png": figures.draw_training_images(SHOWN, epochs, (4, 5)),
        "weights.png": figures.draw_weights(WEIGHTS, (4, 5)),
    }
    assert pictures(drawn) == {name: figures.picture(figure, 60) for name, figure in expected.items()}


def test_figures_have_the_resolution_and_are_small_files(drawn):
    for content in pictures(drawn).values():
        assert Image.open(io.BytesIO(content)).info["dpi"] == pytest.approx((60, 60), abs=0.1)
        assert len(content) < 150_000


def test_one_neuron_no_mistake_no_distortion_and_more_classes_than_are_shown(inputs):
    names = tuple(map(str, range(31)))
    save_network(np.zeros((20, 1)), names)
    images = np.random.default_rng(4).integers(0, 256, (31, 20), dtype=np.uint8)
    labels = np.eye(31, dtype=np.uint8)
    save_arrays(TRAINING_IMAGES, **(load_arrays(TRAINING_IMAGES) | {"images": images, "labels": labels}))
    mistakes = load_arrays(MISTAKES)
    rows = {name: mistakes[name][:0] for name in ("images", "actual", "predicted", "probability", "place")}
    save_arrays(MISTAKES, **(mistakes | rows | {"classes": np.array(names)}))
    write_params()
    assert run_stage("plot").exit_code == 0
    expected = figures.picture(figures.draw_training_images(images[:30], [], (4, 5)), 60)
    assert pictures(inputs)["training_images.png"] == expected


@pytest.mark.parametrize("path", [MODEL, TRAINING_IMAGES, MISTAKES], ids=str)
def test_a_file_that_is_missing_is_named(inputs, path):
    path.unlink()
    refusal(run_stage("plot"), path, "dvc repro")
    assert written("plot") == {}


def test_training_images_of_another_preparation_are_refused(inputs):
    save_arrays(TRAINING_IMAGES, **(load_arrays(TRAINING_IMAGES) | {"image_shape": np.array([5, 4])}))
    refusal(run_stage("plot"), MODEL, str(TRAINING_IMAGES), "dvc repro")
    assert written("plot") == {}
