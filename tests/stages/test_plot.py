import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mlp.arithmetic import ARITHMETICS
from mlp.distortions import Distortion, Strength
from mlp.layers import ACTIVATIONS
from mlp.network import Network, Preparation
from pipeline.drawing.figures import (
    draw_accuracy,
    draw_confusion,
    draw_loss,
    draw_misclassified,
    draw_training_images,
    draw_weights,
    picture,
)
from pipeline.store.arrays import load_arrays, save_arrays
from pipeline.store.artifacts import load_misclassified, load_model, save_model
from pipeline.store.tables import read_confusion, read_history
from stages.plot import plot as app
from tests.support.refusals import refusal

FIGURES = ["accuracy.png", "confusion.png", "loss.png", "misclassified.png", "training_images.png", "weights.png"]
TABLES = ["classes.json", "confusion.csv", "history.csv", "test.json", "train.json", "validation.json"]
INPUTS = ["mlp.npz", "train.npz", *TABLES, "misclassified.npz"]
ARGUMENTS = ["mlp.npz", "train.npz", ".", ".", "figures", "metrics", "--params", "params.yaml"]
NAMES = ("T-shirt/top", "Trouser", "Bag")
ROWS = ("images", "actual", "predicted", "probability", "place")  # the arrays with a row for each mistake
REPOSITORY = Path(__file__).parents[2]
IMAGES = np.random.default_rng(1).integers(0, 256, (12, 20), dtype=np.uint8)
SHOWN = IMAGES[[0, 3, 6, 1, 4, 7, 2, 5, 8]]  # the first three of each class: the labels are 0, 1, 2, 0, 1, 2, …
PARAMS = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """A folder, the current one, with what the stage reads: three classes of 4 × 5 images, seven neurons."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    names = np.array(NAMES)
    Path("history.csv").write_text(
        "epoch,iteration,loss,train_accuracy,validation_loss,validation_accuracy,kept\n"
        "1,10,1.1,0.25,1.0,0.5,0\n2,20,0.5,0.75,0.6,0.625,1\n"
    )
    actual, predicted = rng.integers(0, 3, (2, 60))
    pairs = zip(names[actual], names[predicted], strict=True)
    Path("confusion.csv").write_text("actual,predicted\n" + "".join(f"{a},{p}\n" for a, p in pairs))
    for name in ("train.json", "validation.json", "test.json", "classes.json"):
        Path(name).write_text(f'{{"numbers": "of {name}"}}\n')
    save_network(rng.normal(size=(20, 7)), NAMES)
    save_training_images(NAMES)
    wrong = np.flatnonzero(actual != predicted)
    save_arrays(
        Path("misclassified.npz"),
        images=rng.integers(0, 256, (len(wrong), 20), dtype=np.uint8),
        actual=actual[wrong],
        predicted=predicted[wrong],
        probability=np.full(len(wrong), 0.75),
        place=wrong,
        image_shape=np.array([4, 5]),
        classes=names,
    )
    Path("params.yaml").write_text(PARAMS, encoding="utf-8")
    return tmp_path


def save_network(weights, classes):
    """Write a network of two layers, the first with these weights."""
    neurons = weights.shape[1]
    rest = [np.zeros((neurons, len(classes)), weights.dtype)]
    biases = [np.zeros(neurons, weights.dtype), np.zeros(len(classes), weights.dtype)]
    arithmetic = ARITHMETICS[{8: "exact", 4: "float32"}[weights.itemsize]]
    preparation = Preparation(0.0, 1 / 255, (4, 5), classes)
    save_model(Path("mlp.npz"), Network([weights, *rest], biases, ACTIVATIONS["sigmoid"], arithmetic, preparation))


def save_training_images(classes):
    """Write twelve images to train on."""
    save_arrays(
        Path("train.npz"),
        images=IMAGES,
        labels=np.eye(len(classes), dtype=np.uint8)[np.arange(12) % len(classes)],
        shift=np.float64(0),
        scale=np.float64(1 / 255),
        image_shape=np.array([4, 5]),
        classes=np.array(classes),
    )


def plot():
    return CliRunner().invoke(app, ARGUMENTS)


def contents():
    return {path.name: path.read_bytes() for path in Path("figures").iterdir()}


def change(path, **arrays):
    save_arrays(Path(path), **{**load_arrays(Path(path)), **arrays})


def header(png):
    """Check every chunk of a PNG; return width, height and dots per inch."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, offset = {}, 8
    while offset < len(png):
        (length,) = struct.unpack_from(">I", png, offset)
        kind, body = png[offset + 4 : offset + 8], png[offset + 8 : offset + 8 + length]
        assert struct.unpack_from(">I", png, offset + 8 + length)[0] == zlib.crc32(kind + body)
        chunks[kind], offset = body, offset + length + 12
    assert list(chunks) == [b"IHDR", b"pHYs", b"PLTE", b"IDAT", b"IEND"]
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    assert len(zlib.decompress(chunks[b"IDAT"])) == height * (width + 1)
    return width, height, round(struct.unpack(">I", chunks[b"pHYs"][:4])[0] * 0.0254)


