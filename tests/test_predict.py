"""Prediction: pictures become images like MNIST's, and the command says what is on them, or what is wrong."""

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
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw, ImageOps
from rich.cells import cell_len
from typer.testing import CliRunner

from mlp import network
from mlp.arithmetic import ARITHMETICS
from pipeline.images.idx import read_images
from pipeline.store.artifacts import load_model, save_model
from stages.preprocess import preprocess
from stages.train import train
from tests.terminal import on_terminal
from tools.digits import prepare
from tools.predict import predict as app
from tools.resizing import reduction

ROOT = Path(__file__).parents[1]
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


def drawn(ink="black", paper="white", scale=1, at=(0, 0), mode="RGB"):
    """Draw a seven, in one or two colours."""
    seven = Image.new("1", (30, 40))
    draw = ImageDraw.Draw(seven)
    draw.line([(5, 5), (24, 5), (12, 35)], 1, 4)
    seven = seven.resize((30 * scale, 40 * scale), Image.Resampling.NEAREST)
    picture = Image.new("RGB", (30 * scale + 2 * max(at), 40 * scale + 2 * max(at)), paper)
    picture.paste(ink, at, seven)
    return picture.convert(mode)


def sample_images():
    return np.frombuffer(gzip.decompress((SAMPLE / f"{IMAGES}.gz").read_bytes())[16:], np.uint8).reshape(-1, 28, 28)


def test_a_seven_looks_as_in_mnist():
    image = prepare(drawn())
    assert (image.shape, image.dtype, image.max()) == ((28, 28), np.uint8, 255)
    assert np.flatnonzero(image.any(axis=1)).size == 20


@pytest.mark.parametrize(
    "other",
    [
        drawn("white", "black"),
        drawn("blue", "yellow"),
        drawn("yellow", "blue"),
        drawn("red", "cyan"),
        drawn(mode="L"),
        drawn(mode="1"),
        drawn(mode="P"),
        drawn(mode="CMYK"),
        drawn(mode="LA"),
        drawn(scale=2),
        drawn(scale=7),
        drawn(at=(30, 3)),
        drawn(at=(3, 30), scale=3),
        np.asarray(drawn()),
        np.asarray(drawn(mode="L")),
        Image.fromarray(np.asarray(drawn(mode="L")).astype(np.uint16) * 257),
        Image.fromarray(np.asarray(drawn(mode="L")).astype(np.int32) * 257),
    ],
)
def test_neither_colours_nor_size_nor_place_nor_mode_matter(other):
    assert np.array_equal(prepare(other), prepare(drawn()))


def on_transparent_paper(picture):
    return Image.merge("LA", [picture, ImageOps.invert(picture)]).convert("RGBA")


@pytest.mark.parametrize(
    "converted",
    [
        lambda picture: picture,
        lambda picture: picture.convert("P"),
        lambda picture: picture.convert("RGB"),
        lambda picture: Image.fromarray(np.asarray(picture).astype(np.uint16) * 257),
        on_transparent_paper,
    ],
    ids=["grey", "palette", "colour", "16 bits", "transparent"],
)
def test_a_large_picture_is_prepared_like_a_small_one(converted):
    assert np.array_equal(prepare(converted(drawn(mode="L", scale=110))), prepare(drawn()))  # 3300 × 4400 pixels


@pytest.mark.parametrize("size", [(5003, 4201), (4201, 5003)])
def test_a_large_picture_is_reduced_without_gaps(size):
    sheet = Image.new("L", size, "white")
    draw = ImageDraw.Draw(sheet)
    for place in range(511, max(size), 512):  # one pixel wide, so that each line counts
        draw.line([(place, 0), (place, size[1])], "black")
        draw.line([(0, place), (size[0], place)], "black")
    assert np.array_equal(prepare(sheet), prepare(sheet.reduce(5)))


def test_no_side_stays_longer_than_1024_pixels():
    assert [reduction(Image.new("1", size), 1024) for size in ((1024, 1024), (1025, 1), (1, 2049))] == [1, 2, 3]


