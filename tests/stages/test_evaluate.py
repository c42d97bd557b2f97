"""The evaluate stage: its metrics against a count of one's own, committees, and its refusals."""

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from mlp.arithmetic import ARITHMETICS
from mlp.layers import ACTIVATIONS
from mlp.network import Network, Preparation, Split
from pipeline.evaluation.evaluation import evaluate as measured
from pipeline.store.arrays import load_arrays, save_arrays
from pipeline.store.artifacts import load_model, save_model
from tests.support import reference
from tests.support.files import save_prepared
from tests.support.flow import by_name, run_stage
from tests.support.networks import digits, new_network, take_step
from tests.support.refusals import refusal

MODEL, TEST = Path("models/mlp.npz"), Path("data/prepared/test.npz")
CLASSES = tuple("0123456789")


def trained(arithmetic: str, neurons: int, steps: int, seed: int = 0) -> Network:
    """Return a half-trained network."""
    network = new_network(arithmetic, hidden=(neurons,), seed=seed)
    for _ in range(steps):
        take_step(network, *digits("train"), 1.0)
    return network


@pytest.fixture(scope="module", params=["exact", "float32"])
def prepared(request, tmp_path_factory) -> Path:
    """A folder with three half-trained networks and the 200 test images of the sample."""
    folder = tmp_path_factory.mktemp(request.param)
    save_model(folder / MODEL, trained(request.param, 20, 40))
    save_model(folder / "1.npz", trained(request.param, 10, 20, 1))
    save_model(folder / "2.npz", trained(request.param, 10, 40, 2))
    save_prepared(folder / TEST, *digits("test"))
    return folder


@pytest.fixture
def folder(prepared, tmp_path, monkeypatch) -> Path:
    """A copy of that folder, and the current one."""
    monkeypatch.chdir(shutil.copytree(prepared, tmp_path / "copy"))
    return tmp_path / "copy"


def evaluate(*others: str) -> dict[str, bytes]:
    """Run the stage, with other networks as a committee; return what it writes, by name."""
    result = run_stage("evaluate", *(word for other in others for word in ("--with", other)))
    assert (result.exit_code, result.output) == (0, "")
    return by_name("evaluate")


def refused(path: Path | str, *words: str, options: tuple[str, ...] = ()) -> None:
    """Fail unless the stage refuses a file, and writes nothing."""
    refusal(run_stage("evaluate", *options), path, *words)
    assert by_name("evaluate") == {}


def probabilities(model: Path | str = MODEL) -> np.ndarray:
    """Return what the reference thinks of the test images."""
    network = load_model(Path(model))
    weights, biases = ([array.astype(np.float64) for array in arrays] for arrays in (network.weights, network.biases))
    X = load_arrays(TEST)["images"] / 255
    return reference.softmax(reference.forward(weights, biases, network.activation.name, X)[1][-1])


def mistakes() -> dict[str, np.ndarray]:
    return load_arrays(next(path for path in Path().rglob("misclassified.npz")))


def test_metrics_agree_with_a_count_of_ones_own(folder):
    made = evaluate()
    y, labels = probabilities(), digits("test").labels
    pairs = list(zip(labels.argmax(axis=1).tolist(), y.argmax(axis=1).tolist(), strict=True))
    right = [actual == predicted for actual, predicted in pairs].count(True)
    assert 60 < right < 195  # both right and wrong ones are looked at here

    metrics = json.loads(made["test.json"])
    assert list(metrics) == ["accuracy", "loss", "macro_f1"]
    assert metrics["accuracy"] == right / 200
    assert math.isclose(metrics["loss"], -np.log(y[labels == 1]).mean(), rel_tol=1e-4)

    by_class = json.loads(made["classes.json"])
    assert tuple(found["class"] for found in by_class) == CLASSES
    for found in by_class:
        name = found["class"]
        true = [a == p == int(name) for a, p in pairs].count(True)
        predicted, actual = [p for _, p in pairs].count(int(name)), [a for a, _ in pairs].count(int(name))
        assert found["images"] == actual
        assert found["precision"] == (true / predicted if predicted else 0)
        assert found["recall"] == true / actual
        assert math.isclose(found["f1"], 2 * true / (predicted + actual))
    assert math.isclose(metrics["macro_f1"], sum(found["f1"] for found in by_class) / len(CLASSES))
    assert metrics["macro_f1"] != metrics["accuracy"]

    rows = list(csv.reader(made["confusion.csv"].decode().splitlines()))
    assert rows == [["actual", "predicted"], *([str(actual), str(predicted)] for actual, predicted in pairs)]
    for name in ("confusion.csv", "test.json", "classes.json"):  # line ends of Unix, on every system
        assert b"\r" not in made[name]
        assert made[name].endswith(b"\n")


def test_misclassified_images_stand_most_confident_first(folder):
    evaluate()
    y, (images, labels) = probabilities(), digits("test")
    found = mistakes()
    index = found["place"]
    assert sorted(index.tolist()) == np.flatnonzero(y.argmax(axis=1) != labels.argmax(axis=1)).tolist()
    np.testing.assert_array_equal(found["images"], images[index])
    np.testing.assert_array_equal(found["actual"], labels[index].argmax(axis=1))
    np.testing.assert_array_equal(found["predicted"], y[index].argmax(axis=1))
    np.testing.assert_allclose(found["probability"], y[index].max(axis=1), rtol=1e-4)
    assert (found["probability"][1:] <= found["probability"][:-1]).all()
    assert found["image_shape"].tolist() == [28, 28]
    assert tuple(found["classes"].tolist()) == CLASSES


