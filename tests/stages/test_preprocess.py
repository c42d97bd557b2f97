"""The preprocess stage: splits, one-hot labels and scaling of real digits, and its refusals."""

import gzip
import math
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.images.idx import read_images, read_labels
from pipeline.store.artifacts import load_prepared
from tests.support.files import idx, memory_below
from tests.support.flow import outs, refused, run_stage
from tests.support.networks import MINMAX
from tests.support.project import ROOT, SAMPLE, sample_datasets

RAW = Path("data/raw")
TRAIN_IMAGES, TRAIN_LABELS = RAW / "train-images-idx3-ubyte", RAW / "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = RAW / "t10k-images-idx3-ubyte", RAW / "t10k-labels-idx1-ubyte"
BASE = {"download.dataset": "mnist", "preprocess.scaling": "minmax", "preprocess.seed": 0}


@pytest.fixture
def preprocess(tmp_path, monkeypatch, write_params):
    """A function that runs the stage on the sample with some parameters, and returns its result."""

    def run(datasets=ROOT / "datasets.yaml", **changes):
        changes = {"validation_size": 100} | changes
        write_params(BASE | {f"preprocess.{key}": value for key, value in changes.items()})
        return run_stage("preprocess", "--datasets", str(datasets))

    monkeypatch.chdir(tmp_path)
    RAW.mkdir(parents=True)
    for packed in SAMPLE.glob("*.gz"):
        (RAW / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    return run


@pytest.fixture
def prepared(preprocess):
    """A function that returns the three splits, and how they are prepared."""

    def load(*args, **changes):
        result = preprocess(*args, **changes)
        assert (result.exit_code, result.output) == (0, "")
        loaded = [load_prepared(Path(path)) for path in outs("preprocess")]
        splits, preparations = zip(*loaded, strict=True)
        assert len(set(preparations)) == 1
        return splits, preparations[0]

    return load


def test_splits_are_the_images_with_their_labels_in_order(prepared):
    """`load_prepared` refuses labels that are not one-hot, and other types than bytes."""
    (train, validation, test), preparation = prepared()
    assert (len(train.images), len(validation.images), len(test.images)) == (500, 100, 200)
    assert preparation == MINMAX

    def pairs(images, labels):
        return [(image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)]

    def of(split):
        return pairs(split.images, split.labels.argmax(axis=1))

    assert of(test) == pairs(read_images(TEST_IMAGES)[:], read_labels(TEST_LABELS, 10))
    everything = pairs(read_images(TRAIN_IMAGES)[:], read_labels(TRAIN_LABELS, 10))
    assert len(set(everything)) == 600  # so that a place follows from its image
    for split in train, validation:
        places = [everything.index(pair) for pair in of(split)]
        assert places == sorted(places)
    held_out = set(of(validation))
    assert set(of(train)) == set(everything) - held_out
    assert set(of(prepared(seed=1)[0][1])) != held_out


@pytest.mark.parametrize("flag", ["whole", "inverted"])
def test_how_pictures_became_images_is_remembered(prepared, flag):
    datasets = yaml.safe_dump({"mnist": sample_datasets()["mnist"] | {flag: True}})
    Path("own.yaml").write_text(datasets, encoding="utf-8")
    _, preparation = prepared("own.yaml")
    assert (preparation.whole, preparation.inverted) == (flag == "whole", flag == "inverted")


@pytest.mark.parametrize("scaling", ["none", "zscore"])
def test_scaling_is_that_of_the_training_split(prepared, monkeypatch, scaling):
    monkeypatch.setattr("pipeline.images.prepare.ROWS", 70)  # images counted at once, of 500
    (train, *_), preparation = prepared(scaling=scaling)
    if scaling == "none":
        assert (preparation.shift, preparation.scale) == (0, 1)
    else:
        assert abs(preparation.shift - train.images.mean()) <= 1 / 512
        assert (256 * preparation.shift).is_integer()
        assert math.isclose(preparation.scale * train.images.std(), 1, rel_tol=1e-12)


def test_memory_is_that_of_the_images(preprocess):
    images = np.zeros((40_000, 28, 28), np.uint8)
    images[::7] = 255
    TRAIN_IMAGES.write_bytes(idx(images))
    TRAIN_LABELS.write_bytes(idx(images[:, 0, 0] // 255))
    with memory_below(int(1.3 * images.nbytes) + 20_000_000):
        assert preprocess(scaling="zscore").exit_code == 0


def test_scaling_by_a_standard_deviation_of_0_is_refused(preprocess):
    content = TRAIN_IMAGES.read_bytes()
    TRAIN_IMAGES.write_bytes(content[:16] + bytes(len(content) - 16))
    refused("preprocess", preprocess(scaling="zscore"), "", "preprocess.scaling", "zscore")


def test_validation_must_leave_images_to_train_on(preprocess, prepared):
    words = ("preprocess.validation_size", "600 images")
    refused("preprocess", preprocess(validation_size=600), "params.yaml", *words)
    assert len(prepared(validation_size=599)[0][0].images) == 1


@pytest.mark.parametrize("other", [TRAIN_IMAGES, TEST_IMAGES], ids=str)
def test_images_must_be_of_one_shape_and_labels_be_theirs(preprocess, other):
    content = other.read_bytes()
    other.write_bytes(content[:8] + struct.pack(">II", 14, 56) + content[16:])
    train, test = ("14 × 56", "28 × 28") if other == TRAIN_IMAGES else ("28 × 28", "14 × 56")
    sentence = refused("preprocess", preprocess(), TEST_IMAGES, train, test)
    assert sentence.index(train) < sentence.index(test)  # expected, then found
    shutil.copy(TEST_LABELS, TRAIN_LABELS)
    refused("preprocess", preprocess(), TRAIN_LABELS, "labels", "600", "200")
