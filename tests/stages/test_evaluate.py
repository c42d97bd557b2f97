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
from tests.support import reference
from tests.support.files import contents, save_prepared
from tests.support.networks import digits, new_network, take_step
from tests.support.refusals import refusal

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


def evaluate(folder, out="out", others=()):
    words = [folder / "mlp.npz", folder / "test.npz", folder / out]
    for other in others:
        words += ["--with", folder / other]
    return CliRunner().invoke(app, list(map(str, words))), folder / out


@pytest.fixture
def evaluated(folder):
    result, out = evaluate(folder)
    assert result.exit_code == 0, result.output
    assert result.output == ""
    return folder, out


def probabilities(folder, model="mlp.npz") -> np.ndarray:
    """Return what the reference thinks of the test images."""
    network = load_model(folder / model)
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
    assert list(metrics) == ["accuracy", "loss", "macro_f1"]
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
    assert math.isclose(metrics["macro_f1"], sum(found["f1"] for found in by_class) / len(CLASSES))
    assert metrics["macro_f1"] != metrics["accuracy"]

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
    mistakes = measured([network], Split(bytes_of.astype(np.uint8)[:, np.newaxis], labels)).mistakes
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
    assert metrics == {"accuracy": 1.0, "loss": 0.0, "macro_f1": 1.0}
    assert math.copysign(1, metrics["loss"]) == 1  # "-0.0" would puzzle people
    assert load_arrays(out / "misclassified.npz")["images"].shape == (0, 1)


# A committee


@pytest.fixture
def committee(folder):
    """The folder with two more networks of the same arithmetic."""
    arithmetic = load_model(folder / "mlp.npz").arithmetic.name
    images, labels = digits("train")
    for number in (1, 2):
        network = new_network(arithmetic, hidden=(10,), seed=number)
        for _ in range(20 * number):
            take_step(network, images, labels, 1.0)
        save_model(folder / f"{number}.npz", network)
    return folder


def test_a_committee_decides_by_the_mean_of_the_probabilities(committee):
    names = ["mlp.npz", "1.npz", "2.npz"]
    result, out = evaluate(committee, others=names[1:])
    assert result.exit_code == 0, result.output
    alone = [probabilities(committee, name) for name in names]
    mean = np.mean(alone, axis=0)
    actual = load_arrays(committee / "test.npz")["labels"].argmax(axis=1)
    metrics = json.loads((out / "test.json").read_text())
    assert metrics["accuracy"] == (mean.argmax(axis=1) == actual).mean()
    assert metrics["loss"] == pytest.approx(-np.log(mean[np.arange(len(actual)), actual]).mean(), rel=1e-5)
    mistakes = load_arrays(out / "misclassified.npz")
    assert set(mistakes["place"]) == set(np.flatnonzero(mean.argmax(axis=1) != actual))
    assert mistakes["probability"] == pytest.approx(mean.max(axis=1)[mistakes["place"]], rel=1e-5)
    # The images must tell the mean from each network, and from the mean of the logits
    for other in [*alone, np.exp(np.mean(np.log(alone), axis=0))]:
        assert (other.argmax(axis=1) != mean.argmax(axis=1)).any()


def test_a_committee_of_copies_decides_as_the_one(folder):
    save_model(folder / "copy.npz", load_model(folder / "mlp.npz"))
    _, alone = evaluate(folder, "alone")
    result, out = evaluate(folder, others=["copy.npz"])
    assert result.exit_code == 0, result.output
    assert (out / "confusion.csv").read_bytes() == (alone / "confusion.csv").read_bytes()
    assert (out / "test.json").read_bytes() == (alone / "test.json").read_bytes()


def test_a_committee_sure_of_wrong_classes_has_a_loss(folder):
    """Their probabilities of the true class are too small for a number."""
    network = load_model(folder / "mlp.npz")
    network.weights[-1] = network.weights[-1] * network.arithmetic.dtype(20_000)
    for name in ("mlp.npz", "copy.npz"):
        save_model(folder / name, network)
    _, alone = evaluate(folder, "alone")
    result, out = evaluate(folder, others=["copy.npz"])
    assert result.exit_code == 0, result.output
    assert json.loads((out / "test.json").read_text())["loss"] > 1000
    assert (out / "test.json").read_bytes() == (alone / "test.json").read_bytes()


def test_a_committee_has_one_arithmetic_and_one_preparation(folder):
    other = {"exact": "float32", "float32": "exact"}[load_model(folder / "mlp.npz").arithmetic.name]
    save_model(folder / "other.npz", new_network(other))
    result, out = evaluate(folder, others=["other.npz"])
    refusal(result, folder / "other.npz", "one arithmetic")
    network = load_model(folder / "mlp.npz")
    network.preparation = network.preparation._replace(shift=33.5)
    save_model(folder / "other.npz", network)
    result, out = evaluate(folder, others=["other.npz"])
    refusal(result, folder / "other.npz", "`dvc repro`")
    assert not out.exists()


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
