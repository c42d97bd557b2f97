"""Prediction: the command says what is on pictures and images, or what is wrong with a file."""

import gzip
import json
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mlp import network
from mlp.arithmetic import ARITHMETICS
from pipeline.store.artifacts import load_model, save_model
from tests.support import networks
from tests.support.files import drawn, idx
from tests.support.networks import digits
from tests.support.project import SAMPLE
from tests.support.refusals import refusal
from tools.predict import predict as app

PACKED = SAMPLE / "t10k-images-idx3-ubyte.gz"
LABELS = SAMPLE / "t10k-labels-idx1-ubyte.gz"
CONTENT = gzip.decompress(PACKED.read_bytes())
RANDOM = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A small network trained on the sample."""
    path = tmp_path_factory.mktemp("trained") / "mlp.npz"
    model = networks.new_network()
    networks.run(model, 200)
    save_model(path, model)
    return path


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


@pytest.fixture
def undecided(trained, tmp_path) -> Path:
    """A network that finds every class of every image equally probable."""
    model = load_model(trained)
    model.weights = [W * 0 for W in model.weights]
    model.biases = [b * 0 for b in model.biases]
    save_model(tmp_path / "undecided.npz", model)
    return tmp_path / "undecided.npz"


# What is printed


def test_idx_file_is_predicted_as_it_is(trained, predictions):
    Path("images").write_bytes(CONTENT)
    found = predictions("images")
    images, labels = digits("test")
    expected, _ = network.predict(load_model(trained), images)
    assert [[*prediction["probabilities"].values()] for prediction in found] == expected.tolist()
    assert [prediction["index"] for prediction in found] == list(range(200))
    assert np.mean([int(p["class"]) for p in found] == labels.argmax(axis=1)) > 0.75
    packed = predictions(PACKED, "--limit", 7)
    assert [p["probabilities"] for p in packed] == [p["probabilities"] for p in found[:7]]


def test_pictures_are_predicted_as_from_the_idx_file(predictions):
    # A prediction that is less sure may tip over when the picture is scaled
    expected = [p for p in predictions(PACKED, "--limit", 20) if p["probability"] > 0.6]
    assert len(expected) >= 12
    files = [f"{p['index']}.png" for p in expected]
    for p, file in zip(expected, files, strict=True):
        picture = np.pad(digits("test").images[p["index"]].reshape(28, 28), 20 + p["index"])
        Image.fromarray(255 - picture).resize((400, 400 + p["index"])).save(file)
    found = predictions(*files)
    assert [p["class"] for p in found] == [p["class"] for p in expected]
    assert [(p["file"], p["index"]) for p in found] == [(file, None) for file in files]


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


@pytest.mark.filterwarnings("error")
def test_odd_metadata_does_not_matter(run):
    drawn(scale=4).save("x.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0")  # five entries, and none follows
    result = run("x.jpg")
    assert (result.exit_code, result.stderr) == (0, "")


def test_table_and_json_agree(run, predictions):
    drawn().save("a [bold]seven[-b].png")
    files = ["a [bold]seven[-b].png", PACKED, "--limit", 5]
    result = run(*files)
    assert (result.exit_code, result.stderr) == (0, "")
    header, _, *rows = result.stdout.splitlines()
    assert header.split() == ["file", "class", "probability", "next"]
    for row, prediction in zip(rows, predictions(*files), strict=True):
        where = prediction["file"] if prediction["index"] is None else f"{prediction['file']} [{prediction['index']}]"
        ranking = sorted(prediction["probabilities"].items(), key=lambda item: -item[1])[:3]
        first, second, third = (f"{name} {100 * probability:.1f} %" for name, probability in ranking)
        assert re.sub(r"[(), ]+", " ", row.split(where)[1]).strip() == f"{first} {second} {third}"
        assert (prediction["class"], prediction["probability"]) == ranking[0]


def test_equal_probabilities_keep_the_order_of_the_classes(run, undecided):
    name = os.fsdecode(b"7\xff.png")  # a name that is not UTF-8
    drawn().save(name)
    row = run(name, model=undecided).stdout.splitlines()[2]
    assert " ".join(row.split()) == "7?.png 0 10.0 % 1 (10.0 %), 2 (10.0 %)"


def test_notes(run, predictions, undecided):
    """Those on the images of an IDX file are in the JSON alone."""
    two = Image.new("RGB", (80, 50), "white")
    two.paste(drawn(), (5, 5))
    two.paste(drawn(), (45, 5))
    two.save("two.png")
    drawn(scale=4).save("7.gif", save_all=True, append_images=[Image.new("RGB", (120, 160))])
    first = "the first of 2 pictures is used"
    unsure = "not sure: the most probable class has 10.0 %"
    several = "there may be several digits; one is expected"
    notes = [("7.gif", first), ("7.gif", unsure), ("two.png", several), ("two.png", unsure)]
    result = run("7.gif", "two.png", PACKED, "--limit", 1, model=undecided)
    assert (result.exit_code, result.stderr) == (0, "".join(f"note: {file}: {note}.\n" for file, note in notes))
    found = predictions("7.gif", "two.png", PACKED, "--limit", 1, model=undecided)
    assert [p["notes"] for p in found] == [[first, unsure], [several, unsure], [unsure]]
    assert predictions("7.gif")[0]["notes"] == [first]


# What is refused


def test_what_is_no_file(run, tmp_path):
    refusal(run("x.png"), "x.png", "no such file")
    refusal(run(tmp_path), tmp_path, "folder")
    if hasattr(os, "mkfifo"):
        os.mkfifo("x.png")
        refusal(run("x.png"), "x.png", "not a regular file")
    assert run().exit_code == 2


def test_no_image_among_good_ones(run):
    drawn().save("good.png")
    for content in (b"", b"<html>404</html>", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x89PN"):
        Path("bad.png").write_bytes(content)
        refusal(run("good.png", "bad.png", "good.png"), "bad.png", "not an image")
    refusal(run("good.png", "bad.png", "--json"), "bad.png", "not an image")
    drawn().save("x.pcx")  # Pillow could read it
    refusal(run("x.pcx"), "x.pcx", "not an image")


def test_truncated_image(run):
    for name in ["x.png", "x.jpg", "x.gif", "x.tif", "x.bmp"]:
        drawn(scale=9).save(name)
        content = Path(name).read_bytes()
        Path(name).write_bytes(content[: len(content) * 2 // 3])
        assert "Error)" not in refusal(run(name), name, "damaged")  # the reason, not the name of Python's error


def test_blank_image(run):
    for name, picture in {
        "white.png": Image.new("RGB", (50, 50), "white"),
        "pixel.png": Image.new("L", (1, 1)),
        "transparent.png": Image.new("RGBA", (50, 50), (255, 0, 0, 0)),
        "noise.png": Image.fromarray(np.random.default_rng(0).integers(245, 252, (90, 90), dtype=np.uint8)),
        "flat.jpg": Image.new("L", (65_000, 3)),
    }.items():
        picture.save(name)
        refusal(run(name), name, "blank")


def test_32_bit_pixels(run):
    for pixels in np.eye(30, dtype=np.float32), np.eye(30, dtype=np.int32) * 70_000, np.eye(30, dtype=np.int32) * -1:
        Image.fromarray(pixels).save("x.tif")
        refusal(run("x.tif"), "x.tif", "32 bits")


def png_header(width, height):
    """Return a PNG file that states its size and has no pixels."""
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0), b"IDAT", b"IEND")
    framed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def tiff_header(width, height, tile=(16, 16)):
    """Return a TIFF file that states its size and that of its tiles, and has no pixels."""
    tags = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile[0], 323: tile[1], 324: 8, 325: 0}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4)


def webp_header(width, height):
    """Return a WebP file that states its size and has the pixels of a smaller picture."""
    Image.new("L", (16, 16)).save("x.webp", lossless=True)
    content = bytearray(Path("x.webp").read_bytes())
    header = content.index(b"VP8L") + 9
    (bits,) = struct.unpack_from("<I", content, header)
    struct.pack_into("<I", content, header, bits >> 28 << 28 | (height - 1) << 14 | (width - 1))
    return content


@pytest.mark.parametrize(
    ("header", "arguments", "expected"),
    [
        (png_header, (7072, 7071), "50,000,000 7072 × 7071"),
        (png_header, (1, 65_536), "65,535 1 × 65536"),
        (png_header, (65_536, 1), "65,535 65536 × 1"),
        (tiff_header, (5917, 5916), "35,000,000 5917 × 5916"),
        (tiff_header, (100, 90, (16, 400_000)), "35,000,000 100 × 400000"),
        (webp_header, (5001, 5000), "25,000,000 5001 × 5000"),
        # These sizes are allowed, but there are no pixels
        (png_header, (6250, 8000), "damaged"),
        (png_header, (65_535, 1), "damaged"),
        (tiff_header, (5000, 7000), "damaged"),
    ],
)
def test_too_many_pixels(run, header, arguments, expected):
    Path("x").write_bytes(header(*arguments))
    refusal(run("x"), "x", *expected.split(maxsplit=1))


def test_damaged_idx_file(run):
    wrong_shape = CONTENT[:8] + struct.pack(">II", 14, 56) + CONTENT[16:]
    packed = gzip.compress(CONTENT)
    damage = "gzip file is damaged"
    for content, *words in (
        (LABELS.read_bytes(), "labels"),
        (gzip.decompress(LABELS.read_bytes()), "labels"),
        (bytes(99) + b"x", "something else"),
        (wrong_shape, "28 × 28", "14 × 56"),
        (CONTENT[:-1], "200 images of 28 × 28"),
        (CONTENT + b"0", "200 images of 28 × 28"),
        (gzip.compress(CONTENT[:-1]), "200 images of 28 × 28"),
        (CONTENT[:15],),
        (CONTENT[:8] + bytes(8), "1 to 268,435,456"),
        (CONTENT[:4] + b"\xff" * 12,),
        (packed[:-100], damage),
        (packed[:10] + b"\xff" + packed[11:], damage),
        (packed[:-8] + bytes(8), damage),
    ):
        Path("x").write_bytes(content)
        refusal(run("x"), "x", *words)


def test_gzip_bomb(run, monkeypatch):
    monkeypatch.setattr("tools.pictures.files.MOST_OF_IDX", 100_000)
    refusal(run(PACKED), PACKED, "100,000", "200 × 28 × 28")
    assert run(PACKED, "--limit", 127).exit_code == 0


@pytest.mark.parametrize(("arithmetic", "huge"), [("exact", 1e200), ("float32", 1e38)])
def test_model_beyond_all_bounds(run, trained, arithmetic, huge):
    drawn().save("x.png")
    model = load_model(trained)
    model.arithmetic = ARITHMETICS[arithmetic]
    model.weights = [(np.sign(W) * huge).astype(model.arithmetic.dtype) for W in model.weights]
    model.biases = [b.astype(model.arithmetic.dtype) for b in model.biases]
    save_model(Path("huge.npz"), model)
    refusal(run("x.png", model="huge.npz"), "huge.npz", "too large")
    refusal(run("x.png", model="x.png"), "x.png", "not an array file")


# Other pictures than digits


def test_a_model_of_whole_pictures_gets_whole_pictures(run, predictions, trained):
    """A picture that has the size already is used as it is, or inverted, as the model says, or an option."""
    Image.fromarray(RANDOM).save("x.png")
    Image.fromarray(255 - RANDOM).save("inverted.png")
    Path("idx").write_bytes(idx(RANDOM[np.newaxis]))
    model = load_model(trained)
    for name, inverted in (("fitted.npz", False), ("inverted.npz", True)):
        model.preparation = model.preparation._replace(fitted=True, inverted=inverted)
        save_model(Path(name), model)

    def found(*arguments, model=trained):
        return [answer["probabilities"] for answer in predictions(*arguments, model=model)]

    (expected,) = found("idx")  # an IDX file has images already
    assert found("idx", "x.png", model="fitted.npz") == [expected] * 2
    assert found("idx", "inverted.png", model="inverted.npz") == [expected] * 2
    assert found("x.png", "--as-it-is", model="inverted.npz") == [expected]
    assert found("idx", "inverted.png", "--fit", "--invert") == [expected] * 2
    assert found("x.png", "--digit", model="fitted.npz") == found("x.png") != [expected]
