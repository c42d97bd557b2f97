"""The evaluate stage: its metrics against a count of one's own, and its refusals."""

import csv
import json
import math

import numpy as np
import pytest
from typer.testing import CliRunner

from mlp.arithmetic import ARITHMETICS
from mlp.layers import ACTIVATIONS
from mlp.network import Network, Preparation, Split
from pipeline.evaluation.evaluation import evaluate as measured
from pipeline.store.arrays import load_arrays, save_arrays
from pipeline.store.artifacts import load_model, save_model
from stages.evaluate import evaluate as app
from tests import reference
from tests.networks import digits, new_network, take_step
from tests.refusals import refusal
from tests.test_train import contents, save_prepared

OUTPUTS = ["test.json", "classes.json", "confusion.csv", "misclassified.npz"]
CLASSES = tuple("0123456789")


@pytest.fixture(params=["exact", "float32"])
def folder(tmp_path, request):
    """A folder with a half-trained network and the 200 test images of the sample."""
    network = new_network(request.param, hidden=(20,))
    images, labels = digits("train")
    for _ in range(40):
        take_step(network, images, labels, 1.0)
    save_model(tmp_path / "mlp.npz", network)
    save_prepared(tmp_path / "test.npz", *digits("test"))
    return tmp_path


def evaluate(folder, out="out"):
    files = [folder / "mlp.npz", folder / "test.npz", folder / out]
    return CliRunner().invoke(app, list(map(str, files))), folder / out


@pytest.fixture
def evaluated(folder):
    result, out = evaluate(folder)
    assert result.exit_code == 0, result.output
    assert result.output == ""
    return folder, out


def probabilities(folder) -> np.ndarray:
    """Return what the reference thinks of the test images."""
    network = load_model(folder / "mlp.npz")
    weights, biases = ([array.astype(np.float64) for array in arrays] for arrays in (network.weights, network.biases))
    X = load_arrays(folder / "test.npz")["images"] / 255
    return reference.softmax(reference.forward(weights, biases, network.activation.name, X)[1][-1])


