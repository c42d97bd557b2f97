"""Prediction: the command says what is on pictures and images, or what is wrong with a file."""

import gzip
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from mlp import network
from mlp.arithmetic import ARITHMETICS
from pipeline.images.idx import read_images
from pipeline.store.artifacts import load_model, save_model
from stages.preprocess import preprocess
from stages.train import train
from tests.support.files import drawn
from tests.support.refusals import refusal
from tests.support.terminal import on_terminal
from tools.predict import predict as app

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "sample"
IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the sample and a small network trained on it."""
    folder = tmp_path_factory.mktemp("trained")
    for packed in SAMPLE.glob("*.gz"):
        (folder / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["preprocess"]["validation_size"] = 100
    params["train"] |= {"iterations": 200, "learning_rate": 1.0}
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    splits = [str(folder / f"{split}.npz") for split in ("train", "validation", "test")]
    settings = ["--params", str(folder / "params.yaml")]
    outputs = [str(folder / name) for name in ("mlp.npz", "training")]
    for stage, arguments in [
        (preprocess, [str(folder), *splits, *settings, "--datasets", str(ROOT / "datasets.yaml")]),
        (train, [*splits[:2], *outputs, *settings]),
    ]:
        result = CliRunner().invoke(stage, arguments)
        assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """A function that runs the command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments, model=trained / "mlp.npz"):
        return CliRunner().invoke(app, [*map(str, arguments), "--model", str(model)], env={"COLUMNS": "120"})

    return invoke


@pytest.fixture
def predictions(run):
    """A function that runs the command with --json and returns what it printed."""

    def invoke(*arguments, **options):
        result = run(*arguments, "--json", **options)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return invoke


def sample_images():
    return np.frombuffer(gzip.decompress((SAMPLE / f"{IMAGES}.gz").read_bytes())[16:], np.uint8).reshape(-1, 28, 28)


def test_idx_file_is_predicted_as_it_is(trained, predictions):
    found = predictions(trained / IMAGES)
    images = read_images(trained / IMAGES)[:].reshape(-1, 784)
    expected = network.predict(load_model(trained / "mlp.npz"), images)
    assert [[*prediction["probabilities"].values()] for prediction in found] == expected[0].tolist()
    assert [prediction["index"] for prediction in found] == list(range(200))
    labels = np.frombuffer((trained / LABELS).read_bytes()[8:], np.uint8).tolist()
    assert np.mean([int(p["class"]) == label for p, label in zip(found, labels, strict=True)]) > 0.75
    packed = predictions(SAMPLE / f"{IMAGES}.gz", "--limit", 7)
    assert [p["probabilities"] for p in packed] == [p["probabilities"] for p in found[:7]]


def test_pictures_are_predicted_as_from_the_idx_file(trained, predictions):
    # A prediction that is less sure may tip over when the picture is scaled
    expected = [p for p in predictions(trained / IMAGES, "--limit", 20) if p["probability"] > 0.6]
    assert len(expected) >= 12
    files = [f"{p['index']}.png" for p in expected]
    for p, file in zip(expected, files, strict=True):
        picture = np.pad(sample_images()[p["index"]], 20 + p["index"])
        Image.fromarray(255 - picture).resize((400, 400 + p["index"])).save(file)
    found = predictions(*files)
    assert [p["class"] for p in found] == [p["class"] for p in expected]
    assert [(p["file"], p["index"]) for p in found] == [(file, None) for file in files]


@pytest.mark.parametrize(
    "name", ["seven.png", "seven.jpg", "seven.gif", "seven.bmp", "seven.tif", "seven.webp", "7.ppm"]
)
def test_formats(predictions, name):
    drawn(scale=4).save(name)
    drawn(scale=4).save("seven.png")
    expected, found = predictions("seven.png", name)
    assert found["file"] == name
    assert abs(found["probability"] - expected["probability"]) < 0.1


def test_exif_orientation_is_honoured(predictions):
    upright = drawn(scale=4)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save("turned.png", exif=exif)
    upright.save("upright.png")
    turned, straight = predictions("turned.png", "upright.png")
    assert turned["probabilities"] == straight["probabilities"]


def test_table_and_json_agree(run, predictions, trained):
    drawn().save("a [bold]seven[-b].png")
    files = ["a [bold]seven[-b].png", trained / IMAGES, "--limit", 5]
    result = run(*files)
    assert (result.exit_code, result.stderr) == (0, "")
    header, _, *rows = result.stdout.splitlines()
    assert header.split() == ["file", "class", "probability", "next"]
    for row, prediction in zip(rows, predictions(*files), strict=True):
        where = prediction["file"] if prediction["index"] is None else f"{prediction['file']} [{prediction['index']}]"
        ranking = sorted(prediction["probabilities"].items(), key=lambda item: -item[1])[:3]
        first, second, third = (f"{name} {100 * probability:.1f} %" for name, probability in ranking)
        assert re.sub(r"[(), ]+", " ", row.split(where)[1]).strip() == f"{first} {second} {third}"
        assert prediction["class"] == ranking[0][0]
        assert prediction["probability"] == max(prediction["probabilities"].values())
        assert sum(prediction["probabilities"].values()) == pytest.approx(1)


