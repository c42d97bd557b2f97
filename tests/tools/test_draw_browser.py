"""The page to draw on in a real browser without a network says what `predict` says."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mlp.prediction import predict
from mlp.protocol import Preparation
from pipeline.store.artifacts import load_model, save_model
from tests.support import chromium
from tests.support.browsers import BROWSERS, OVERFLOW
from tests.support.drawings import DRAWINGS, rasterised
from tests.support.networks import digits, new_network
from tools.draw.page import in_base64
from tools.predict import predict as predict_command

pytestmark = pytest.mark.slow

PROBABILITIES = "[...answer().probabilities]"
PIXELS = "paper.getContext('2d').getImageData(0, 0, paper.width, paper.height).data"
PAINTED = f"{PIXELS}.filter(v => v).length"
BOX = "$('verdict').getBoundingClientRect()"
HEIGHT = "document.documentElement.scrollHeight"
IN_SIGHT = f"{BOX}.height > 0 && {BOX}.top >= 0 && {BOX}.bottom <= innerHeight"


def printed(picture: Path, folder: Path) -> list[float]:
    """Return the probabilities that `predict` prints for a picture."""
    words = [str(picture), "--model", str(folder / "models/mlp.npz"), "--json"]
    (found,) = json.loads(CliRunner().invoke(predict_command, words).stdout)
    return list(found["probabilities"].values())


def predicted(strokes: list, folder: Path) -> list[float]:
    """Return what `predict` prints for a picture of some strokes, dark on white."""
    Image.fromarray(255 - rasterised(strokes)).save(folder / "drawing.png")
    return printed(folder / "drawing.png", folder)


def draw_strokes(page: chromium.Tab, strokes: list, touch: bool) -> None:
    box = page.run("paper.getBoundingClientRect().toJSON()")
    left, top, scale = box["left"], box["top"], box["width"] / 1024
    for stroke in strokes:
        page.drag([(left + x * scale, top + y * scale) for x, y in stroke["points"]], touch)


@pytest.mark.parametrize("browser", BROWSERS, indirect=True)
def test_images_and_drawings_get_the_same_probabilities(browser, folder):
    """All test images, those that can be clicked on, and drawings."""
    browser.open(folder / "page.html")
    images, labels = digits("test")
    expected = predict(load_model(folder / "models/mlp.npz"), images)[0].tolist()
    browser.run(f"bytes = readBytes('{in_base64(images)}'), 0")
    image = "bytes.subarray(784 * i, 784 * (i + 1))"
    each = f"Array.from({{length: 200}}, (_, i) => [...predict(model, {image})])"
    assert browser.run(each) == expected
    buttons, wrong = "[...document.querySelectorAll('#thumbnails button')]", []
    for number, example in enumerate(browser.run("stored.examples")):
        browser.run(f"{buttons}[{number}].click()")
        assert browser.run(PROBABILITIES) == expected[example["place"]]
        wrong.append(bool(np.argmax(expected[example["place"]]) != example["number"]))
        assert f"really {example['number']}" in browser.run("$('verdict').textContent")
    assert wrong.count(True) == 6
    classes = browser.run(f"{buttons}.map(button => button.className)")
    assert [name == "wrong" for name in classes] == wrong
    accuracy = np.mean(np.argmax(expected, axis=1) == labels.argmax(axis=1))
    assert f"{100 * accuracy:.2f} % of the test images" in browser.run("$('foot').textContent")
    for drawing in DRAWINGS:
        browser.run(f"clear(), state.strokes = {json.dumps(drawing)}, show()")
        assert browser.run(PROBABILITIES) == predicted(drawing, folder)


@pytest.mark.parametrize("touch", [False, True], ids=["mouse", "finger"])
def test_drawn_digits_get_the_probabilities_of_predict(page, folder, touch):
    for number in (2, 3):
        page.run("clear(), show()")
        draw_strokes(page, DRAWINGS[number], touch)
        drawn = page.run("state.strokes")
        assert len(drawn) == len(DRAWINGS[number]) == 2
        assert all(len(stroke["points"]) > 2 for stroke in drawn)
        expected = predicted(drawn, folder)
        assert page.run(PROBABILITIES) == expected
        shown = page.run("[...document.querySelectorAll('.percent')].map(text => text.textContent)")
        assert shown == [f"{100 * probability:.1f}\u00a0%" for probability in expected]
        widths = page.run("[...document.querySelectorAll('.bar')].map(bar => bar.clientWidth)")
        assert np.argmax(widths) == np.argmax(expected)
        assert ("Not sure" in page.run("$('verdict').textContent")) == (max(expected) < 0.6)


def test_keys(page):
    """A 1 is drawn by keys alone, taken back, drawn again and cleared."""
    page.run("paper.focus()")
    for name in [*["ArrowUp"] * 15, " ", *["ArrowDown"] * 30, " ", "ArrowLeft"]:
        page.key(name)
    (stroke,) = page.run("state.strokes")
    assert (stroke["points"][0], stroke["points"][-1]) == ([512, 272], [512, 752])
    page.key("z", control=True)
    assert page.run("state.strokes") == []
    for name in (" ", "ArrowUp", "Backspace"):
        page.key(name)
    assert page.run("state.strokes") == []


def test_buttons_pen_and_what_is_painted(page):
    draw_strokes(page, DRAWINGS[4], touch=False)
    page.run("$('width').value = 20, 0")
    draw_strokes(page, DRAWINGS[1], touch=False)
    widths = page.run("state.strokes.map(stroke => stroke.width)")
    assert widths[-1] == 20 < widths[0]
    both = page.run(PAINTED)
    page.run("$('undo').click()")
    assert len(page.run("state.strokes")) == len(widths) - 1
    assert 0 < page.run(PAINTED) < both
    assert page.run("document.querySelectorAll('#bars .best').length") == 1
    page.run("$('clear').click()")
    state = page.run("[state.strokes.length, $('undo').disabled, $('clear').disabled]")
    assert state == [0, True, True]
    assert page.run(PAINTED) == 0
    assert page.run("$('verdict').textContent") == "Nothing there."


def test_it_begins_with_an_example_and_a_tap_on_another_shows_its_answer(page, folder):
    page.screen(390, 844, mobile=True)
    page.open(folder / "page.html")
    assert "really" in page.run("$('verdict').textContent")
    number = page.run("examples[12].number")
    page.press("$('thumbnails').children[12]", touch=True)
    assert page.run(IN_SIGHT)
    assert f"really {number}" in page.run("$('verdict').textContent")


def test_the_verdict_stays_in_sight_on_a_telephone(page, folder):
    page.screen(360, 640, mobile=True)
    page.open(folder / "page.html")
    for part in ("paper", "go"):
        page.run(f"$('{part}').scrollIntoView({{block: 'center'}})")
        assert page.run(IN_SIGHT), part


@pytest.mark.parametrize("width", [360, 768, 1100])
def test_drawing_does_not_move_the_page(page, folder, width):
    page.screen(width)
    page.open(folder / "page.html")
    height = page.run(HEIGHT)
    for _ in range(5):
        page.run(f"show(), {HEIGHT}")
    assert page.run(HEIGHT) == height


def test_predict_reads_the_drawing_in_a_saved_picture(page, folder, tmp_path):
    """The picture shows the answer, too, which must not count as ink; a dot is the least ink."""
    dot = [{"width": 16, "points": [[300, 700]]}]
    for drawing in [*DRAWINGS, dot]:
        keep = "async file => { saved = [...new Uint8Array(await file.arrayBuffer())]; }"
        page.run(f"putOnPaper({{strokes: {json.dumps(drawing)}}}), saved = null, save = {keep}")
        page.run("savePicture(), 0")
        while not (saved := page.run("saved")):
            time.sleep(0.05)
        (tmp_path / "drawing.png").write_bytes(bytes(saved))
        assert printed(tmp_path / "drawing.png", folder) == page.run(PROBABILITIES)


@pytest.mark.parametrize(("hidden", "whole"), [((), False), ((20, 10), True)])
def test_other_models(page, make, tmp_path, hidden, whole):
    """26 classes, some with the longest names, images of another size, whole pictures."""
    classes = ("letter <A>", *(letter * 100 for letter in "BCDEFGHIJKLMNOPQRSTUVWXYZ"))
    preparation = Preparation(10.0, 1 / 64, (20, 32), classes, whole, whole)
    network = new_network(hidden=hidden, std="glorot", preparation=preparation)
    save_model(tmp_path / "models/mlp.npz", network)
    page.screen(360)
    page.open(make(tmp_path))
    strokes = DRAWINGS[1]
    page.run(f"state.strokes = {json.dumps(strokes)}, show()")
    assert page.run(PROBABILITIES) == predicted(strokes, tmp_path)
    assert page.run("document.querySelectorAll('#bars li').length") == 26
    assert page.run("document.querySelector('.name').textContent") == "letter <A>"
    assert page.run(OVERFLOW) == 0
    assert page.run(IN_SIGHT)
    assert page.run("document.querySelector('.track').clientWidth") > 10
