"""Prediction: the command says what is on pictures and images, or what is wrong with a file."""

import gzip
import json
import re
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mlp.prediction import predict
from pipeline.store.artifacts import load_model, save_model
from tests.support.files import drawn, idx
from tests.support.networks import digits
from tests.support.project import SAMPLE
from tests.support.proofs import MODEL, new_proven_project
from tests.support.refusals import refusal
from tools.predict import predict as app

PACKED = SAMPLE / "t10k-images-idx3-ubyte.gz"
LABELS = SAMPLE / "t10k-labels-idx1-ubyte.gz"
CONTENT = gzip.decompress(PACKED.read_bytes())
RANDOM = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A small network trained on the sample."""
    return new_proven_project(tmp_path_factory.mktemp("trained")) / MODEL


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """A function that runs the command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments, model=trained):
        return CliRunner().invoke(app, [*map(str, arguments), "--model", str(model)])

    return invoke


@pytest.fixture
def predictions(run):
    """A function that runs the command with --json and returns what it printed."""

    def invoke(*arguments, **options):
        result = run(*arguments, "--json", **options)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return invoke


def test_idx_file_is_predicted_as_it_is(trained, predictions):
    Path("images").write_bytes(CONTENT)
    found = predictions("images")
    images, labels = digits("test")
    expected, _ = predict(load_model(trained), images)
    assert [[*prediction["probabilities"].values()] for prediction in found] == expected.tolist()
    assert [prediction["index"] for prediction in found] == list(range(200))
    assert np.mean([int(p["class"]) for p in found] == labels.argmax(axis=1)) > 0.75
    packed = predictions(PACKED, "--limit", 7)
    assert [p["probabilities"] for p in packed] == [p["probabilities"] for p in found[:7]]


def test_formats(predictions):
    names = [f"seven.{kind}" for kind in ("png", "jpg", "gif", "bmp", "tif", "webp", "ppm")]
    for name in names:
        drawn(scale=4).save(name)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    drawn(scale=4).transpose(Image.Transpose.ROTATE_90).save("turned.png", exif=exif)
    found = predictions(*names, "turned.png")
    assert [p["file"] for p in found] == [*names, "turned.png"]
    assert found[-1]["probabilities"] == found[0]["probabilities"]
    assert all(abs(p["probability"] - found[0]["probability"]) < 0.1 for p in found)


def test_table_and_json_agree(run, predictions):
    drawn().save("a [bold]seven[-b].png")
    files = ["a [bold]seven[-b].png", PACKED, "--limit", 5]
    result = run(*files)
    assert (result.exit_code, result.stderr) == (0, "")
    header, _, *rows = result.stdout.splitlines()
    assert header.split() == ["file", "class", "probability", "next"]
    for row, prediction in zip(rows, predictions(*files), strict=True):
        where, index = prediction["file"], prediction["index"]
        where += "" if index is None else f" [{index}]"
        ranking = sorted(prediction["probabilities"].items(), key=lambda item: -item[1])[:3]
        shown = [f"{name} {100 * probability:.1f} %" for name, probability in ranking]
        assert re.sub(r"[(), ]+", " ", row.split(where)[1]).strip() == " ".join(shown)
        assert (prediction["class"], prediction["probability"]) == ranking[0]


def test_notes_and_a_model_that_cannot_be_used(run, predictions, trained):
    """Notes on the images of an IDX file are in the JSON alone."""
    model = load_model(trained)  # one that finds every class equally probable
    model.weights, model.biases = [W * 0 for W in model.weights], [b * 0 for b in model.biases]
    save_model(Path("undecided.npz"), model)
    drawn(scale=4).save("7.gif", save_all=True, append_images=[Image.new("RGB", (120, 160))])
    notes = ["the first of several pictures is used"]
    notes += ["not sure: the most probable class has 10.0 %"]
    files = ("7.gif", PACKED, "--limit", 1)
    result = run(*files, model="undecided.npz")
    assert result.exit_code == 0
    assert result.stderr == "".join(f"note: 7.gif: {note}.\n" for note in notes)
    row = result.stdout.splitlines()[2].split()
    assert " ".join(row) == "7.gif 0 10.0 % 1 (10.0 %), 2 (10.0 %)"
    assert [p["notes"] for p in predictions(*files, model="undecided.npz")] == [notes, notes[1:]]
    model.weights = [W + 1e200 for W in model.weights]
    save_model(Path("huge.npz"), model)
    refusal(run("7.gif", model="huge.npz"), "huge.npz", "too large")


