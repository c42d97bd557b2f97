"""The page to draw on in a real browser without a network: what people do, and whether `predict` says the same."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mlp.network import Preparation, predict
from pipeline.store.artifacts import load_model, load_prepared, save_model
from tests.support import chromium, firefox
from tests.support.drawings import drawings, rasterised
from tests.support.networks import new_network
from tests.support.project import ROOT
from tools.draw.__main__ import draw
from tools.draw.page import in_base64
from tools.pictures.preparation import like_mnist
from tools.predict import predict as predict_command

MODEL, TEST = ROOT / "models" / "mlp.npz", ROOT / "data" / "prepared" / "test.npz"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (MODEL.exists() and TEST.exists()), reason="needs the results of `dvc repro`"),
]

Tab = chromium.Tab | firefox.Tab
BROWSERS = [
    pytest.param(chromium, marks=pytest.mark.skipif(chromium.CHROMIUM is None, reason="needs Chromium"), id="chromium"),
    pytest.param(firefox, marks=pytest.mark.skipif(firefox.FIREFOX is None, reason="needs Firefox"), id="firefox"),
]
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
PROBABILITIES = "[...answer().probabilities]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("draw")


@pytest.fixture(scope="module", params=BROWSERS)
def browser(request, folder):
    with request.param.new_tab(folder / request.param.__name__) as tab:
        yield tab


@pytest.fixture
def page(browser, folder) -> Tab:
    """The page with the project's model, just opened. At the end it must not have complained."""
    path = folder / "draw.html"
    if not path.exists():
        make(path)
    browser.screen(1280)
    browser.open(path)
    yield browser
    assert browser.errors == []
    assert browser.run("performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length") == 0


def make(path: Path, *options: str) -> None:
    result = CliRunner().invoke(draw, [str(path), "--model", str(MODEL), "--test", str(TEST), *options])
    assert result.exit_code == 0, result.output


def predicted(picture: Path, model: Path = MODEL) -> list[float]:
    """Return the probabilities that `predict` prints for a picture."""
    result = CliRunner().invoke(predict_command, [str(picture), "--model", str(model), "--json"])
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    return list(found["probabilities"].values())


def as_picture(strokes: list, path: Path) -> Path:
    """Write strokes as a PNG file, dark on white."""
    Image.fromarray(255 - rasterised(strokes)).save(path)
    return path


def draw_strokes(page: Tab, strokes: list, touch: bool) -> None:
    left, top, side = page.run("(({left, top, width}) => [left, top, width])(paper.getBoundingClientRect())")
    for stroke in strokes:
        page.drag([(left + x * side / 1024, top + y * side / 1024) for x, y in stroke["points"]], touch)


@pytest.mark.parametrize("touch", [False, True], ids=["mouse", "finger"])
def test_drawn_digits_get_the_probabilities_of_predict(page, tmp_path, touch):
    for number in (0, 5, 9, 13, 15):
        page.run("clear(), show()")
        draw_strokes(page, drawings()[number]["strokes"], touch)
        drawn = page.run("state.strokes")
        assert len(drawn) == len(drawings()[number]["strokes"])
        assert all(len(stroke["points"]) > 2 for stroke in drawn)
        expected = predicted(as_picture(drawn, tmp_path / "drawing.png"))
        assert page.run(PROBABILITIES) == expected
        shown = page.run("[...document.querySelectorAll('.percent')].map(text => text.textContent)")
        assert shown == [f"{100 * probability:.1f} %" for probability in expected]
        widths = page.run("[...document.querySelectorAll('.bar')].map(bar => bar.clientWidth)")
        assert np.argmax(widths) == np.argmax(expected)


def test_drawings_get_the_probabilities_of_predict_or_are_unsure(page):
    images = np.stack([like_mnist(rasterised(drawing["strokes"]), (28, 28)) for drawing in drawings()])
    here, _ = predict(load_model(MODEL), images.reshape(-1, 784))
    for drawing, expected in zip(drawings(), here.tolist(), strict=True):
        page.run(f"state.strokes = {json.dumps(drawing['strokes'])}, show()")
        assert page.run(PROBABILITIES) == expected
        assert ("Not sure" in page.run("$('verdict').textContent")) == (max(expected) < 0.6)


def test_a_model_of_whole_pictures_gets_the_whole_drawing(browser, tmp_path):
    network = load_model(MODEL)
    network.preparation = network.preparation._replace(fitted=True, inverted=True)
    save_model(tmp_path / "mlp.npz", network)
    make(tmp_path / "draw.html", "--model", str(tmp_path / "mlp.npz"), "--test", str(tmp_path / "none.npz"))
    browser.open(tmp_path / "draw.html")
    for drawing in drawings()[3:6]:
        browser.run(f"state.strokes = {json.dumps(drawing['strokes'])}, show()")
        picture = as_picture(drawing["strokes"], tmp_path / "drawing.png")
        assert browser.run(PROBABILITIES) == predicted(picture, tmp_path / "mlp.npz") != predicted(picture)


def test_all_test_images_get_the_same_probabilities(page):
    images = load_prepared(TEST).split.images[np.arange(10_000)]
    here, _ = predict(load_model(MODEL), images)
    page.run(f"bytes = readBytes('{in_base64(images)}'), 0")
    there = page.run(
        "Array.from({length: bytes.length / 784}, (_, i) =>"
        " [...predict(model, bytes.subarray(784 * i, 784 * i + 784)).probabilities])"
    )
    assert len(there) == 10_000
    assert there == here.tolist()


