"""The page to draw on in a real browser without a network: what people do, and whether `predict` says the same."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mlp.network import Preparation, predict
from pipeline.store.artifacts import load_model, load_prepared, save_model
from tests.chromium import CHROMIUM, Tab, new_tab
from tests.conftest import ROOT
from tests.drawings import drawings, rasterised
from tests.networks import new_network
from tools.digits import prepare
from tools.draw.__main__ import draw
from tools.draw.page import in_base64
from tools.predict import predict as predict_command

MODEL, TEST = ROOT / "models" / "mlp.npz", ROOT / "data" / "prepared" / "test.npz"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
    pytest.mark.skipif(not (MODEL.exists() and TEST.exists()), reason="needs the results of `dvc repro`"),
]

PROBABILITIES = "[...answer().probabilities]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("draw")


@pytest.fixture(scope="module")
def browser(folder):
    with new_tab(folder / "chromium") as tab:
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


def predicted(picture: Path) -> list[float]:
    """Return the probabilities that `predict` prints for a picture."""
    result = CliRunner().invoke(predict_command, [str(picture), "--model", str(MODEL), "--json"])
    assert result.exit_code == 0, result.output
    return list(json.loads(result.stdout)[0]["probabilities"].values())


def as_picture(strokes: list, path: Path) -> Path:
    """Write strokes as a PNG file, dark on white."""
    Image.fromarray(255 - rasterised(strokes)).save(path)
    return path


def on_screen(page: Tab, points: list) -> list[tuple[float, float]]:
    """Return where points of the paper are in the window."""
    box = page.run("(({left, top, width}) => [left, top, width])(paper.getBoundingClientRect())")
    return [(box[0] + x * box[2] / 1024, box[1] + y * box[2] / 1024) for x, y in points]


def mouse(page: Tab, strokes: list) -> None:
    def send(kind: str, place: tuple, buttons: int) -> None:
        page.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", buttons=buttons)

    for stroke in strokes:
        first, *others = on_screen(page, stroke["points"])
        send("mousePressed", first, 1)
        for place in others:
            send("mouseMoved", place, 1)
        send("mouseReleased", [first, *others][-1], 0)


def finger(page: Tab, strokes: list) -> None:
    def send(kind: str, places: list) -> None:
        page.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y} for x, y in places])

    for stroke in strokes:
        first, *others = on_screen(page, stroke["points"])
        send("touchStart", [first])
        for place in others:
            send("touchMove", [place])
        send("touchEnd", [])


@pytest.mark.parametrize("hand", [mouse, finger])
def test_drawn_digits_get_the_probabilities_of_predict(page, tmp_path, hand):
    for number in (0, 5, 9, 13, 15):  # by hand
        page.run("clear(); show()")
        hand(page, drawings()[number]["strokes"])
        drawn = page.run("state.strokes")
        assert len(drawn) == len(drawings()[number]["strokes"])
        assert all(len(stroke["points"]) > 2 for stroke in drawn)
        expected = predicted(as_picture(drawn, tmp_path / "drawing.png"))
        assert page.run(PROBABILITIES) == expected
        shown = page.run("[...document.querySelectorAll('.percent')].map(text => text.textContent)")
        assert shown == [f"{100 * probability:.1f} %" for probability in expected]
        widths = page.run("[...document.querySelectorAll('.bar')].map(bar => bar.clientWidth)")
        assert np.argmax(widths) == np.argmax(expected)


def test_all_stored_drawings_get_the_probabilities_of_predict(page):
    network = load_model(MODEL)
    images = np.stack([prepare(rasterised(drawing["strokes"])) for drawing in drawings()])
    here, _ = predict(network, images.reshape(-1, 784))
    page.run(f"drawn = {json.dumps([drawing['strokes'] for drawing in drawings()])}; 0")
    there = page.run(
        "drawn.map(strokes => [...predict(model, prepare(rasterise(strokes), model.imageShape)).probabilities])"
    )
    assert len(there) == 500
    assert there == here.tolist()


def test_all_test_images_get_the_same_probabilities(page):
    images = load_prepared(TEST).split.images[np.arange(10_000)]
    here, _ = predict(load_model(MODEL), images)
    page.run(f"bytes = readBytes('{in_base64(images)}'); 0")
    there = page.run(
        "Array.from({length: bytes.length / 784}, (_, i) =>"
        " [...predict(model, bytes.subarray(784 * i, 784 * i + 784)).probabilities])"
    )
    assert len(there) == 10_000
    assert there == here.tolist()


def test_picture_files(page, tmp_path):
    grey = Image.fromarray(rasterised(drawings()[13]["strokes"]))
    colours = Image.new("RGB", grey.size, "khaki")
    colours.paste("navy", mask=grey.resize((200, 256)).resize(grey.size))
    colours.save(tmp_path / "seven.png")
    (tmp_path / "no-picture.png").write_text("nothing")
    document = page.call("DOM.getDocument")["root"]["nodeId"]
    for name, expected in [("seven.png", predicted(tmp_path / "seven.png")), ("no-picture.png", None)]:
        node = page.call("DOM.querySelector", nodeId=document, selector="#file")["nodeId"]
        page.call("DOM.setFileInputFiles", nodeId=node, files=[str(tmp_path / name)])
        while name not in page.run("$('verdict').textContent"):
            time.sleep(0.05)
        if expected:
            assert page.run(PROBABILITIES) == expected
        else:
            assert "cannot read it" in page.run("$('verdict').textContent")
            assert page.run("answer()") is None


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


def key(page: Tab, name: str, modifiers: int = 0) -> None:
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key=name, modifiers=modifiers)


def test_keyboard(page):
    """A 1 is drawn by keys alone, taken back, drawn again and cleared."""
    key(page, "Tab")
    page.run("paper.focus()")
    for name in [*["ArrowUp"] * 15, " ", *["ArrowDown"] * 30, " ", "ArrowLeft"]:
        key(page, name)
    (stroke,) = page.run("state.strokes")
    assert stroke["points"][0] == [512, 272]
    assert stroke["points"][-1] == [512, 752]
    assert np.argmax(page.run(PROBABILITIES)) == 1
    key(page, "z", modifiers=2)  # Ctrl
    assert page.run("state.strokes") == []
    assert page.run("$('verdict').textContent") == "Nothing there."
    for name in (" ", "ArrowUp", "Delete"):
        key(page, name)
    assert page.run("state.strokes") == []


def test_unsure_answers_say_so(page):
    for drawing in drawings():
        page.run(f"state.strokes = {json.dumps(drawing['strokes'])}; show()")
        if max(page.run(PROBABILITIES)) < 0.6:
            assert "Not sure" in page.run("$('verdict').textContent")
            break
    else:
        pytest.fail("all drawings are clear to the network")


def test_fits_on_every_screen_in_light_and_dark(page, folder):
    for dark in (False, True):
        for width in (360, 768, 1280):
            page.screen(width, dark=dark, mobile=width < 700)
            page.open(folder / "draw.html")
            page.run(f"state.strokes = {json.dumps(drawings()[15]['strokes'])}; show()")
            assert page.run("document.documentElement.scrollWidth") <= width
            if shots := os.environ.get("SCREENSHOTS"):
                page.screenshot(Path(shots, f"draw-{width}-{'dark' if dark else 'light'}.png"))


def test_every_control_has_a_name(page):
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
    browser.run(f"state.strokes = {json.dumps(drawings()[3]['strokes'])}; show()")
    assert browser.errors == []
    assert browser.run("document.querySelectorAll('.bars li').length") == 26
    assert browser.run("document.querySelector('.name').textContent") == "letter <A>"
    assert browser.run("document.title") == "Draw one of 26 classes"
    assert browser.run("$('inside').hidden") == (hidden == ())
    assert browser.run("document.documentElement.scrollWidth") <= 360
    image = np.array(browser.run("[...answer().image]"), np.uint8)
    assert browser.run(PROBABILITIES) == predict(network, image[np.newaxis])[0][0].tolist()