@pytest.fixture
def undecided(trained, tmp_path):
    """A network that finds every class of every image equally probable."""
    model = load_model(trained / "mlp.npz")
    model.weights = [W * 0 for W in model.weights]
    model.biases = [b * 0 for b in model.biases]
    save_model(tmp_path / "undecided.npz", model)
    return tmp_path / "undecided.npz"


def test_equal_probabilities_keep_the_order_of_the_classes(run, predictions, undecided):
    drawn().save("7.png")
    (prediction,) = predictions("7.png", model=undecided)
    assert (prediction["class"], prediction["probability"]) == ("0", prediction["probabilities"]["9"])
    row = run("7.png", model=undecided).stdout.splitlines()[2]
    assert " ".join(row.split()) == "7.png 0 10.0 % 1 (10.0 %), 2 (10.0 %)"


def test_long_names_are_folded_on_a_narrow_terminal(trained, run):
    name = "a-long-name" * 6 + ".png"
    drawn().save(name)
    lines = on_terminal(50, "tools.predict", name, "--model", trained / "mlp.npz").splitlines()
    assert max(map(len, lines)) <= 50
    assert "".join(line.split()[0] for line in lines[2:]) == name


def test_name_that_is_not_utf8(run):
    name = os.fsdecode(b"7\xff.png")
    try:
        drawn().save(name)
    except OSError:
        pytest.skip("this file system has no such names")
    assert run(name).stdout.splitlines()[2].startswith(" 7?.png ")


def test_what_is_no_file(run, tmp_path):
    refusal(run("x.png"), "x.png", "no such file")
    refusal(run(tmp_path), tmp_path, "folder")
    if hasattr(os, "mkfifo"):
        os.mkfifo("x.png")
        refusal(run("x.png"), "x.png", "not a regular file")


@pytest.mark.parametrize(
    "content", [b"", b"<html>404</html>", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x89PN", bytes(100)[1:] + b"x"]
)
def test_no_image(run, content):
    Path("x.png").write_bytes(content)
    refusal(run("x.png"), "x.png", "something else" if content[:2] == b"\0\0" else "not an image")


def test_a_format_that_is_not_named(run):
    drawn().save("x.pcx")  # Pillow could read it
    refusal(run("x.pcx"), "x.pcx", "not an image")


def test_odd_metadata_does_not_matter(run):
    drawn(scale=4).save("x.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0")  # five entries, and none follows
    result = run("x.jpg")
    assert (result.exit_code, result.stderr) == (0, "")


def test_flat_photo(run):
    Image.new("L", (65_000, 3)).save("x.jpg")
    refusal(run("x.jpg"), "x.jpg", "blank")


def test_truncated_image(run):
    for name in ["x.png", "x.jpg", "x.gif", "x.tif", "x.bmp"]:
        drawn(scale=9).save(name)
        content = Path(name).read_bytes()
        Path(name).write_bytes(content[: len(content) * 2 // 3])
        assert "Error)" not in refusal(run(name), name, "damaged")  # the reason, not the name of Python's error


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_damage_never_ends_in_a_traceback(data, tmp_path_factory, trained):
    folder = tmp_path_factory.getbasetemp()
    kind = data.draw(st.sampled_from(["png", "jpg", "gif", "tif", "webp", "bmp", "gz"]))
    path = folder / f"damaged.{kind}"
    if kind == "gz":
        path.write_bytes((SAMPLE / f"{IMAGES}.gz").read_bytes()[:500])
    else:
        drawn().save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    result = CliRunner().invoke(app, [str(path), "--json", "--model", str(trained / "mlp.npz")])
    if result.exit_code == 0:
        assert json.loads(result.stdout)[0]["probability"] > 0.1
    else:
        refusal(result)


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("RGB", (50, 50), "white"),
        Image.new("L", (1, 1)),
        Image.new("RGBA", (50, 50), (255, 0, 0, 0)),
        Image.fromarray(np.random.default_rng(0).integers(245, 252, (90, 90), dtype=np.uint8)),
    ],
)
def test_blank_image(run, picture):
    picture.save("x.png")
    refusal(run("x.png"), "x.png", "blank")


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


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png_header(7072, 7071), "50,000,000 7072 × 7071"),
        (png_header(60_000, 59_999), "50,000,000 60000 × 59999"),
        (png_header(1, 65_536), "65,535 1 × 65536"),
        (png_header(65_536, 1), "65,535 65536 × 1"),
        (tiff_header(5917, 5916), "35,000,000 5917 × 5916"),
        (tiff_header(100, 90, tile=(16, 400_000)), "35,000,000 100 × 400000"),
        (tiff_header(100, 90, tile=(400_000, 16)), "35,000,000 400000 × 90"),
    ],
)
def test_too_many_pixels(run, content, expected):
    Path("x").write_bytes(content)
    refusal(run("x"), "x", *expected.split(maxsplit=1))