def test_test_images_and_a_mistake(page):
    places = page.run("stored.examples.map(example => example.place)")
    images = load_prepared(TEST).split.images[np.array(places)]
    here, _ = predict(load_model(MODEL), images)
    wrong = []
    for number, expected in enumerate(here.tolist()):
        page.run(f"document.querySelectorAll('.thumbnails button')[{number}].click()")
        assert page.run(PROBABILITIES) == expected
        actual = page.run(f"stored.examples[{number}].class")
        wrong.append(int(np.argmax(expected)) != actual)
        assert f"really {actual}" in page.run("$('verdict').textContent")
    assert any(wrong)
    assert page.run("[...document.querySelectorAll('.thumbnails button')].map(b => b.className === 'wrong')") == wrong


def test_keyboard(page):
    """A 1 is drawn by keys alone, taken back, drawn again and cleared."""
    page.run("paper.focus()")
    for name in [*["ArrowUp"] * 15, " ", *["ArrowDown"] * 30, " ", "ArrowLeft"]:
        page.key(name)
    (stroke,) = page.run("state.strokes")
    assert stroke["points"][0] == [512, 272]
    assert stroke["points"][-1] == [512, 752]
    assert np.argmax(page.run(PROBABILITIES)) == 1
    page.key("z", control=True)
    assert page.run("state.strokes") == []
    assert page.run("$('verdict').textContent") == "Nothing there."
    for name in (" ", "ArrowUp", "Backspace"):
        page.key(name)
    assert page.run("state.strokes") == []


def test_buttons_pen_and_what_is_painted(page):
    draw_strokes(page, drawings()[13]["strokes"], touch=False)
    page.run("$('width').value = 20, 0")
    draw_strokes(page, drawings()[3]["strokes"], touch=False)
    widths = page.run("state.strokes.map(stroke => stroke.width)")
    assert widths[-1] == 20 < widths[0]
    painted = "paper.getContext('2d').getImageData(0, 0, paper.width, paper.height).data.filter(v => v).length"
    both = page.run(painted)
    page.run("$('undo').click()")
    assert len(page.run("state.strokes")) == len(widths) - 1
    assert 0 < page.run(painted) < both
    assert page.run("document.querySelectorAll('.best').length") == 1
    assert page.run("document.querySelectorAll('.neurons canvas').length") == 6
    page.run("$('clear').click()")
    assert page.run("[state.strokes.length, $('undo').disabled, $('clear').disabled]") == [0, True, True]
    assert page.run(painted) == 0
    accuracy = json.loads((ROOT / "metrics" / "test.json").read_text())["accuracy"]
    assert f"{100 * accuracy:.2f} % of the test images" in page.run("$('foot').textContent")


def test_undo_in_the_middle_of_a_stroke_ends_it(page):
    page.run("begin([100, 100]), extend([100, 300]), begin([500, 500]), pointer = 7, undo()")
    assert page.run("pointer") is None
    assert page.run("state.strokes.map(stroke => stroke.points.length)") == [2]


def test_fits_on_every_screen_in_light_and_dark(page, folder):
    for dark in (False, True):
        for width in (360, 768, 1280):
            page.screen(width, dark=dark, mobile=width < 700)
            page.open(folder / "draw.html")
            page.run(f"state.strokes = {json.dumps(drawings()[15]['strokes'])}, show()")
            assert page.run(OVERFLOW) == 0
            if shots := os.environ.get("SCREENSHOTS"):
                name = f"{type(page).__module__}-{width}-{'dark' if dark else 'light'}.png"
                page.screenshot(Path(shots, name))


def test_every_control_has_a_name(page):
    if not isinstance(page, chromium.Tab):
        pytest.skip("only Chromium's protocol tells what a screen reader gets")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"application", "button", "slider", "image", "region"}
    found = [(node["role"]["value"], node.get("name", {}).get("value")) for node in nodes if not node["ignored"]]
    assert {role for role, _ in found} >= roles
    assert [role for role, name in found if role in roles and not name] == []


@pytest.mark.parametrize("hidden", [(), (20,), (20, 10)])
def test_other_models(browser, tmp_path, hidden):
    """26 classes with names, images of another size, no test images."""
    classes = tuple(f"letter <{name}>" for name in "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    network = new_network(hidden=hidden, std="glorot", preparation=Preparation(10.0, 1 / 64, (20, 32), classes))
    save_model(tmp_path / "mlp.npz", network)
    make(tmp_path / "draw.html", "--model", str(tmp_path / "mlp.npz"), "--test", str(tmp_path / "none.npz"))
    browser.screen(360)
    browser.open(tmp_path / "draw.html")
    browser.run(f"state.strokes = {json.dumps(drawings()[3]['strokes'])}, show()")
    assert browser.errors == []
    assert browser.run("document.querySelectorAll('.bars li').length") == 26
    assert browser.run("document.querySelector('.name').textContent") == "letter <A>"
    assert browser.run("document.title") == "Draw one of 26 classes"
    assert browser.run("$('inside').hidden") == (hidden == ())
    assert browser.run(OVERFLOW) == 0
    image = np.array(browser.run("[...answer().image]"), np.uint8)
    assert browser.run(PROBABILITIES) == predict(network, image[np.newaxis])[0][0].tolist()