def test_draws_all_figures_and_nothing_else(inputs):
    result = plot()
    assert (result.exit_code, result.output) == (0, "")
    assert sorted(contents()) == FIGURES
    assert all(len(content) < 150_000 for content in contents().values())


def test_figures_are_drawn_from_the_files_they_belong_to(inputs):
    plot()
    history, mistakes = read_history(Path("history.csv")), load_misclassified(Path("misclassified.npz"))
    network = load_model(Path("mlp.npz"))
    actual, predicted = read_confusion(Path("confusion.csv"), NAMES)
    counts = np.zeros((3, 3), int)
    np.add.at(counts, (actual, predicted), 1)
    assert contents() == {
        name: picture(figure, 120)
        for name, figure in {
            "accuracy.png": draw_accuracy(history),
            "loss.png": draw_loss(history),
            "confusion.png": draw_confusion(counts, NAMES),
            "misclassified.png": draw_misclassified(mistakes, 25),
            "training_images.png": draw_training_images(SHOWN.reshape(-1, 4, 5), []),
            "weights.png": draw_weights(network.weights[0], (4, 5)),
        }.items()
    }


def test_copies_for_git_have_the_same_bytes(inputs):
    plot()
    copies = {path.name: path.read_bytes() for path in Path("metrics").iterdir() if path.is_file()}
    assert copies == {name: Path(name).read_bytes() for name in TABLES}
    assert {path.name: path.read_bytes() for path in Path("metrics", "figures").iterdir()} == contents()


def test_dpi_is_the_resolution(inputs):
    plot()
    assert header(contents()["accuracy.png"]) == (900, 540, 120)
    Path("params.yaml").write_text(PARAMS.replace("dpi: 120", "dpi: 60"), encoding="utf-8")
    plot()
    assert header(contents()["accuracy.png"]) == (450, 270, 60)
    for content in contents().values():
        header(content)


def test_misclassified_is_the_number_of_images(inputs):
    plot()
    many = header(contents()["misclassified.png"])
    Path("params.yaml").write_text(PARAMS.replace("misclassified: 25", "misclassified: 1"), encoding="utf-8")
    plot()
    assert header(contents()["misclassified.png"]) < many


def test_misclassified_may_be_as_many_as_100(inputs):
    mistakes = load_arrays(Path("misclassified.npz"))
    rows = {name: np.resize(mistakes[name], (120, *mistakes[name].shape[1:])) for name in ROWS}
    change("misclassified.npz", **rows)
    Path("params.yaml").write_text(PARAMS.replace("misclassified: 25", "misclassified: 100"), encoding="utf-8")
    assert plot().exit_code == 0
    figure = draw_misclassified(load_misclassified(Path("misclassified.npz")), 100)
    assert len(figure.axes[0].images) == 100
    assert contents()["misclassified.png"] == picture(figure, 120)


