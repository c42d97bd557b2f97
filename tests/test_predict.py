"""Prediction: pictures become images like MNIST's, and the command says what is on them, or what is wrong."""

import gzip
import io
import json
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw
from rich.console import Console
from typer.testing import CliRunner

from mlp import network
from mlp.arithmetic import ARITHMETICS
from pipeline.images.idx import read_images
from pipeline.store.artifacts import load_model, save_model
from stages.preprocess import preprocess
from stages.train import train
from tools.digits import prepare
from tools.predict import Prediction, _short_table
from tools.predict import predict as app

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


@pytest.mark.parametrize(("ink", "paper"), [("#555", "#ccc"), ("#d0d0d0", "#303030"), ("firebrick", "darkgreen")])
def test_weak_contrast_does_not_matter(ink, paper):
    assert np.array_equal(prepare(drawn(ink, paper)), prepare(drawn()))


@pytest.mark.parametrize("ink", ["black", "white", "navy", "gold"])
def test_transparent_paper(ink):
    mask = drawn("white", "black", mode="L")
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


def test_narrow_table_has_the_next_two():
    console = Console(width=60, record=True, file=io.StringIO())
    console.print(_short_table([Prediction("a.png", None, [0.7, 0.05, 0.25])], ("Bag", "Coat", "Shirt")))
    assert re.search(r"a\.png +Bag +70\.0 % +Shirt \(25\.0 %\), Coat \(5\.0 %\)", console.export_text())


def refusal(result):
    """Return the one sentence with which the command ended."""
    assert (result.exit_code, result.stdout) == (1, "")
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_no_such_file(run):
    assert refusal(run("x.png")) == "error: x.png: no such file.\n"


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


def test_truncated_image(run):
    for name in ["x.png", "x.jpg", "x.gif", "x.tif", "x.bmp"]:
        drawn(scale=9).save(name)
        content = Path(name).read_bytes()
        Path(name).write_bytes(content[: len(content) * 2 // 3])
        assert f"{name}: the image is damaged (" in refusal(run(name))


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
    assert refusal(run("x.png")) == "error: x.png: there is nothing on it to be seen.\n"


def test_32_bit_pixels(run):
    for pixels in np.eye(30, dtype=np.float32), np.eye(30, dtype=np.int32) * 70_000:
        Image.fromarray(pixels).save("x.tif")
        assert refusal(run("x.tif")) == "error: x.tif: its pixels are numbers of 32 bits; expected 8 or 16.\n"


def test_decompression_bomb(run, monkeypatch):
    drawn(scale=4).save("x.png")
    for limit in (15_000, 1_000):  # Pillow itself warns above the limit, and raises an error above twice the limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert refusal(run("x.png")) == f"error: x.png: expected at most {limit} pixels, found more.\n"


def test_of_several_pictures_the_first(run):
    drawn(scale=4).save("x.gif", save_all=True, append_images=[Image.new("RGB", (120, 160))])
    result = run("x.gif", "--json")
    assert result.exit_code == 0
    assert result.stderr == "note: x.gif: the first of 2 pictures is used.\n"
    assert len(json.loads(result.stdout)) == 1


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
    Path("x.gz").write_bytes(gzip.compress(content)[:-100])
    assert refusal(run("x.gz")).startswith("error: x.gz: the gzip file is damaged (")


def test_gzip_bomb(run, trained, monkeypatch):
    monkeypatch.setattr("tools.predict.MOST_UNPACKED", 100_000)
    path = SAMPLE / f"{IMAGES}.gz"
    assert refusal(run(path)) == f"error: {path}: expected at most 100000 bytes when unpacked, found more.\n"


def test_one_bad_file_among_good_ones(run, trained):
    drawn().save("good.png")
    Path("bad.png").write_text("no image")
    assert "bad.png: not an image" in refusal(run("good.png", "bad.png", "good.png"))
    assert "bad.png: not an image" in refusal(run("good.png", "bad.png", "--json"))


def test_model_is_missing_or_damaged(run, trained):
    drawn().save("x.png")
    assert refusal(run("x.png", model="no.npz")) == "error: no.npz: no such file; run `dvc repro` to make it.\n"
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


def test_help_is_quick_and_says_what_files():
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert "IDX" in result.output


def test_no_file_at_all(run):
    assert run().exit_code == 2
