"""The preprocess stage: splits, one-hot labels and scaling of real digits, and its refusals."""

import math
import shutil
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipeline.images.idx import read_images, read_labels
from pipeline.images.scaling import scaling_of
from pipeline.program.errors import UserError
from pipeline.store.arrays import load_arrays
from stages.preprocess import preprocess as app
from tests.support.refusals import refusal

ROOT = Path(__file__).parents[2]
SPLITS = ["train", "validation", "test"]
TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@pytest.fixture
def preprocess(raw, tmp_path, write_params):
    """A function that runs the stage on the sample with some parameters and returns its result and its folder."""

    def run(name="prepared", datasets=ROOT / "datasets.yaml", **knobs):
        knobs = {"validation_size": 100} | knobs
        params = write_params({f"preprocess.{key}": value for key, value in knobs.items()})
        out = tmp_path / name
        files = [str(out / f"{split}.npz") for split in SPLITS]
        options = ["--params", str(params), "--datasets", str(datasets)]
        return CliRunner().invoke(app, [str(raw), *files, *options]), out

    return run


@pytest.fixture
def prepared(preprocess):
    """A function that returns the three splits' arrays."""

    def load(name="prepared", **knobs):
        result, out = preprocess(name, **knobs)
        assert result.exit_code == 0, result.output
        assert result.output == ""
        return [load_arrays(out / f"{split}.npz") for split in SPLITS]

    return load


def test_what_is_written(prepared):
    for arrays, n in zip(prepared(), [500, 100, 200], strict=True):
        assert {name: (array.dtype.str, array.shape) for name, array in arrays.items()} == {
            "images": ("|u1", (n, 784)),
            "labels": ("|u1", (n, 10)),
            "shift": ("<f8", ()),
            "scale": ("<f8", ()),
            "image_shape": ("<i8", (2,)),
            "classes": ("<U1", (10,)),
        }
        assert arrays["image_shape"].tolist() == [28, 28]
        assert arrays["classes"].tolist() == list("0123456789")
        assert set(np.unique(arrays["labels"])) == {0, 1}
        assert (arrays["labels"].sum(axis=1) == 1).all()


@pytest.mark.parametrize("flag", ["fitted", "inverted"])
def test_how_pictures_became_images_is_remembered(prepared, tmp_path, flag):
    entries = (ROOT / "datasets.yaml").read_text(encoding="utf-8")
    (tmp_path / "own.yaml").write_text(entries.replace("\nmnist:\n", f"\nmnist:\n  {flag}: true\n"), encoding="utf-8")
    for arrays in prepared(datasets=tmp_path / "own.yaml"):
        assert [name for name in ("fitted", "inverted") if name in arrays] == [flag]
        assert arrays[flag]


def test_splits_are_the_images_with_their_labels_in_order(prepared, raw):
    train, validation, test = prepared()

    def pairs(images, labels):
        return [(image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)]

    def written(arrays):
        return pairs(arrays["images"], arrays["labels"].argmax(axis=1))

    def original(images, labels):
        return pairs(read_images(raw / images)[:], read_labels(raw / labels, 10))

    assert written(test) == original(TEST_IMAGES, TEST_LABELS)
    everything = original(TRAIN_IMAGES, TRAIN_LABELS)
    assert len(set(everything)) == 600  # so that a place follows from its image
    for arrays in train, validation:
        places = [everything.index(pair) for pair in written(arrays)]
        assert places == sorted(places)
    assert set(written(train)) | set(written(validation)) == set(everything)
    assert not set(written(train)) & set(written(validation))


def test_another_seed_holds_out_other_images(prepared):
    one, other = (prepared(str(seed), seed=seed)[1]["images"].tobytes() for seed in (0, 1))
    assert one != other


@pytest.mark.parametrize(("scaling", "shift", "scale"), [("none", 0.0, 1.0), ("minmax", 0.0, 1 / 255)])
def test_fixed_scaling(prepared, scaling, shift, scale):
    for arrays in prepared(scaling=scaling):
        assert (arrays["shift"], arrays["scale"]) == (shift, scale)