def small_network(W: list, b: list, classes: tuple[str, ...]) -> Network:
    """Return a network of one layer for images of one pixel."""
    preparation = Preparation(0.0, 1.0, (1, 1), classes)
    return Network([np.array([W])], [np.array(b)], ACTIVATIONS["relu"], ARITHMETICS["exact"], preparation)


def test_mistakes_of_equal_probability_stand_in_the_order_of_the_images():
    # Every dark image has the same probabilities, and so has every bright one
    bytes_of, labels = np.arange(3000) % 2 * 255, np.eye(3, dtype=np.uint8)[np.arange(3000) % 3]
    network = small_network([0.0, 1.0, 0.0], [4.0, -100.0, 0.0], ("a", "b", "c"))  # dark: 0, rather sure; bright: 1
    found = measured([network], Split(bytes_of.astype(np.uint8)[:, np.newaxis], labels)).mistakes
    wrong = np.flatnonzero(np.arange(3000) % 2 != np.arange(3000) % 3)
    assert len(set(found.probability.tolist())) == 2
    assert found.place.tolist() == [*wrong[wrong % 2 == 1].tolist(), *wrong[wrong % 2 == 0].tolist()]


def test_network_that_errs_in_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model(MODEL, small_network([-2.0, 2.0], [255.0, -255.0], ("dark", "bright")))
    description = {"image_shape": np.array([1, 1], np.int64), "classes": np.array(["dark", "bright"])}
    images, labels = np.array([[0], [255], [200]], np.uint8), np.eye(2, dtype=np.uint8)[[0, 1, 1]]
    save_prepared(TEST, images, labels, scale=np.float64(1), **description)
    metrics = json.loads(evaluate()["test.json"])
    assert metrics == {"accuracy": 1.0, "loss": 0.0, "macro_f1": 1.0}
    assert math.copysign(1, metrics["loss"]) == 1  # "-0.0" would puzzle people
    assert mistakes()["images"].shape == (0, 1)


# A committee


def test_a_committee_decides_by_the_mean_of_the_probabilities(folder):
    metrics = json.loads(evaluate("1.npz", "2.npz")["test.json"])
    alone = [probabilities(name) for name in (MODEL, "1.npz", "2.npz")]
    mean = np.mean(alone, axis=0)
    actual = digits("test").labels.argmax(axis=1)
    assert metrics["accuracy"] == (mean.argmax(axis=1) == actual).mean()
    assert metrics["loss"] == pytest.approx(-np.log(mean[np.arange(len(actual)), actual]).mean(), rel=1e-5)
    found = mistakes()
    assert set(found["place"]) == set(np.flatnonzero(mean.argmax(axis=1) != actual))
    assert found["probability"] == pytest.approx(mean.max(axis=1)[found["place"]], rel=1e-5)
    # The images must tell the mean from each network, and from the mean of the logits
    for other in [*alone, np.exp(np.mean(np.log(alone), axis=0))]:
        assert (other.argmax(axis=1) != mean.argmax(axis=1)).any()


@pytest.mark.parametrize("sure", [False, True])
def test_a_committee_of_copies_decides_as_the_one(folder, sure):
    """Even if they are so sure of wrong classes that the probability of the true class is too small for a number."""
    network = load_model(MODEL)
    if sure:
        network.weights[-1] = network.weights[-1] * network.arithmetic.dtype(20_000)
        save_model(MODEL, network)
    save_model(Path("copy.npz"), network)
    alone = evaluate()
    assert evaluate("copy.npz") == alone
    assert (json.loads(alone["test.json"])["loss"] > 1000) == sure


def test_a_committee_has_one_arithmetic_and_one_preparation(folder):
    other = {"exact": "float32", "float32": "exact"}[load_model(MODEL).arithmetic.name]
    save_model(Path("other.npz"), new_network(other))
    refused("other.npz", other, options=("--with", "other.npz"))
    network = load_model(MODEL)
    network.preparation = network.preparation._replace(shift=33.5)
    save_model(Path("other.npz"), network)
    refused("other.npz", str(TEST), options=("--with", "other.npz"))


# Refusals


@pytest.mark.parametrize("path", [MODEL, TEST], ids=str)
def test_missing_or_damaged_file(folder, path):
    content = path.read_bytes()
    path.unlink()
    refused(path)
    path.write_bytes(content[:-100])
    refused(path)


@pytest.mark.parametrize("change", [{"shift": np.float64(33.5)}, {"classes": np.array(list("abcdefghij"))}])
def test_images_of_another_preparation_are_refused(folder, change):
    save_arrays(TEST, **(load_arrays(TEST) | change))
    refused(MODEL, str(TEST), "dvc repro")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("arithmetic", "weight"), [("exact", 1e300), ("exact", 1e150), ("float32", 3e38)])
def test_network_of_enormous_weights_is_one_sentence(tmp_path, monkeypatch, arithmetic, weight):
    monkeypatch.chdir(tmp_path)
    network = new_network(arithmetic)
    for W in network.weights:
        W[...] = weight
        W[:, 0] = -weight
    save_model(MODEL, network)
    save_prepared(TEST, *digits("test"))
    refused(MODEL, "loss")