@pytest.mark.parametrize(("ink", "paper"), [("#555", "#ccc"), ("#d0d0d0", "#303030"), ("firebrick", "darkgreen")])
def test_weak_contrast_does_not_matter(ink, paper):
    assert np.array_equal(prepare(drawn(ink, paper)), prepare(drawn()))


def test_least_contrast():
    assert np.array_equal(prepare(drawn("#808080", "#8d8d8d")), prepare(drawn()))
    with pytest.raises(ValueError, match="blank"):
        prepare(drawn("#808080", "#8c8c8c"))


@pytest.mark.parametrize("turn", range(4))
def test_ink_may_touch_the_border(turn):
    one = np.full((100, 20), 255, np.uint8)
    one[:, :3] = 0  # 44 % of the border
    image = np.rot90(prepare(np.rot90(one, turn)), -turn)
    assert np.flatnonzero(image.any(axis=1)).size == 20
    assert np.flatnonzero(image.any(axis=0)).size == 1


@pytest.mark.parametrize("opacity", ["white", "#555"])
@pytest.mark.parametrize("ink", ["black", "white", "navy", "gold"])
def test_transparent_paper(ink, opacity):
    mask = drawn(opacity, "black", mode="L")
    picture = Image.new("RGBA", mask.size, ink)
    picture.putalpha(mask)
    assert np.array_equal(prepare(picture), prepare(drawn()))


def test_noise_and_uneven_light_are_no_ink():
    clean = np.asarray(drawn(mode="L", scale=4, at=(20, 20))).astype(float)
    noise = np.random.default_rng(0).uniform(-12, 12, clean.shape)
    picture = (clean * np.linspace(1, 0.8, clean.shape[1]) + noise).clip(0, 255).astype(np.uint8)
    image, expected = prepare(picture).astype(int), prepare(drawn())
    # The centre of mass may fall into the pixel beside
    shifted = (np.roll(image, (down, right), (0, 1)) for down in (-1, 0, 1) for right in (-1, 0, 1))
    assert min(abs(other - expected).mean() for other in shifted) < 4


def centre_of_mass(image):
    mass = image.astype(np.int64)
    return [mass.sum(axis=1 - axis) @ np.arange(image.shape[axis]) / mass.sum() for axis in (0, 1)]


def test_mnist_is_centred_on_pixel_14_14():
    centres = np.array([centre_of_mass(image) for image in sample_images()])
    assert centres.min() > 13.49
    assert centres.max() < 14.51