def test_files_that_are_no_image(run, tmp_path, capfd):
    refusal(run("x.png"), "x.png", "No such file")
    refusal(run(tmp_path), tmp_path)
    drawn().save("good.png")
    for content in (b"", b"<html>404</html>", b"%!PS-Adobe-3.0 EPSF-3.0\n"):
        Path("bad.png").write_bytes(content)
        refusal(run("good.png", "bad.png", "good.png"), "bad.png", "not an image")
    for content in (b"\0\0\0\x18ftypheic", b"\0\0\0\x0cjP  \r\n\x87\n"):  # HEIC and JPEG 2000
        Path("x.heic").write_bytes(content + bytes(99))
        refusal(run("x.heic"), "x.heic", "not an image")
    drawn().save("x.pcx")  # Pillow could read it
    refusal(run("x.pcx"), "x.pcx", "not an image")
    for name in ["x.png", "x.jpg", "x.tif"]:
        drawn(scale=9).save(name)
        content = Path(name).read_bytes()
        Path(name).write_bytes(content[: len(content) * 2 // 3])
        refusal(run(name), name, "cannot be read")
    drawn(scale=9).save("x.tif", compression="tiff_adobe_deflate")
    content = Path("x.tif").read_bytes()
    Path("x.tif").write_bytes(content[:20] + b"\xff" * 20 + content[40:])
    refusal(run("x.tif"), "x.tif", "cannot be read")
    assert capfd.readouterr().err == "", "libtiff writes there"


def test_pictures_that_are_blank_or_too_large(run, monkeypatch):
    Image.new("RGB", (50, 50), "white").save("x.png")
    refusal(run("x.png"), "x.png", "blank")
    for width, height in ((7072, 7071), (1, 65_536), (65_536, 1)):
        most = "50,000,000" if width == 7072 else "65,535"
        Image.new("1", (width, height)).save("x.png")
        refusal(run("x.png"), "x.png", most, f"{width} × {height}")
    # a long tile
    tags = {256: 100, 257: 90, 258: 8, 259: 8, 262: 1, 277: 1, 322: 16, 323: 400_000, 324: 8}
    tags |= {325: 0}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    Path("x.tif").write_bytes(struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4))
    refusal(run("x.tif"), "x.tif", "35,000,000", "100 × 400000")


def test_short_files_that_would_take_long(run, predictions):
    """A JPEG file with many scans, a PPM file with many spaces, a JPEG file with many segments."""
    drawn(scale=4).save("7.jpg", progressive=True)
    content = Path("7.jpg").read_bytes()
    scan = content[content.rindex(b"\xff\xda") : -2]
    for scans, file in ((80, "some.jpg"), (101, "x.jpg")):
        Path(file).write_bytes(content[:-2] + scans * scan + content[-2:])
    assert predictions("some.jpg")[0]["class"] == predictions("7.jpg")[0]["class"]
    refusal(run("x.jpg"), "x.jpg", "100 scans")
    Path("x.jpg").write_bytes(content[:2] + b"\xff\xee\0\2" * 400_000 + content[2:])
    refusal(run("x.jpg"), "x.jpg", "too many parts")
    Path("x.ppm").write_bytes(b"P2 40 30 255" + b" " * 33_554_432 + b"1 " * 1200)
    refusal(run("x.ppm"), "x.ppm", "33,554,432 bytes")


def test_damaged_idx_file(run, monkeypatch):
    packed = gzip.compress(CONTENT)
    damage = "gzip file is damaged"
    for content, *words in (
        (LABELS.read_bytes(), "labels"),
        (b"\0\0\x0d\x03" + bytes(99), "something else"),
        (bytes(99) + b"x", "not an image"),
        (CONTENT[:8] + struct.pack(">II", 14, 56) + CONTENT[16:], "28 × 28", "14 × 56"),
        (CONTENT[:-1], "200 images of 28 × 28"),
        (CONTENT + b"0", "200 images of 28 × 28"),
        (CONTENT[:8] + bytes(8), "1 to 268,435,456"),
        (packed[:-100], damage),
        (packed[:-8] + bytes(8), damage),
    ):
        Path("x").write_bytes(content)
        refusal(run("x"), "x", *words)
    monkeypatch.setattr("tools.pictures.files.MOST_OF_IDX", 100_000)
    refusal(run(PACKED), PACKED, "100,000", "200 × 28 × 28")
    assert run(PACKED, "--limit", 127).exit_code == 0


def test_a_model_of_whole_pictures_gets_whole_pictures(run, predictions, trained):
    """A picture of the right size is used as it is, or inverted, as the model or an option says."""
    Image.fromarray(RANDOM).save("x.png")
    Image.fromarray(255 - RANDOM).save("inverted.png")
    Path("idx").write_bytes(idx(RANDOM[np.newaxis]))
    model = load_model(trained)
    for name, inverted in (("whole.npz", False), ("inverted.npz", True)):
        model.preparation = replace(model.preparation, whole=True, inverted=inverted)
        save_model(Path(name), model)

    def found(*arguments, model=trained):
        return [answer["probabilities"] for answer in predictions(*arguments, model=model)]

    (expected,) = found("idx")  # an IDX file has images already
    assert found("idx", "x.png", model="whole.npz") == [expected] * 2
    assert found("idx", "inverted.png", model="inverted.npz") == [expected] * 2
    assert found("x.png", "--as-it-is", model="inverted.npz") == [expected]
    assert found("idx", "inverted.png", "--fit", "--invert") == [expected] * 2
    assert found("x.png", "--digit", model="whole.npz") == found("x.png") != [expected]