def test_metrics_agree_with_a_count_of_ones_own(evaluated):
    folder, out = evaluated
    y, labels = probabilities(folder), digits("test").labels
    pairs = list(zip(labels.argmax(axis=1).tolist(), y.argmax(axis=1).tolist(), strict=True))
    right = [actual == predicted for actual, predicted in pairs].count(True)
    assert 60 < right < 195  # both right and wrong ones are looked at here

    metrics = json.loads((out / "test.json").read_text())
    assert list(metrics) == ["accuracy", "loss"]
    assert metrics["accuracy"] == right / 200
    assert math.isclose(metrics["loss"], -np.log(y[labels == 1]).mean(), rel_tol=1e-4)

    by_class = json.loads((out / "classes.json").read_text())
    assert tuple(found["class"] for found in by_class) == CLASSES
    for found in by_class:
        name = found["class"]
        true = [a == p == int(name) for a, p in pairs].count(True)
        predicted, actual = [p for _, p in pairs].count(int(name)), [a for a, _ in pairs].count(int(name))
        assert found["images"] == actual
        assert found["precision"] == (true / predicted if predicted else 0)
        assert found["recall"] == true / actual
        assert math.isclose(found["f1"], 2 * true / (predicted + actual))

    with (out / "confusion.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["actual", "predicted"], *([str(actual), str(predicted)] for actual, predicted in pairs)]


def test_misclassified_images_stand_most_confident_first(evaluated):
    folder, out = evaluated
    y, (images, labels) = probabilities(folder), digits("test")
    mistakes = load_arrays(out / "misclassified.npz")
    wrong = np.flatnonzero(y.argmax(axis=1) != labels.argmax(axis=1))
    index = mistakes["place"]
    assert sorted(index.tolist()) == wrong.tolist()
    np.testing.assert_array_equal(mistakes["images"], images[index])
    np.testing.assert_array_equal(mistakes["actual"], labels[index].argmax(axis=1))
    np.testing.assert_array_equal(mistakes["predicted"], y[index].argmax(axis=1))
    np.testing.assert_allclose(mistakes["probability"], y[index].max(axis=1), rtol=1e-4)
    assert (mistakes["probability"][1:] <= mistakes["probability"][:-1]).all()
    assert mistakes["image_shape"].tolist() == [28, 28]
    assert tuple(mistakes["classes"].tolist()) == CLASSES


def test_mistakes_of_equal_probability_stand_in_the_order_of_the_images():
    # Every dark image has the same probabilities, and so has every bright one
    bytes_of, labels = np.arange(3000) % 2 * 255, np.eye(3, dtype=np.uint8)[np.arange(3000) % 3]
    W, b = np.array([[0.0, 1.0, 0.0]]), np.array([4.0, -100.0, 0.0])  # dark: class 0, rather sure; bright: 1, sure
    preparation = Preparation(0.0, 1.0, (1, 1), ("a", "b", "c"))
    network = Network([W], [b], ACTIVATIONS["relu"], ARITHMETICS["exact"], preparation)
    mistakes = measured(network, Split(bytes_of.astype(np.uint8)[:, np.newaxis], labels)).mistakes
    wrong = np.flatnonzero(np.arange(3000) % 2 != np.arange(3000) % 3)
    assert len(set(mistakes.probability.tolist())) == 2
    assert mistakes.place.tolist() == [*wrong[wrong % 2 == 1].tolist(), *wrong[wrong % 2 == 0].tolist()]


def test_tables_have_line_ends_of_unix(evaluated):
    written = contents(evaluated[1])
    assert sorted(written) == sorted(OUTPUTS)
    for name in ("confusion.csv", "test.json", "classes.json"):
        assert b"\r" not in written[name]
        assert written[name].endswith(b"\n")


def test_network_that_errs_in_nothing(tmp_path):
    labels = np.eye(2, dtype=np.uint8)[[0, 1, 1]]
    W, b = np.array([[-2.0, 2.0]]), np.array([255.0, -255.0])  # dark is class 0, bright class 1
    preparation = Preparation(0.0, 1.0, (1, 1), ("dark", "bright"))
    save_model(tmp_path / "mlp.npz", Network([W], [b], ACTIVATIONS["relu"], ARITHMETICS["exact"], preparation))
    description = {"image_shape": np.array([1, 1], np.int64), "classes": np.array(["dark", "bright"])}
    images = np.array([[0], [255], [200]], np.uint8)
    save_prepared(tmp_path / "test.npz", images, labels, scale=np.float64(1), **description)
    result, out = evaluate(tmp_path)
    assert result.exit_code == 0, result.output
    metrics = json.loads((out / "test.json").read_text())
    assert metrics == {"accuracy": 1.0, "loss": 0.0}
    assert math.copysign(1, metrics["loss"]) == 1  # "-0.0" would puzzle people
    assert load_arrays(out / "misclassified.npz")["images"].shape == (0, 1)


@pytest.mark.parametrize("name", ["mlp.npz", "test.npz"])
def test_missing_or_damaged_file(folder, name):
    path = folder / name
    content = path.read_bytes()
    for damage in (None, b"", content[:-100], b"<!DOCTYPE html>"):
        path.unlink()
        if damage is not None:
            path.write_bytes(damage)
        result, out = evaluate(folder)
        refusal(result, path)
        assert not out.exists()
        path.write_bytes(content)


@pytest.mark.parametrize(
    "change",
    [
        {"shift": np.float64(33.5)},
        {"scale": np.float64(1.0)},
        {"image_shape": np.array([56, 14], np.int64)},
        {"classes": np.array(list("abcdefghij"))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_images_of_another_preparation_are_refused(folder, change):
    save_arrays(folder / "test.npz", **(load_arrays(folder / "test.npz") | change))
    result, out = evaluate(folder)
    refusal(result, folder / "mlp.npz", "`dvc repro`")
    refusal(result, folder / "test.npz")
    assert not out.exists()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("arithmetic", "weight"), [("exact", 1e300), ("exact", 1e150), ("float32", 3e38)])
def test_network_of_enormous_weights_is_one_sentence(tmp_path, arithmetic, weight):
    network = new_network(arithmetic)
    for W in network.weights:
        W[...] = weight
        W[:, 0] = -weight
    save_model(tmp_path / "mlp.npz", network)
    save_prepared(tmp_path / "test.npz", *digits("test"))
    result, out = evaluate(tmp_path)
    refusal(result, tmp_path / "mlp.npz", "loss")
    assert not out.exists()


def test_help_tells_of_every_file():
    result = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for word in [
        "models/mlp.npz",
        "data/prepared/test.npz",
        "models/evaluation",
        *OUTPUTS,
    ]:
        assert word in result.output