@settings(deadline=None, max_examples=100)
@given(
    arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.sampled_from([0, 40, 120, 255])),
    st.sampled_from([(28, 28), (20, 28), (14, 14), (9, 33), (1, 1)]),
)
def test_any_blob_is_centred_in_its_box(blob, shape):
    if not blob.any():
        blob = blob + np.uint8(255)
    picture = np.pad(blob, 50)  # a border, so that it is clear which is background
    image = prepare(picture, shape)
    assert (image.shape, image.max()) == (shape, 255)
    assert np.array_equal(image, prepare(255 - picture, shape))
    box = [max(1, side * 20 // 28) for side in shape]
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    assert rows[-1] - rows[0] < box[0]
    assert columns[-1] - columns[0] < box[1]
    for centre, side, ink in zip(centre_of_mass(image), shape, (rows, columns), strict=True):
        at_the_edge = ink[0] == 0 or ink[-1] == side - 1  # a very lopsided blob goes as far as it fits
        assert abs(centre - side // 2) <= 0.5 or at_the_edge


@pytest.mark.parametrize("turn", range(4))
def test_a_lopsided_picture_goes_as_far_as_it_fits(turn):
    picture = np.full((140, 140), 255, np.uint8)
    picture[20:100, 69:71] = 0
    picture[100:120, 20:120] = 0  # nearly all of the ink
    image = np.rot90(prepare(np.rot90(picture, turn)), -turn)
    rows = np.flatnonzero(image.any(axis=1))
    assert (rows[0], rows[-1]) == (0, 19)


def test_mnist_digits_stay_what_they_are(trained):
    """Put anywhere on a large sheet, dark on light, they become the same images again, but for faint specks."""
    images = sample_images()
    again = []
    for i, image in enumerate(images):
        sheet = np.full((200, 150), 255, np.uint8)
        sheet[i % 170 : i % 170 + 28, i % 120 : i % 120 + 28] -= image
        again.append(prepare(sheet))
    differences = abs(np.array(again).astype(int) - images).max(axis=(1, 2))
    assert (differences <= 1).mean() > 0.98  # a tenth of MNIST's images have 254 for white; here it is always 255
    trained_network = load_model(trained / "mlp.npz")
    before, after = (network.predict(trained_network, np.reshape(x, (-1, 784)))[0] for x in (images, again))
    assert (before.argmax(axis=1) == after.argmax(axis=1)).all()


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
    assert header.split() == ["file", "class", "probability", *"0123456789"]
    for row, prediction in zip(rows, predictions(*files), strict=True):
        where = prediction["file"] if prediction["index"] is None else f"{prediction['file']} [{prediction['index']}]"
        assert where in row
        name, probability, rest = re.fullmatch(r"(\d) +([\d.]+) %(.*)", row.split(where)[1].strip()).groups()
        assert name == prediction["class"]
        assert probability == f"{100 * prediction['probability']:.1f}"
        shares = [round(100 * share) for share in prediction["probabilities"].values()]
        assert list(map(int, rest.split())) == [share for share in shares if share]
        assert prediction["probability"] == max(prediction["probabilities"].values())
        assert sum(prediction["probabilities"].values()) == pytest.approx(1)


def test_percents_stand_below_their_class_whatever_its_script(run, predictions, trained):
    """A terminal gives a Korean, Chinese or Japanese character two cells."""
    names = ("영", "하나", "둘셋넷", "삼", "사", "오", "여섯", "일곱", "여덟", "아홉")
    network = load_model(trained / "mlp.npz")
    network.preparation = network.preparation._replace(classes=names)
    save_model(Path("korean.npz"), network)
    result = run(trained / IMAGES, "--limit", 5, model="korean.npz")
    header, _, *rows = result.stdout.splitlines()
    for row in rows:
        name = row.split("]")[1].split()[0]
        shares = row[row.index("%") + 1 :]
        best = max(shares.split(), key=int)
        assert cell_len(row[: row.rindex(best) + len(best)]) == cell_len(header[: header.index(name) + len(name)])


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
    assert row.split() == ["7.png", "0", "10.0", "%", *["10"] * 10]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_narrow_terminal_shows_the_next_two_classes(run, predictions, trained, undecided):
    drawn().save("[b]7.png")
    piped = [line.rstrip() for line in run("[b]7.png").stdout.splitlines()]
    wide, narrow = (
        on_terminal(columns, "tools.predict", "[b]7.png", "--model", trained / "mlp.npz").splitlines()
        for columns in (len(piped[0]) + 1, len(piped[0]))
    )
    assert [line.rstrip() for line in wide] == piped
    assert narrow[0].split() == ["file", "class", "probability", "next"]
    (prediction,) = predictions("[b]7.png")
    ranking = sorted(prediction["probabilities"].items(), key=lambda item: -item[1])[:3]
    first, second, third = (f"{name} {100 * probability:.1f} %" for name, probability in ranking)
    assert re.sub(r"[(), ]+", " ", narrow[2]).strip() == f"[b]7.png {first} {second} {third}"
    tied = on_terminal(60, "tools.predict", "[b]7.png", "--model", undecided).splitlines()[-1]
    assert tied.strip().endswith("1 (10.0 %), 2 (10.0 %)")


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


def refusal(result):
    """Return the one sentence with which the command ended."""
    assert (result.exit_code, result.stdout) == (1, "")
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_no_such_file(run):
    assert refusal(run("x.png")) == "error: x.png: no such file.\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_named_pipe(run):
    os.mkfifo("x.png")
    assert refusal(run("x.png")) == "error: x.png: not a regular file; expected an image or an IDX file.\n"


def test_folder(run, tmp_path):
    assert refusal(run(tmp_path)) == f"error: {tmp_path}: a folder; expected an image or an IDX file.\n"


@pytest.mark.parametrize(
    "content", [b"", b"<html>404</html>", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x89PN", bytes(100)[1:] + b"x"]
)
def test_no_image(run, content):
    Path("x.png").write_bytes(content)
    sentence = refusal(run("x.png"))
    if content[:2] == b"\0\0":
        assert "x.png: expected the first bytes 00 00 08 03 of an IDX file" in sentence
    else:
        formats = "PNG, JPEG, GIF, BMP, TIFF, WEBP or PPM"
        assert sentence == f"error: x.png: not an image; expected one in {formats} format, or an IDX file.\n"


def test_a_format_that_is_not_named(run):
    drawn().save("x.pcx")  # Pillow could read it
    assert "x.pcx: not an image; expected one in PNG, " in refusal(run("x.pcx"))


def test_odd_metadata_does_not_matter(run):
    drawn(scale=4).save("x.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0")  # five entries, and none follows
    result = run("x.jpg")
    assert (result.exit_code, result.stderr) == (0, "")


def test_flat_photo(run):
    Image.new("L", (65_000, 3)).save("x.jpg")
    assert refusal(run("x.jpg")) == "error: x.jpg: the picture is blank.\n"


def test_truncated_image(run):
    for name in ["x.png", "x.jpg", "x.gif", "x.tif", "x.bmp"]:
        drawn(scale=9).save(name)
        content = Path(name).read_bytes()
        Path(name).write_bytes(content[: len(content) * 2 // 3])
        sentence = refusal(run(name))
        assert f"{name}: the image is damaged (" in sentence
        assert "Error)" not in sentence  # the reason, not the name of Python's error


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
    assert refusal(run("x.png")) == "error: x.png: the picture is blank.\n"


def test_32_bit_pixels(run):
    for pixels in np.eye(30, dtype=np.float32), np.eye(30, dtype=np.int32) * 70_000, np.eye(30, dtype=np.int32) * -1:
        Image.fromarray(pixels).save("x.tif")
        assert refusal(run("x.tif")) == "error: x.tif: its pixels are numbers of 32 bits; expected 8 or 16.\n"


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
        (png_header(7072, 7071), "at most 50,000,000 pixels, found 7072 × 7071"),
        (png_header(60_000, 59_999), "at most 50,000,000 pixels, found 60000 × 59999"),
        (png_header(1, 65_536), "at most 65,535 pixels a side, found 1 × 65536"),
        (png_header(65_536, 1), "at most 65,535 pixels a side, found 65536 × 1"),
        (tiff_header(5917, 5916), "at most 35,000,000 pixels, found 5917 × 5916"),
        (tiff_header(100, 90, tile=(16, 400_000)), "at most 35,000,000 pixels, found 100 × 400000"),
        (tiff_header(100, 90, tile=(400_000, 16)), "at most 35,000,000 pixels, found 400000 × 90"),
    ],
)
def test_too_many_pixels(run, content, expected):
    Path("x").write_bytes(content)
    assert refusal(run("x")) == f"error: x: expected {expected}.\n"


def test_too_many_pixels_for_webp(run):
    Image.new("L", (16, 16)).save("x.webp", lossless=True)
    content = bytearray(Path("x.webp").read_bytes())
    header = content.index(b"VP8L") + 9
    (bits,) = struct.unpack_from("<I", content, header)
    struct.pack_into("<I", content, header, bits >> 28 << 28 | 4999 << 14 | 5000)  # height - 1, width - 1
    Path("x.webp").write_bytes(content)
    assert refusal(run("x.webp")) == "error: x.webp: expected at most 25,000,000 pixels, found 5001 × 5000.\n"


@pytest.mark.parametrize("header", [png_header(6250, 8000), png_header(65_535, 1), tiff_header(5000, 7000)])
def test_no_more_than_the_most_pixels(run, header):
    Path("x").write_bytes(header)
    assert "x: the image is damaged (" in refusal(run("x"))  # the size is allowed, but there are no pixels


IN_LITTLE_MEMORY = """
import resource, sys
import numpy, PIL, mlp.network, tools.pictures
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
        assert refusal(run(path)) == f"error: {path}: an IDX file of labels; expected one of images.\n"


def test_idx_file_of_another_shape(run, trained):
    content = (trained / IMAGES).read_bytes()
    Path("x").write_bytes(content[:8] + struct.pack(">II", 14, 56) + content[16:])
    assert f"x: expected images of 28 × 28 pixels, as {trained / 'mlp.npz'} was trained on, found 14 × 56." in refusal(
        run("x")
    )


def test_damaged_idx_file(run, trained):
    content = (trained / IMAGES).read_bytes()
    Path("x").write_bytes(content[:-1])
    assert (
        refusal(run("x")) == f"error: x: expected {len(content)} bytes for 200 × 28 × 28, found {len(content) - 1}.\n"
    )
    Path("x.gz").write_bytes(gzip.compress(content[:-1]))
    assert refusal(run("x.gz")).startswith(f"error: x.gz: expected {len(content)} bytes for 200 × 28 × 28")
    packed = gzip.compress(content)
    for damaged in (packed[:-100], packed[:10] + b"\xff" + packed[11:], packed[:-8] + bytes(8)):
        Path("x.gz").write_bytes(damaged)
        assert refusal(run("x.gz")).startswith("error: x.gz: the gzip file is damaged (")


def test_gzip_bomb(run, trained, monkeypatch):
    monkeypatch.setattr("tools.pictures.MOST_UNPACKED", 100_000)
    path = SAMPLE / f"{IMAGES}.gz"
    assert refusal(run(path)) == f"error: {path}: expected at most 100000 bytes when unpacked, found more.\n"


def test_one_bad_file_among_good_ones(run, trained):
    drawn().save("good.png")
    Path("bad.png").write_text("no image")
    assert "bad.png: not an image" in refusal(run("good.png", "bad.png", "good.png"))
    assert "bad.png: not an image" in refusal(run("good.png", "bad.png", "--json"))


def test_model_is_missing_or_damaged(run, trained):
    drawn().save("x.png")
    assert (
        refusal(run("x.png", model="no.npz")) == "error: no.npz: no such file; run `dvc repro`, if a stage makes it.\n"
    )
    shutil.copy("x.png", "no.npz")
    assert "no.npz: not an array file of this pipeline" in refusal(run("x.png", model="no.npz"))


@pytest.mark.parametrize("arithmetic", ["exact", "float32"])
def test_model_beyond_all_bounds(run, trained, arithmetic):
    drawn().save("x.png")
    model = load_model(trained / "mlp.npz")
    model.arithmetic = ARITHMETICS[arithmetic]
    dtype, huge = model.arithmetic.dtype, {"exact": 1e200, "float32": 1e38}[arithmetic]
    model.weights = [(np.sign(W) * huge).astype(dtype) for W in model.weights]
    model.biases = [b.astype(dtype) for b in model.biases]
    save_model(Path("huge.npz"), model)
    sentence = refusal(run("x.png", model="huge.npz"))
    assert sentence == "error: huge.npz: its weights are too large to compute with; run `dvc repro` to make it again.\n"


def test_help_imports_nothing_slow(tmp_path):
    command = [sys.executable, "-X", "importtime", "-m", "tools.predict", "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert result.returncode == 0
    assert "IDX" in result.stdout
    assert not re.search(r"\b(numpy|PIL|mlp)\b", result.stderr)


def test_no_file_at_all(run):
    assert run().exit_code == 2


# Other pictures than digits


def test_whole_picture_and_inverted(run):
    """A picture that fits is used as it is."""
    picture = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    Image.fromarray(picture).save("x.png")
    Image.fromarray(255 - picture).save("inverted.png")
    images = b"\0\0\x08\x03" + struct.pack(">3I", 1, 28, 28) + picture.tobytes()
    Path("x-idx3-ubyte").write_bytes(images)
    (expected,) = json.loads(run("x-idx3-ubyte", "--json").stdout)
    (fitted,) = json.loads(run("x.png", "--prepare", "fit", "--json").stdout)
    (inverted,) = json.loads(run("inverted.png", "--prepare", "fit", "--invert", "--json").stdout)
    assert fitted["probabilities"] == inverted["probabilities"] == expected["probabilities"]
    assert "x-idx3-ubyte: the images of an IDX file are used" in run("x-idx3-ubyte", "--invert").stderr
