"""The page's scripts, run in Node without a page, give the answers of `predict`, bit for bit."""

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mlp.prediction import predict
from mlp.protocol import Network, Preparation
from pipeline.program.errors import UserError
from pipeline.store.artifacts import load_prepared, save_model
from tests.support.drawings import DRAWINGS, rasterised
from tests.support.files import save_prepared
from tests.support.networks import MINMAX, ZSCORE, Float64, digits, new_network, run
from tests.support.node import javascript, needs_node
from tests.support.proofs import DATA, new_proven_project
from tests.support.refusals import refusal, refused
from tools.draw.__main__ import draw
from tools.draw.page import about, in_base64
from tools.draw.proof import load_proof
from tools.pictures.preparation import fit, like_mnist, prepare

MODEL = "readModel(readBytes(data.file), data.about)"


def with_network(network: Network, path: Path) -> dict[str, object]:
    """Return the file of a network and what is known of it, for `MODEL`."""
    save_model(path, network)
    return {"file": in_base64(path.read_bytes()), "about": about(network)}


LETTERS = Preparation(0.0, 1 / 255, (64, 64), tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
NETWORKS = {
    "tanh, two hidden layers": {"hidden": (30, 20), "activation": "tanh", "std": "glorot"},
    "shifted images": {"hidden": (40,), "activation": "relu", "std": "he", "preparation": ZSCORE},
    "no hidden layer": {"hidden": ()},
    "4,096 pixels: 20 bits": {"hidden": (10,), "std": "glorot", "preparation": LETTERS},
}


@needs_node
@pytest.mark.parametrize("settings", NETWORKS.values(), ids=NETWORKS)
def test_network_answers_with_the_same_bits(settings, tmp_path):
    network = new_network(**settings)
    images = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (5, 4096), np.uint8)
    if network.preparation != LETTERS:
        run(network, 30, learning_rate=0.1)
        images = digits("test").images[:20]
    there = javascript(
        f"(model => data.images.map(image => [...predict(model, image)]))({MODEL})",
        with_network(network, tmp_path / "mlp.npz") | {"images": images.tolist()},
    )
    assert there == predict(network, images)[0].tolist()


SHAPES = [(28, 28), (20, 32), (7, 5)]
MODELS = [
    {"image_shape": shape, "whole": whole, "inverted": inverted}
    for shape in SHAPES
    for whole, inverted in ((False, False), (True, False), (True, True))
]


@needs_node
def test_strokes_become_the_image_that_python_makes_of_their_pixels():
    source = np.random.Generator(np.random.PCG64(0))

    def stroke(width: int) -> dict:
        return {"width": width, "points": source.integers(-1024, 2048, (3, 2)).tolist()}

    scribbles = [list(map(stroke, widths)) for widths in ((16,), (60, 176), (30, 50, 90, 150))]
    there = javascript(
        "data.drawings.map(strokes => rasterise(strokes)).map(drawing => [[...drawing.bytes],"
        " ...data.models.map(model => [...prepare(drawing, model)])])",
        {"drawings": DRAWINGS + scribbles, "models": MODELS},
    )
    for strokes, (pixels, *images) in zip(DRAWINGS + scribbles, there, strict=True):
        ink = rasterised(strokes)
        assert pixels == ink.ravel().tolist()
        if strokes in DRAWINGS:  # `predict` says the same of a picture of the drawing
            found, _ = prepare(Image.fromarray(255 - ink), SHAPES[0], whole=False, inverted=False)
            assert images[0] == found.ravel().tolist()
        expected = []
        for shape in SHAPES:
            on_paper = fit(Image.fromarray(255 - ink), shape)
            expected += [like_mnist(ink, shape), on_paper, 255 - on_paper]
        assert images == [image.ravel().tolist() for image in expected]


@needs_node
@pytest.mark.parametrize(
    ("hidden", "activation"), [((6,), "sigmoid"), ((6, 5), "tanh"), ((6, 5), "relu")]
)
def test_contributions_are_outputs_times_gradients(hidden, activation, tmp_path):
    """The derivative of a class's logit by central differences in each neuron's output."""
    network = new_network(hidden=hidden, activation=activation, std="glorot")
    image = digits("test").images[:1]
    there = javascript(
        f"(model => (predict(model, data.image), [...contributions(model, 3)]))({MODEL})",
        with_network(network, tmp_path / "mlp.npz") | {"image": image[0].tolist()},
    )
    _, (_, h, *_) = network.forward(image)

    def logit(h: np.ndarray) -> float:
        W, *weights = network.weights[1:]
        b, *biases = network.biases[1:]
        a = h @ W + b
        for W, b in zip(weights, biases, strict=True):
            a = network.activation.function(Float64(), a) @ W + b
        return a[0, 3]

    expected = []
    for neuron in range(hidden[0]):
        change = np.zeros(hidden[0])
        change[neuron] = 1e-4
        up, down = (logit(h + sign * change) for sign in (1, -1))
        expected.append(h[0, neuron] * (up - down) / 2e-4)
    np.testing.assert_allclose(there, expected, atol=1e-4)


