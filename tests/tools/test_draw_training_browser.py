"""The page trains in real browsers without a network, and Python makes the same bytes."""

import base64
import gzip
import hashlib
import json
import re
import shlex
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from mlp.prediction import predict
from pipeline.store.artifacts import load_model
from tests.support import chromium
from tests.support.browsers import BROWSERS, OVERFLOW
from tests.support.drawings import DRAWINGS
from tests.support.networks import digits
from tests.support.project import ROOT
from tests.support.proofs import project_like, train_in_python

pytestmark = pytest.mark.slow


def wait(page, condition: str, seconds: float = 120) -> None:
    """Wait until a JavaScript expression is true in the page."""
    deadline = time.monotonic() + seconds
    said = "[phase, $('now').textContent, $('complaint').textContent]"
    while not page.run(condition):
        assert time.monotonic() < deadline, page.run(said)
        time.sleep(0.05)


def choose(page, **values: str) -> None:
    """Write values into fields."""
    for name, value in values.items():
        page.run(f"fields.{name}.value = {json.dumps(value)}, showSettings()")


def trained(page) -> bytes:
    """Wait until training has ended; return the model's file, as the page saves it."""
    wait(page, "phase === 'done'")
    return bytes(page.run("[...training.latest.file]"))


@pytest.mark.parametrize(("width", "how"), [(360, "finger"), (768, "keyboard"), (1280, "mouse")])
def test_a_training_ends_with_the_bytes_of_dvc_lock(page, folder, width, how):
    """The scores, the proof, and the drawing part."""
    page.screen(width, dark=width == 768, mobile=width == 360)
    page.open(folder / "page.html")

    def press(button: str) -> None:
        if how == "keyboard":
            page.run(f"$('{button}').focus()")
            page.key("Enter", text="\r")
        else:
            page.press(f"$('{button}')", touch=how == "finger")

    press("go")
    model = trained(page)
    assert model == (folder / "models/mlp.npz").read_bytes()
    assert "The same bytes as in dvc.lock" in page.run("$('bytes').textContent")
    history = np.genfromtxt(folder / "history.csv", delimiter=",", names=True)
    assert page.run(
        "training.latest.epochs.map(e => [e.loss, e.scores[1].loss, e.scores[1].accuracy])"
    ) == [[row["loss"], row["validation_loss"], row["validation_accuracy"]] for row in history]
    images, labels = digits("test")
    expected = predict(load_model(folder / "models/mlp.npz"), images)[0]
    accuracy = np.mean(expected.argmax(axis=1) == labels.argmax(axis=1))
    assert f"{100 * accuracy:.2f} % of the test images" in page.run("$('results').textContent")
    page.run(f"state.strokes = {json.dumps(DRAWINGS[3])}, show()")
    assert page.run("model.md5") == hashlib.md5(model).hexdigest()
    found = page.run(f"[...predict(model, new Uint8Array({images[0].tolist()}))]")
    assert found == expected[0].tolist()
    assert page.run(OVERFLOW) == 0
    top = "button => button.getBoundingClientRect().top"
    tops = page.run(f"[...$('thumbnails').children].map({top})")
    assert len({tops.count(top) for top in tops}) == 1, "each row has as many test images"
    press("restart")
    assert page.run("phase === 'none' && $('proof').hidden && !fields.seed.disabled")
    assert page.run("model === original")


@pytest.mark.parametrize("browser", BROWSERS, indirect=True)
def test_real_data_and_the_md5_of_python(browser, make, tmp_path):
    """2,000 steps on MNIST; meanwhile the page draws frames in Chromium."""
    browser.open(make(ROOT, str(tmp_path / "page.html")))
    if not browser.run("Boolean(proof)"):
        pytest.skip("needs the data that dvc.lock describes, scaled by minmax: dvc repro")
    choose(browser, iterations="2000")
    note = "if (training.latest) longest = Math.max(longest, now - before); before = now;"
    watch = f"watch = now => {{ {note} requestAnimationFrame(watch) }}"
    browser.run(f"(longest = 0, before = performance.now(), {watch}, watch(before), 0)")
    browser.run("$('go').click()")
    md5 = hashlib.md5(trained(browser)).hexdigest()
    if isinstance(browser, chromium.Tab):  # without a screen, Firefox draws one frame a second
        assert browser.run("longest") < 500, "milliseconds without a frame"
    options = shlex.split(browser.run("$('command').textContent"))[3:]
    assert md5 == train_in_python(project_like(ROOT, tmp_path), *options)
    assert md5 in browser.run("$('bytes').textContent")