def test_same_bytes_whatever_the_user_has_set(inputs):
    plot()
    before = contents()
    Path("matplotlibrc").write_text("font.family: serif\nfont.size: 20\nsavefig.dpi: 10\nfigure.facecolor: red\n")
    environment = {**os.environ, "MPLBACKEND": "svg", "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-m", "stages.plot", *ARGUMENTS], env=environment, check=True)
    assert contents() == before


def test_no_mistakes_are_a_sentence(inputs):
    mistakes = load_arrays(Path("misclassified.npz"))
    rows = {name: mistakes[name][:0] for name in ROWS}
    save_arrays(Path("misclassified.npz"), **{**mistakes, **rows})
    assert plot().exit_code == 0
    assert sorted(contents()) == FIGURES


def test_training_images_are_shown_as_six_epochs_distort_them(inputs):
    Path("params.yaml").write_text(PARAMS.replace("shift: 0 ", "shift: 2 "), encoding="utf-8")
    assert plot().exit_code == 0
    distortion = Distortion((4, 5), Strength(0.0, 0.0, 0.0, 2.0, 0.0, 6.0))
    epochs = [distortion.distort(SHOWN, 0, epoch, 0).reshape(-1, 4, 5) for epoch in range(6)]
    figure = draw_training_images(SHOWN.reshape(-1, 4, 5), epochs)
    assert contents()["training_images.png"] == picture(figure, 120)


def test_training_images_of_another_preparation_are_refused(inputs):
    change("train.npz", image_shape=np.array([5, 4]))
    refusal(plot(), "mlp.npz: ", "train.npz", "`dvc repro`")
    assert not Path("figures").exists()


@pytest.mark.parametrize("neurons", [1, 10, 3000])
def test_any_number_of_neurons(inputs, neurons):
    save_network(np.zeros((20, neurons), np.float32), NAMES)
    assert plot().exit_code == 0


def test_one_epoch_and_two_classes(inputs):
    lines = Path("history.csv").read_text().splitlines()
    Path("history.csv").write_text("\n".join(lines[:2]) + "\n")
    save_network(np.ones((20, 7)), ("no", "yes"))
    save_training_images(("no", "yes"))
    Path("confusion.csv").write_text("actual,predicted\nno,yes\n")
    assert plot().exit_code == 0


@pytest.mark.parametrize("name", [*INPUTS, "params.yaml"])
def test_a_missing_file_is_named(inputs, name):
    Path(name).unlink()
    refusal(plot(), f"{name}: ")
    assert not Path("figures").exists()


@pytest.mark.parametrize(
    ("name", "content", "about"),
    [
        ("history.csv", "", "columns"),
        ("history.csv", "{head}\n1,2,3\n", "line 2"),
        ("history.csv", "{head}\n1,2,3,4,5,six,1\n", "validation_accuracy"),
        ("confusion.csv", "actual,predicted\nBag,Sandal\n", "Sandal"),
        ("mlp.npz", "<html>", "array file"),
        ("test.json", '{"accuracy": 0.9', "JSON"),
        ("train.json", "", "JSON"),
    ],
)
def test_a_malformed_file_is_a_sentence(inputs, name, content, about):
    head = Path("history.csv").read_text().splitlines()[0]
    Path(name).write_text(content.replace("{head}", head))
    refusal(plot(), f"{name}: ", about)
    assert not Path("figures").exists()


@pytest.mark.parametrize(
    ("name", "about", "array"),
    [
        ("mlp.npz", "weights_1", np.zeros((21, 7))),
        ("mlp.npz", "image_shape", np.array([20])),
        ("misclassified.npz", "actual", np.zeros(2, np.int64)),
        ("misclassified.npz", "probability", np.array([""])),
    ],
)
def test_a_wrong_array_is_a_sentence(inputs, name, about, array):
    change(name, **{about: array})
    refusal(plot(), f"{name}: ", about)
    assert not Path("figures").exists()
