"""The evaluate stage: its metrics against a count of one's own, and its refusals."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import textbook
from mlp.arithmetic import ARITHMETICS
from mlp.layers import ACTIVATIONS
from mlp.network import MLP
from mlp.protocol import Preparation
from pipeline.evaluation import evaluation
from pipeline.store.arrays import load_arrays
from pipeline.store.artifacts import load_model, save_model, save_prepared
from tests.support.flow import make, refused, run_stage
from tests.support.networks import MINMAX, digits, new_network, take_step

MODEL, TEST = Path("models/mlp.npz"), Path("data/prepared/test.npz")
CLASSES = tuple("0123456789")


@pytest.fixture(scope="module", params=["exact", "float32"])
def prepared(request, tmp_path_factory) -> Path:
    """A folder with a half-trained network and the 200 test images of the sample."""
    folder = tmp_path_factory.mktemp(request.param)
    network = new_network(request.param, hidden=(20,))
    for _ in range(40):
        take_step(network, *digits("train"), 1.0)
    save_model(folder / MODEL, network)
    save_prepared(folder / TEST, *digits("test"), MINMAX)
    return folder


@pytest.fixture
def folder(prepared, tmp_path, monkeypatch) -> Path:
    """A copy of that folder, and the current one."""
    monkeypatch.chdir(shutil.copytree(prepared, tmp_path / "copy"))
    return tmp_path / "copy"


def test_metrics_agree_with_a_count_of_ones_own(folder):
    made, network, (images, labels) = make("evaluate"), load_model(MODEL), digits("test")
    weights = [W.astype(np.float64) for W in network.weights]
    biases = [b.astype(np.float64) for b in network.biases]
    y = textbook.forward(weights, biases, images / 255)[1]
    pairs = list(zip(labels.argmax(axis=1).tolist(), y.argmax(axis=1).tolist(), strict=True))
    right = [actual == predicted for actual, predicted in pairs].count(True)
    assert 60 < right < 195  # both right and wrong ones are looked at here

    by_class = json.loads(made["metrics/classes.json"])
    assert tuple(found["class"] for found in by_class) == CLASSES
    for found in by_class:
        number = int(found["class"])
        true = pairs.count((number, number))
        actual, predicted = (column.count(number) for column in zip(*pairs, strict=True))
        assert found["images"] == actual
        assert found["precision"] == (true / predicted if predicted else 0)
        assert found["recall"] == true / actual
        assert found["f1"] == pytest.approx(2 * true / (predicted + actual))
    macro_f1 = pytest.approx(sum(found["f1"] for found in by_class) / len(CLASSES))
    loss = pytest.approx(-np.log(y[labels == 1]).mean(), rel=1e-4)
    expected = {"accuracy": right / 200, "loss": loss, "macro_f1": macro_f1}
    assert json.loads(made["metrics/test.json"]) == expected
    assert macro_f1 != right / 200

    lines = ["actual,predicted", *(f"{actual},{predicted}" for actual, predicted in pairs)]
    assert made["metrics/confusion.csv"] == "".join(f"{line}\n" for line in lines).encode()
    # Line ends of Unix, on every system
    assert b"\r" not in made["metrics/test.json"] + made["metrics/classes.json"]

    found = load_arrays(Path("models/misclassified.npz"))
    index = found["place"]
    mistakes = [place for place, (actual, found) in enumerate(pairs) if actual != found]
    assert sorted(index.tolist()) == mistakes
    np.testing.assert_array_equal(found["images"], images[index])
    np.testing.assert_array_equal(found["actual"], labels[index].argmax(axis=1))
    np.testing.assert_array_equal(found["predicted"], y[index].argmax(axis=1))
    np.testing.assert_allclose(found["probability"], y[index].max(axis=1), rtol=1e-4)
    assert (np.diff(found["probability"]) <= 0).all(), "the most confident mistake is first"
    assert found["image_shape"].tolist() == [28, 28]
    assert tuple(found["classes"].tolist()) == CLASSES


@pytest.mark.parametrize("arithmetic", ARITHMETICS.values())
@pytest.mark.parametrize("right", [True, False])
def test_network_that_errs_in_nothing_and_one_that_errs_in_everything(
    tmp_path, monkeypatch, arithmetic, right
):
    """Equally probable mistakes keep the images' order. The loss takes no logarithm of 0."""
    monkeypatch.chdir(tmp_path)
    preparation = Preparation(0.0, 1.0, (1, 1), ("dark", "bright"))
    # With the second one, the network is less sure of bright images
    bias = 255.0 if right else 509.0
    layer = [np.array([[-2, 2]], arithmetic.dtype)], [np.array([bias, -bias], arithmetic.dtype)]
    save_model(MODEL, MLP(*layer, ACTIVATIONS["relu"], arithmetic, preparation))
    bright = np.arange(300) % 2
    images = (bright[:, np.newaxis] * 255).astype(np.uint8)
    labels = np.eye(2, dtype=np.uint8)[bright if right else 1 - bright]
    save_prepared(TEST, images, labels, preparation)
    metrics = json.loads(make("evaluate")["metrics/test.json"])
    places = load_arrays(Path("models/misclassified.npz"))["place"]
    assert places.tolist() == ([] if right else [*range(0, 300, 2), *range(1, 300, 2)])
    if right:
        assert metrics == {"accuracy": 1.0, "loss": 0.0, "macro_f1": 1.0}
        assert math.copysign(1, metrics["loss"]) == 1  # "-0.0" would puzzle people
    else:
        loss = pytest.approx(510 + math.log1p(math.exp(-2)) / 2)
        assert metrics == {"accuracy": 0.0, "loss": loss, "macro_f1": 0.0}


def test_test_images_that_were_prepared_otherwise_are_refused(folder):
    save_prepared(TEST, *digits("test"), replace(MINMAX, scale=MINMAX.scale * 1.001))
    refused("evaluate", run_stage("evaluate"), MODEL, "different preparations")


@pytest.mark.filterwarnings("error")
def test_network_of_enormous_weights_is_one_sentence(folder):
    network = load_model(MODEL)
    huge = np.finfo(network.arithmetic.dtype).max / 10
    for W in network.weights:
        W[:, :1], W[:, 1:] = -huge, huge
    save_model(MODEL, network)
    refused("evaluate", run_stage("evaluate"), MODEL, "loss")


def test_guessing_is_naming_the_most_frequent_class():
    """Of 100 images, 95 are of one class: a network that always names it has learnt nothing."""
    labels = np.eye(2, dtype=np.uint8)[[0] * 95 + [1] * 5]
    assert evaluation.is_hardly_better_than_guessing(0.95, labels)
    assert not evaluation.is_hardly_better_than_guessing(0.98, labels)
    report = evaluation.classification_report(labels.argmax(axis=1), np.zeros(100, np.int64), 2)
    assert evaluation.mean_f1(report) == pytest.approx((190 / 195) / 2)
    even = np.eye(10, dtype=np.uint8)
    assert evaluation.is_hardly_better_than_guessing(0.19, even)
    assert not evaluation.is_hardly_better_than_guessing(0.21, even)