def test_each_preset_does_what_its_sentence_says(page, make, tmp_path):
    """1,000 steps on MNIST; with one neuron, two or three classes of ten."""
    page.open(make(ROOT, str(tmp_path / "page.html")))
    if not page.run("Boolean(proof)"):
        pytest.skip("needs the data that dvc.lock describes, scaled by minmax: dvc repro")
    accuracies = []
    for number in range(4):
        page.run(f"$('presets').children[{number}].click(), $('go').click()")
        trained(page)
        accuracies.append(page.run("training.latest.test.accuracy"))
        page.run("$('restart').click()")
    first, too_large, no_layer, one_neuron = accuracies
    assert first > 0.8
    assert too_large < 0.3
    assert no_layer > 0.8
    assert one_neuron < 0.4


RELU = {"activation": "relu", "weight_init_std": "he", "momentum": "0.9", "learning_rate": "0.01"}
SETTINGS = {
    "two hidden layers": {**RELU, "hidden_sizes": "30, 20"},
    "no hidden layer": {"hidden_sizes": "", "seed": str(2**32 - 1), "batch_size": "33"},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_command_on_the_page_makes_the_same_bytes(page, folder, tmp_path, settings):
    choose(page, iterations="60", **settings)
    command = shlex.split(page.run("$('command').textContent"))
    assert command[:3] == ["dvc", "exp", "run"]
    page.run("$('go').click()")
    md5 = hashlib.md5(trained(page)).hexdigest()
    assert md5 == train_in_python(project_like(folder, tmp_path), *command[3:])
    assert md5 in page.run("$('bytes').textContent")


def test_a_changed_byte_is_refused_in_one_sentence(page, folder, tmp_path):
    """A byte of an image; two bytes of the packed file; a character that is not base64."""
    html = (folder / "page.html").read_text(encoding="utf-8")
    (packed,) = re.findall(r'id="data/prepared/validation.npz">(.*?)<', html)
    content = bytearray(gzip.decompress(base64.b64decode(packed)))
    content[len(content) // 2] ^= 1
    for damaged in (
        base64.b64encode(gzip.compress(content)).decode(),
        packed[:1000] + packed[1003:1000:-1] + packed[1003:],
        packed[:1000] + "*" + packed[1001:],
    ):
        (tmp_path / "damaged.html").write_text(html.replace(packed, damaged), encoding="utf-8")
        page.open(tmp_path / "damaged.html")
        for _ in range(2):  # it is refused again
            page.run("$('go').click()")
            wait(page, "phase === 'failed'")
            sentence = page.run("$('complaint').textContent")
            assert "validation.npz" in sentence
            assert "damaged" in sentence
            state = page.run("[training.latest, $('go').disabled, $('proof').hidden]")
            assert state == [None, True, True]
            page.run("$('restart').click()")


def test_a_link_brings_the_settings_the_drawing_and_the_md5(page, folder, tmp_path):
    choose(page, iterations="20", hidden_sizes="7, 5", momentum="0.9")
    page.run(f"putOnPaper({{strokes: {json.dumps(DRAWINGS[3])}}})")
    page.run("$('go').click()")
    md5 = hashlib.md5(trained(page)).hexdigest()
    page.run("$('link').click()")
    address = page.run("location.hash")
    (tmp_path / "page.html").symlink_to(folder / "page.html")  # another copy of the page
    page.open(tmp_path / "page.html")
    page.run(f"location.hash = {json.dumps(address)}")
    wait(page, "$('sent').textContent")
    assert page.run("state.strokes") == DRAWINGS[3]
    assert md5 in page.run("$('sent').textContent")
    page.run("$('go').click()")
    assert hashlib.md5(trained(page)).hexdigest() == md5
    assert "the bytes that the link states" in page.run("$('bytes').textContent")
    for wrong in ("#drawing=AAAA&seed=x", "#drawing=%3Cb%3E&seed=1&md5=<b>", "#&&&=%"):
        page.run("$('restart').click()")
        page.run(f"location.hash = {json.dumps(wrong)}")
        assert page.run("$('sent').children.length") == 0


def test_pause_and_go_on(page, folder, tmp_path):
    choose(page, iterations="3000")
    page.run("clock = 0, performance.now = () => 1000 * clock, 0")  # seconds
    page.press("$('go')")
    wait(page, "training.latest?.iteration > 10")
    page.run("clock = 2")
    page.press("$('go')")
    time.sleep(1)  # until the worker has stopped, and has said where
    before = page.run("training.latest.iteration")
    time.sleep(0.5)
    assert page.run("[phase, training.latest.iteration]") == ["paused", before]
    assert before < 3000
    page.run("clock = 50")
    page.press("$('go')")
    page.run("clock = 51")
    md5 = hashlib.md5(trained(page)).hexdigest()
    assert " steps in 3.0 s" in page.run("$('results').textContent"), "the pause does not count"
    assert md5 == train_in_python(project_like(folder, tmp_path), "-S", "train.iterations=3000")


def test_hidden_closed_and_started_twice(page, folder):
    page.press("$('go')")
    x, y = page.run("(({left, top}) => [left + 5, top + 5])($('go').getBoundingClientRect())")
    page.drag([(x, y)], touch=False, clicks=2)  # the second click of a double click
    page.run("worker.postMessage({isRunning: true})")
    page.call("Page.setWebLifecycleState", state="frozen")
    time.sleep(0.3)
    page.call("Page.setWebLifecycleState", state="active")
    assert trained(page) == (folder / "models/mlp.npz").read_bytes()
    page.open(folder / "page.html")
    choose(page, iterations="100000")
    page.run("$('go').click()")
    wait(page, "training.latest?.iteration > 10")
    page.open(folder / "page.html")  # closed in the middle
    assert page.run("[phase, fields.iterations.value]") == ["none", "300"]


def test_wrong_values_do_not_start_and_a_training_that_diverges_says_so(page):
    wrong = [("hidden_sizes", "0"), ("learning_rate", "0"), ("seed", "-1"), ("iterations", "")]
    wrong += [("weight_init_std", value) for value in ("many", "0x10", "Infinity", "0", "0e-3")]
    for name, value in wrong:
        right = page.run(f"fields.{name}.value")
        choose(page, **{name: value})
        page.run("$('go').click()")
        state = page.run("[phase, document.activeElement.name, $('changed').hidden]")
        assert state == ["none", name, True]
        choose(page, **{name: right})
    page.run("kept = Worker, Worker = undefined, $('go').click(), Worker = kept, 0")
    assert "starts no worker" in page.run("$('complaint').textContent")
    choose(page, batch_size="501")
    page.run("$('go').click()")
    wait(page, "phase === 'failed'")
    assert "500 training images" in page.run("$('complaint').textContent")
    page.run("$('restart').click()")
    choose(page, batch_size="50", learning_rate="1e200", activation="relu")
    page.run("$('go').click()")
    wait(page, "phase === 'failed'")
    assert "diverged" in page.run("$('complaint').textContent")
    page.run(f"clear(), state.strokes = {json.dumps(DRAWINGS[3])}, show()")
    assert page.run("model === original")


def test_keys_in_a_field_do_not_clear_the_drawing_and_every_control_has_a_name(page):
    page.run(f"clear(), state.strokes = {json.dumps(DRAWINGS[3])}, show()")
    page.run("fields.seed.focus(), fields.seed.select()")
    page.key("Backspace")
    page.call("Input.insertText", text="7")
    assert page.run("[state.strokes.length, fields.seed.value]") == [len(DRAWINGS[3]), "7"]
    assert "train.seed=7" in page.run("$('command').textContent")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    seen = [node for node in nodes if not node["ignored"]]
    found = [(node["role"]["value"].lower(), node.get("name", {}).get("value")) for node in seen]
    controls = {"application", "button", "slider", "image", "region"}
    controls |= {"textbox", "spinbutton", "combobox"}
    assert {role for role, _ in found} >= controls
    assert [role for role, name in found if role in controls | {"progressbar"} and not name] == []


def main() -> None:
    """Make docs' pictures from draw.html: `python -m tests.tools.test_draw_training_browser`."""
    kept = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # the browser may still write
    with kept as folder, chromium.new_tab(Path(folder, "tab")) as page:
        page.screen(1100)
        page.open(ROOT / "draw.html")
        page.run(f"putOnPaper({{strokes: {json.dumps(DRAWINGS[2])}}}), writeSettings({{}})")
        page.screenshot(ROOT / "docs/draw.png", "document.querySelector('main .drawing')")
        page.run("$('go').click()")
        wait(page, "training.latest?.epochs.length >= 20", seconds=600)
        page.run("$('go').click()")
        time.sleep(1)
        page.screenshot(ROOT / "docs/train.png", "$('train')")


if __name__ == "__main__":
    main()