def test_zscore_is_that_of_the_training_split(prepared):
    train, validation, test = prepared(scaling="zscore")
    pixels = train["images"].astype(np.float64)
    assert abs(train["shift"] - pixels.mean()) <= 1 / 512
    assert (256 * float(train["shift"])).is_integer()
    np.testing.assert_allclose(1 / train["scale"], pixels.std(), rtol=1e-12)
    x = (pixels - train["shift"]) * train["scale"]
    assert abs(x.mean()) < 1e-4
    assert abs(x.std() - 1) < 1e-12
    for arrays in validation, test:
        assert (arrays["shift"], arrays["scale"]) == (train["shift"], train["scale"])


@settings(deadline=None)
@given(st.binary(min_size=2, max_size=300).filter(lambda pixels: len(set(pixels)) > 1))
def test_zscore_agrees_with_numpy(pixels):
    images = np.frombuffer(pixels, np.uint8).reshape(1, 1, -1)
    shift, scale = scaling_of(images, "zscore")
    assert abs(shift - images.mean()) <= 1 / 512 + 1e-12
    assert math.isclose(scale * images.std(dtype=np.float64), 1, rel_tol=1e-12)


def test_zscore_of_blocks_is_that_of_all_images_together():
    blocks = [np.full((3, 2, 2), 7, np.uint8), np.full((1, 2, 2), 255, np.uint8), np.zeros((2, 2, 2), np.uint8)]
    assert scaling_of(blocks, "zscore") == scaling_of([np.concatenate(blocks)], "zscore")


def test_zscore_of_equal_pixels_is_refused():
    with pytest.raises(UserError, match=r"preprocess\.scaling"):
        scaling_of(np.full((2, 3, 3), 7, np.uint8), "zscore")


def test_images_are_never_in_memory_as_a_whole(preprocess, raw):
    preprocess()  # imports what it needs
    n = 40_000
    for name, header in [(TRAIN_IMAGES, (0x803, n, 28, 28)), (TRAIN_LABELS, (0x801, n))]:
        with (raw / name).open("wb") as file:
            file.write(struct.pack(f">{len(header)}I", *header))
            file.truncate(4 * len(header) + n * math.prod(header[2:]))
    with (raw / TRAIN_IMAGES).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\1")  # zscore needs pixels that differ
    tracemalloc.start()
    result, _ = preprocess(scaling="zscore")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.exit_code == 0
    assert peak < n * 28 * 28 / 2


def test_validation_must_leave_images_to_train_on(preprocess):
    for size in [600, 5000]:
        result, out = preprocess(validation_size=size)
        refusal(result, "params.yaml", "preprocess.validation_size", str(size), "600")
        assert not out.exists()
    result, out = preprocess(validation_size=599)
    assert result.exit_code == 0
    assert len(load_arrays(out / "train.npz")["images"]) == 1


def test_missing_file(preprocess, raw):
    (raw / TEST_LABELS).unlink()
    refusal(preprocess()[0], raw / TEST_LABELS)


def test_labels_and_images_must_agree(preprocess, raw):
    shutil.copy(raw / TEST_LABELS, raw / TRAIN_LABELS)
    refusal(preprocess()[0], raw / TRAIN_LABELS, "labels", "600", "200")


@pytest.mark.parametrize("other", [TRAIN_IMAGES, TEST_IMAGES])
def test_images_must_be_of_one_shape(preprocess, raw, other):
    content = (raw / other).read_bytes()
    (raw / other).write_bytes(content[:8] + struct.pack(">II", 14, 56) + content[16:])
    train, test = ("14 × 56", "28 × 28") if other == TRAIN_IMAGES else ("28 × 28", "14 × 56")
    sentence = refusal(preprocess()[0], raw / TEST_IMAGES, train, test, TRAIN_IMAGES)
    assert sentence.index(train) < sentence.index(test)  # expected, then found


def test_image_file_of_another_kind(preprocess, raw):
    (raw / TRAIN_IMAGES).write_bytes(b"<!DOCTYPE html>")
    refusal(preprocess()[0], raw / TRAIN_IMAGES, "00 00 08 03")


def test_bad_parameter(preprocess):
    refusal(preprocess(scaling="max")[0], "params.yaml", "preprocess.scaling", "max", "none, minmax or zscore")


def test_help():
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert "validation" in result.output