@pytest.fixture
def draw_page(tmp_path, monkeypatch):
    """A function that makes draw.html in the current folder, which has a network and images."""
    monkeypatch.chdir(tmp_path)
    # Inside of a script, HTML ends at the first; the page's template has the second
    classes = ("</script>", "/* FILES */", *"abcdefgh")
    save_model(Path("mlp.npz"), new_network(preparation=replace(MINMAX, classes=classes)))
    save_prepared(Path("test.npz"), *digits("test"), classes=np.array(classes))
    options = ["--model", "mlp.npz", "--without-data", "--test"]
    return lambda page, test: CliRunner().invoke(draw, [page, *options, test])


def test_the_command_makes_a_page_with_test_images_or_without(draw_page):
    without = draw_page("draw.html", "none.npz")
    assert without.exit_code == 0, without.output
    assert "no test images" in without.stderr
    page = Path("draw.html").read_text(encoding="utf-8")
    assert hashlib.md5(Path("mlp.npz").read_bytes()).hexdigest() in page
    assert '"accuracy"' not in page
    asking = r"""(src|href)=["'](?!data:|#)|@import|fetch\(|https?:"""
    assert not re.search(asking, page)
    assert page.count("</script>") == 4  # the data's, the model's, the scripts'

    assert draw_page("draw.html", "test.npz").exit_code == 0
    (data,) = re.findall(r'id="data">(.*?)</script>', Path("draw.html").read_text(encoding="utf-8"))
    stored = json.loads(data)
    split = digits("test")
    actual = split.labels.argmax(axis=1)
    right = predict(new_network(), split.images)[0].argmax(axis=1) == actual
    assert stored["accuracy"] == right.mean()
    assert [right[example["place"]] for example in stored["examples"]].count(False) == 6
    for example in stored["examples"]:
        assert example["number"] == actual[example["place"]]
        assert base64.b64decode(example["image"]) == split.images[example["place"]].tobytes()


def test_every_digit_of_the_lock_counts(tmp_path):
    lock = new_proven_project(tmp_path) / "dvc.lock"
    preparation = load_prepared(tmp_path / DATA[0]).preparation
    text, files = lock.read_text(), load_proof(lock, preparation)[0]["files"]
    for file in files:
        near = file["md5"][:-1] + "01"[file["md5"][-1] == "0"]
        lock.write_text(text.replace(file["md5"], near))
        with pytest.raises(UserError, match=re.escape(file["path"])):
            load_proof(lock, preparation)


def test_a_lock_that_states_no_training_is_one_sentence(tmp_path):
    lock = tmp_path / "dvc.lock"
    for text in ("", "[]", "stages:", "stages: {train: 5}", "stages: {train: {outs: []}}"):
        lock.write_text(text)
        assert "dvc repro" in str(refused(load_proof, lock, MINMAX))


def test_the_page_has_the_data_that_dvc_lock_describes(tmp_path, monkeypatch):
    monkeypatch.chdir(new_proven_project(tmp_path))

    def page() -> tuple[str, str]:
        done = CliRunner().invoke(draw, [])
        assert done.exit_code == 0, done.output
        return Path("draw.html").read_text(encoding="utf-8"), done.stderr

    html, notes = page()
    assert notes == ""
    for path in DATA:
        (packed,) = re.findall(rf'id="{path}">(.*?)</script>', html)
        assert gzip.decompress(base64.b64decode(packed)) == Path(path).read_bytes()
    changed = Path(DATA[1])
    changed.write_bytes(Path(DATA[2]).read_bytes())
    for reason in (str(changed), "dvc.lock"):
        html, notes = page()
        assert "does not train" in notes
        assert reason in notes
        assert not any(f'id="{path}"' in html for path in DATA)
        Path("dvc.lock").unlink(missing_ok=True)


def test_the_command_refuses_wrong_files_and_writes_nothing(draw_page):
    model = Path("mlp.npz")
    before = model.read_bytes()
    refusal(draw_page("mlp.npz", "none.npz"), "mlp.npz", "given twice")
    assert model.read_bytes() == before
    network = new_network()
    network.weights[0][0, 0] = 1e300
    save_model(model, network)
    save_prepared(Path("test.npz"), *digits("test"))
    refusal(draw_page("draw.html", "test.npz"), "mlp.npz", "too large")
    save_model(model, new_network(preparation=ZSCORE))
    refusal(draw_page("draw.html", "test.npz"), "mlp.npz", "test.npz", "preparations")
    assert not Path("draw.html").exists()