def test_too_many_pixels_for_webp(run):
    Image.new("L", (16, 16)).save("x.webp", lossless=True)
    content = bytearray(Path("x.webp").read_bytes())
    header = content.index(b"VP8L") + 9
    (bits,) = struct.unpack_from("<I", content, header)
    struct.pack_into("<I", content, header, bits >> 28 << 28 | 4999 << 14 | 5000)  # height - 1, width - 1
    Path("x.webp").write_bytes(content)
    refusal(run("x.webp"), "x.webp", "25,000,000", "5001 × 5000")


@pytest.mark.parametrize("header", [png_header(6250, 8000), png_header(65_535, 1), tiff_header(5000, 7000)])
def test_no_more_than_the_most_pixels(run, header):
    Path("x").write_bytes(header)
    refusal(run("x"), "x", "damaged")  # the size is allowed, but there are no pixels


IN_LITTLE_MEMORY = """
import resource, sys
import numpy, PIL, mlp.network, tools.pictures.files
from tools.predict import predict
pages = int(open("/proc/self/statm").read().split()[0])
most = pages * resource.getpagesize() + int(sys.argv.pop(1)) * 1024**2
resource.setrlimit(resource.RLIMIT_AS, (most, most))
predict()
"""


def predict_in_little_memory(megabytes, *arguments):
    command = [sys.executable, "-c", IN_LITTLE_MEMORY, str(megabytes), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory as Linux does")
@pytest.mark.parametrize(
    ("name", "size", "mode", "megabytes"),
    [("photo.jpg", (8000, 6000), "RGB", 250), ("x.png", (6250, 8000), "LA", 450)],
)
def test_memory_for_the_largest_pictures(run, trained, name, size, mode, megabytes):
    picture = drawn("#222", "#ccc", mode="L").resize(size, Image.Resampling.NEAREST)
    if mode == "LA":
        picture.putalpha(200)
    picture.convert(mode).save(name, compress_level=1)
    result = predict_in_little_memory(megabytes, name, "--model", trained / "mlp.npz", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)[0]["class"] == "7"


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory as Linux does")
def test_too_little_memory(run, trained):
    Image.new("L", (6000, 6000)).save("x.png")
    result = predict_in_little_memory(20, "x.png", "--model", trained / "mlp.npz")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("error: there is not enough memory")
    assert result.stderr.count("\n") == 1


def test_of_several_pictures_the_first(run):
    drawn(scale=4).save("x.gif", save_all=True, append_images=[Image.new("RGB", (120, 160))])
    result = run("x.gif", "--json")
    assert result.exit_code == 0
    assert result.stderr == "note: x.gif: the first of 2 pictures is used.\n"
    assert len(json.loads(result.stdout)) == 1


def test_notes_on_pictures(run, predictions, undecided):
    two = Image.new("RGB", (80, 50), "white")
    two.paste(drawn(), (5, 5))
    two.paste(drawn(), (45, 5))
    two.save("two.png")
    drawn(scale=4).save("7.png")
    unsure = "not sure: the most probable class has 10.0 %"
    several = "there may be several digits; one is expected"
    result = run("7.png", "two.png", model=undecided)
    assert result.exit_code == 0
    assert result.stderr == "".join(
        f"note: {file}: {note}.\n" for file, note in [("7.png", unsure), ("two.png", several), ("two.png", unsure)]
    )
    assert [p["notes"] for p in predictions("7.png", "two.png", model=undecided)] == [[unsure], [several, unsure]]
    assert predictions("7.png")[0]["notes"] == []


def test_notes_on_images_of_an_idx_file_are_in_the_json_alone(run, predictions, trained, undecided):
    found = predictions(trained / IMAGES, "--limit", 3, model=undecided)
    assert [p["notes"] for p in found] == [["not sure: the most probable class has 10.0 %"]] * 3
    assert run(trained / IMAGES, "--limit", 3, model=undecided).stderr == ""


def test_idx_file_of_labels(run, trained):
    for path in (trained / LABELS, SAMPLE / f"{LABELS}.gz"):
        refusal(run(path), path, "labels")


def test_idx_file_of_another_shape(run, trained):
    content = (trained / IMAGES).read_bytes()
    Path("x").write_bytes(content[:8] + struct.pack(">II", 14, 56) + content[16:])
    refusal(run("x"), "x", "28 × 28", "14 × 56")


def test_damaged_idx_file(run, trained):
    content = (trained / IMAGES).read_bytes()
    for damaged in (content[:-1], content + b"0", gzip.compress(content[:-1])):
        Path("x").write_bytes(damaged)
        refusal(run("x"), "x", "200 images of 28 × 28")
    for damaged in (content[:15], content[:8] + bytes(8), content[:4] + b"\xff" * 12):
        Path("x").write_bytes(damaged)
        refusal(run("x"), "x")
    packed = gzip.compress(content)
    for damaged in (packed[:-100], packed[:10] + b"\xff" + packed[11:], packed[:-8] + bytes(8)):
        Path("x.gz").write_bytes(damaged)
        refusal(run("x.gz"), "x.gz", "gzip file is damaged")


def test_gzip_bomb(run, trained, monkeypatch):
    monkeypatch.setattr("tools.pictures.files.MOST_OF_IDX", 100_000)
    path = SAMPLE / f"{IMAGES}.gz"
    refusal(run(path), path, "100,000", "200 × 28 × 28")
    assert run(path, "--limit", 127).exit_code == 0


def test_one_bad_file_among_good_ones(run, trained):
    drawn().save("good.png")
    Path("bad.png").write_text("no image")
    refusal(run("good.png", "bad.png", "good.png"), "bad.png", "not an image")
    refusal(run("good.png", "bad.png", "--json"), "bad.png", "not an image")


def test_model_is_missing_or_damaged(run, trained):
    drawn().save("x.png")
    refusal(run("x.png", model="no.npz"), "no.npz", "no such file")
    shutil.copy("x.png", "no.npz")
    refusal(run("x.png", model="no.npz"), "no.npz", "not an array file")


@pytest.mark.parametrize("arithmetic", ["exact", "float32"])
def test_model_beyond_all_bounds(run, trained, arithmetic):
    drawn().save("x.png")
    model = load_model(trained / "mlp.npz")
    model.arithmetic = ARITHMETICS[arithmetic]
    dtype, huge = model.arithmetic.dtype, {"exact": 1e200, "float32": 1e38}[arithmetic]
    model.weights = [(np.sign(W) * huge).astype(dtype) for W in model.weights]
    model.biases = [b.astype(dtype) for b in model.biases]
    save_model(Path("huge.npz"), model)
    refusal(run("x.png", model="huge.npz"), "huge.npz", "too large")


def test_help_imports_nothing_slow(tmp_path):
    command = [sys.executable, "-X", "importtime", "-m", "tools.predict", "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert result.returncode == 0
    assert "IDX" in result.stdout
    assert not re.search(r"\b(numpy|PIL|mlp)\b", result.stderr)


def test_no_file_at_all(run):
    assert run().exit_code == 2


# Other pictures than digits


def test_a_model_of_whole_pictures_gets_whole_pictures(run, trained):
    """A picture that has the size already is used as it is, or inverted, as the model says."""
    picture = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    Image.fromarray(picture).save("x.png")
    Image.fromarray(255 - picture).save("inverted.png")
    Path("x-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + struct.pack(">3I", 1, 28, 28) + picture.tobytes())
    model = load_model(trained / "mlp.npz")
    found = {}
    for name, inverted in (("fitted.npz", False), ("inverted.npz", True)):
        model.preparation = model.preparation._replace(fitted=True, inverted=inverted)
        save_model(Path(name), model)
        files = ("x-idx3-ubyte", "inverted.png" if inverted else "x.png")
        found[name] = [answer["probabilities"] for answer in json.loads(run(*files, "--json", model=name).stdout)]
    expected = found["fitted.npz"][0]  # an IDX file has images already
    assert found == {"fitted.npz": [expected] * 2, "inverted.npz": [expected] * 2}


def test_options_overrule_what_the_model_remembers(run, trained):
    picture = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    Image.fromarray(255 - picture).save("x.png")
    Path("x-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + struct.pack(">3I", 1, 28, 28) + picture.tobytes())

    def probabilities(*words: str) -> list[dict]:
        return [answer["probabilities"] for answer in json.loads(run(*words, "--json").stdout)]

    as_image, inverted = probabilities("x-idx3-ubyte", "x.png", "--fit", "--invert")
    assert inverted == as_image
    assert probabilities("x.png", "--fit", "--as-it-is") != [as_image]
    assert probabilities("x.png", "--digit") == probabilities("x.png") != [as_image]
