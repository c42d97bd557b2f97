"""The page to draw on gives the answers of `predict`, to the last bit: its scripts run here in Node, without a page."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mlp.network import Network, Preparation, forward, predict
from pipeline.store.artifacts import save_model
from tests.support.drawings import drawings, rasterised
from tests.support.files import save_prepared
from tests.support.networks import MINMAX, ZSCORE, Float64, digits, new_network, run
from tools.draw.__main__ import draw
from tools.draw.page import FOLDER, SCRIPTS, layer_data, make_page, model_data
from tools.pictures.preparation import fit, like_mnist, prepare

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="needs Node.js; the slow tests run the same in Chromium")


PROGRAM = """
const data = JSON.parse(require("fs").readFileSync(0));
process.stdout.write(JSON.stringify(EXPRESSION));
"""


def javascript(expression: str, data: object) -> object:
    """Return the value of an expression that may use the page's functions, and `data`."""
    scripts = [(FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS if name != "page.js"]
    program = "\n".join([*scripts, PROGRAM.replace("EXPRESSION", expression)])
    done = subprocess.run([NODE, "-e", program], input=json.dumps(data), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


NETWORKS = {
    "sigmoid": new_network(),
    "tanh, two hidden layers": new_network(hidden=(30, 20), activation="tanh", std="glorot"),
    "relu, shifted images": new_network(hidden=(40,), activation="relu", std="he", preparation=ZSCORE),
    "no hidden layer": new_network(hidden=()),
    "wide": new_network(hidden=(3000, 7), activation="relu", std="he"),
}


@needs_node
@pytest.mark.parametrize("name", NETWORKS)
def test_network_answers_with_the_same_bits(name):
    network = NETWORKS[name]
    if name != "wide":
        run(network, 30, learning_rate=0.1)
    images = digits("test").images[:50]
    here, _ = predict(network, images)
    there = javascript(
        "(model => data.images.map(image => [...predict(model, image).probabilities]))(readModel(data.model))",
        {"model": model_data(network), "images": images.tolist()},
    )
    assert there == here.tolist()


@needs_node
def test_other_sizes_and_classes():
    """4,096 pixels: the weights have 20 bits then; 26 classes."""
    preparation = Preparation(0.0, 1 / 255, (64, 64), tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    network = new_network(hidden=(10,), std="glorot", preparation=preparation)
    images = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (5, 4096), np.uint8)
    there = javascript(
        "(model => data.images.map(image => [...predict(model, image).probabilities]))(readModel(data.model))",
        {"model": model_data(network), "images": images.tolist()},
    )
    assert there == predict(network, images)[0].tolist()


SHAPES = [(28, 28), (20, 32), (7, 5)]


@needs_node
def test_strokes_become_the_image_that_python_makes_of_their_pixels():
    source = np.random.Generator(np.random.PCG64(0))
    scribbles = [
        [
            {"width": width, "points": source.integers(-1024, 2048, (3, 2)).tolist()}
            for width in source.integers(16, 177, strokes).tolist()
        ]
        for strokes in (1, 2, 4)
    ]
    given = [drawing["strokes"] for drawing in drawings()] + scribbles
    there = javascript(
        "data.drawings.map(strokes => rasterise(strokes)).map(drawing => [[...drawing.bytes],"
        " ...data.models.map(model => [...prepare(drawing, model)])])",
        {
            "drawings": given,
            "models": [
                {"imageShape": shape, "fitted": fitted, "inverted": inverted}
                for shape in SHAPES
                for fitted, inverted in ((False, False), (True, False), (True, True))
            ],
        },
    )
    for strokes, (pixels, *images) in zip(given, there, strict=True):
        ink = rasterised(strokes)
        assert np.array_equal(np.reshape(pixels, ink.shape), ink)
        for shape, (digit, whole, inverted) in zip(SHAPES, zip(*[iter(images)] * 3, strict=True), strict=True):
            on_paper = fit(Image.fromarray(255 - ink), shape)
            assert digit == like_mnist(ink, shape).ravel().tolist()
            assert whole == on_paper.ravel().tolist()
            assert inverted == (255 - on_paper).ravel().tolist()


def test_a_drawing_and_its_picture_become_the_same_image():
    """So `predict` says the same of a picture of the drawing as the page."""
    for drawing in drawings():
        ink = rasterised(drawing["strokes"])
        image, notes = prepare(Image.fromarray(255 - ink), (28, 28), fitted=False, inverted=False)
        assert np.array_equal(image, like_mnist(ink, (28, 28)))
        assert notes == []


@needs_node
def test_nothing_drawn_is_no_image():
    assert javascript("prepare(rasterise([]), {imageShape: [28, 28]})", None) is None


@needs_node
@pytest.mark.parametrize("hidden", [(6,), (6, 5)])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_contributions_are_outputs_times_gradients(hidden, activation):
    """The derivative of a class's logit by central differences: a neuron's output is changed a little."""
    network = new_network(hidden=hidden, activation=activation, std="glorot")
    image = digits("test").images[:1]
    there = javascript(
        "(model => [...contributions(model, predict(model, data.image).inputs, 3)])(readModel(data.model))",
        {"model": model_data(network), "image": image[0].tolist()},
    )
    _, (_, h, *_) = forward(network, image)
    preparation = network.preparation._replace(shift=0.0, scale=1.0)
    above = Network(network.weights[1:], network.biases[1:], network.activation, Float64(), preparation)
    expected = []
    for neuron in range(hidden[0]):
        change = np.zeros(hidden[0])
        change[neuron] = 1e-4
        up, down = (forward(above, h + sign * change)[0][0, 3] for sign in (1, -1))
        expected.append(h[0, neuron] * (up - down) / 2e-4)
    np.testing.assert_allclose(there, expected, atol=1e-4)


def test_weights_are_whole_numbers_on_the_grid():
    W = np.array([[0.75, -1.0], [2.0**-20, 1 - 2.0**-20]])
    stored = layer_data(W, np.array([0.5, -0.5]))
    whole = np.frombuffer(base64.b64decode(stored["weights"]), np.uint8).reshape(-1, 3)
    numbers = [int.from_bytes(bytes(number), "little", signed=True) for number in whole]
    assert np.ldexp(numbers, stored["unit"]).reshape(2, 2).tolist() == W.tolist()


def test_page_is_whole_and_asks_for_nothing():
    page = make_page(new_network(preparation=MINMAX._replace(classes=("</script>", *"abcdefghi"))), "0" * 32, None)
    assert "/* DATA */" not in page
    assert not re.search(r"""(src|href)=["'](?!data:)|@import|fetch\(|https?:""", page)
    assert page.count("</script>") == 2  # the data's, the scripts'


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A model's file in the current folder."""
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "mlp.npz", new_network())
    return tmp_path / "mlp.npz"


def draw_page(*arguments):
    return CliRunner().invoke(draw, ["draw.html", "--model", "mlp.npz", *arguments])


def test_command_without_test_images(model):
    result = draw_page()
    assert result.exit_code == 0, result.output
    assert "no test images" in result.stderr
    page = (model.parent / "draw.html").read_text(encoding="utf-8")
    assert hashlib.md5(model.read_bytes()).hexdigest() in page
    assert '"accuracy"' not in page


def test_command_with_test_images(model):
    save_prepared(Path("test.npz"), *digits("test"))
    result = draw_page("--test", "test.npz")
    assert result.exit_code == 0, result.output
    data = re.search(r'id="data">(.*?)</script>', (model.parent / "draw.html").read_text(encoding="utf-8"))
    stored = json.loads(data[1])
    split = digits("test")
    right = predict(new_network(), split.images)[0].argmax(axis=1) == split.labels.argmax(axis=1)
    assert stored["accuracy"] == right.mean()
    assert [right[example["place"]] for example in stored["examples"]].count(False) == 6


def test_command_refuses_images_that_were_prepared_otherwise(model):
    save_prepared(Path("test.npz"), *digits("test"))
    save_model(model, new_network(preparation=ZSCORE))
    result = draw_page("--test", "test.npz")
    assert result.exit_code == 1
    assert "mlp.npz was not trained on the preparation that test.npz has" in result.stderr
    assert not (model.parent / "draw.html").exists()


def test_command_does_not_replace_the_model(model):
    before = model.read_bytes()
    result = CliRunner().invoke(draw, ["mlp.npz", "--model", "mlp.npz"])
    assert result.exit_code == 1
    assert "given twice" in result.stderr
    assert model.read_bytes() == before


def test_weights_too_large_to_compute_with(model):
    network = new_network()
    network.weights[0][0, 0] = 1e300
    save_model(model, network)
    result = draw_page()
    assert result.exit_code == 1
    assert "too large" in result.stderr


def luminance(colour: str) -> float:
    """Return the relative luminance of #rrggbb or #rgb, by WCAG 2.2."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[start : start + 2], 16) / 255 for start in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("front", "behind", "least"),
    [
        *((front, "card", 4.5) for front in ("text", "soft", "wrong", "for", "against")),  # words
        *((front, "page", 4.5) for front in ("text", "soft")),
        ("soft", "paper", 4.5),
        ("ink", "paper", 4.5),
        *((front, "page", 3) for front in ("accent", "edge")),  # the bars and edges
        *((front, "card", 3) for front in ("accent", "edge", "wrong")),
        ("edge", "paper", 3),
    ],
)
def test_contrast_is_that_of_wcag_aa(scheme, front, behind, least):
    light, dark = re.findall(r":root \{(.+?)\}", (FOLDER / "page.css").read_text(encoding="utf-8"), re.DOTALL)
    colours = dict(re.findall(r"--(\w+): (#\w+)", light if scheme == "light" else dark))
    brighter, darker = sorted((luminance(colours[front]), luminance(colours[behind])), reverse=True)
    assert (brighter + 0.05) / (darker + 0.05) >= least
