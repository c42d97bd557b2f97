"""The plot stage: each figure is drawn from the files that it belongs to, as the parameters say."""

import io
import os
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
from mlp.network import MLP
from mlp.protocol import Preparation
from pipeline.drawing import figures
from pipeline.store.arrays import save_arrays
from pipeline.store.artifacts import load_misclassified, save_model
from tests.support.files import save_prepared
from tests.support.flow import arguments, by_name, make
from tests.support.project import PLAIN, ROOT, changed_params

MODEL, TRAINING_IMAGES = Path("models/mlp.npz"), Path("data/prepared/train.npz")
MISTAKES = Path("models/misclassified.npz")

# Images of 4 × 5 pixels, of three classes one after the other
SHAPE, NAMES = (4, 5), ("T-shirt/top", "Trouser", "Bag")
IMAGES = np.random.default_rng(1).integers(0, 256, (12, 20), dtype=np.uint8)
SHOWN = IMAGES[[0, 3, 6, 1, 4, 7, 2, 5, 8]]  # the first three of each class
WEIGHTS = np.random.default_rng(2).normal(size=(20, 7))
PARAMS = PLAIN | {"plot.misclassified": 4, "plot.dpi": 60}


def write_inputs(
    names: tuple[str, ...], images: np.ndarray, weights: np.ndarray, wrong: int, shift: int
) -> None:
    """Write a network of two layers, the images it was trained on, so many mistakes."""
    params = yaml.safe_dump(changed_params(PARAMS | {"distort.shift": shift}))
    Path("params.yaml").write_text(params, encoding="utf-8")
    n, neurons = len(names), weights.shape[1]
    layers = [weights, np.zeros((neurons, n))], [np.zeros(neurons), np.zeros(n)]
    preparation = Preparation(0.0, 1 / 255, SHAPE, names)
    save_model(MODEL, MLP(*layers, ACTIVATIONS["sigmoid"], ARITHMETICS["exact"], preparation))
    labels = np.eye(n, dtype=np.uint8)[np.arange(len(images)) % n]
    description = {"image_shape": np.array(SHAPE, np.int64), "classes": np.array(names)}
    save_prepared(TRAINING_IMAGES, images, labels, **description)
    actual = np.arange(wrong) % n
    save_arrays(
        MISTAKES,
        images=np.random.default_rng(3).integers(0, 256, (wrong, 20), dtype=np.uint8),
        actual=actual,
        predicted=(actual + 1) % n,
        probability=np.full(wrong, 0.75),
        place=np.arange(wrong),
        **description,
    )


def test_figures_are_drawn_from_the_files_they_belong_to(tmp_path, monkeypatch):
    """The stage runs by its command, with settings of the user's that would spoil the figures."""
    monkeypatch.chdir(tmp_path)
    write_inputs(NAMES, IMAGES, WEIGHTS, wrong=40, shift=2)
    own = "font.family: serif\nfont.size: 20\nsavefig.dpi: 10\nfigure.facecolor: red\n"
    Path("matplotlibrc").write_text(own, encoding="utf-8")
    environment = {**os.environ, "MPLBACKEND": "svg", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "stages.plot", *arguments("plot")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    distortion = Distortion(SHAPE, Strength(0.0, 0.0, 0.0, 2.0, 0.0, 6.0))
    epochs = [distortion.distort(SHOWN, 0, epoch, 0) for epoch in range(6)]
    figures.use_own_settings()
    expected = {
        "misclassified.png": figures.draw_misclassified(load_misclassified(MISTAKES), 4),
        "training_images.png": figures.draw_training_images(
            SHOWN, epochs, SHAPE, [name for name in NAMES for _ in range(3)]
        ),
        "weights.png": figures.draw_weights(WEIGHTS, SHAPE),
    }
    for name, figure in expected.items():
        content = by_name("plot")[name]
        assert content == figures.picture(figure, 60)
        assert Image.open(io.BytesIO(content)).info["dpi"] == pytest.approx((60, 60), abs=0.1)


def test_one_neuron_no_mistake_no_distortion_and_more_classes_than_are_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(4).integers(0, 256, (31, 20), dtype=np.uint8)
    names = [str(number) for number in range(31)]
    write_inputs(tuple(names), images, np.zeros((20, 1)), wrong=0, shift=0)
    figure = figures.draw_training_images(images[:30], [], SHAPE, names[:30])
    expected = figures.picture(figure, 60)
    assert make("plot")["metrics/figures/training_images.png"] == expected
