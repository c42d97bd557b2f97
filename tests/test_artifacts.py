"""Prepared images and trained networks: read back as they were written, or refused in one sentence."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlp.arithmetic import ARITHMETICS
from mlp.layers import ACTIVATIONS
from mlp.network import Network, Preparation, predict
from pipeline.program.errors import UserError
from pipeline.store.arrays import load_arrays, save_arrays
from pipeline.store.artifacts import (
    Misclassified,
    load_misclassified,
    load_model,
    load_prepared,
    save_misclassified,
    save_model,
)

relaxed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


@st.composite
def models(draw) -> Network:
    image_shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
    classes = tuple(draw(st.lists(names, min_size=2, max_size=4)))
    sizes = [image_shape[0] * image_shape[1], *draw(st.lists(st.integers(1, 5), max_size=3)), len(classes)]
    arithmetic = draw(st.sampled_from(list(ARITHMETICS.values())))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    magnitude = draw(st.sampled_from([1e-320, 1e-30, 0.01, 1.0, 1e30]))
    dtype = arithmetic.dtype
    return Network(
        weights=[(magnitude * rng.normal(size=shape)).astype(dtype) for shape in pairwise(sizes)],
        biases=[(magnitude * rng.normal(size=size)).astype(dtype) for size in sizes[1:]],
        activation=draw(st.sampled_from(list(ACTIVATIONS.values()))),
        arithmetic=arithmetic,
        preparation=Preparation(
            draw(st.integers(0, 255 * 256)) / 256, draw(st.floats(1e-6, 1e6)), image_shape, classes
        ),
    )


@relaxed
@given(models())
def test_model_is_read_back_to_the_last_bit(tmp_path, model):
    path = tmp_path / "model.npz"
    save_model(path, model)
    content = path.read_bytes()
    found = load_model(path)
    for name in ("activation", "arithmetic", "preparation"):
        assert getattr(found, name) == getattr(model, name)
    for name in ("weights", "biases"):
        for left, right in zip(getattr(found, name), getattr(model, name), strict=True):
            assert (left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes())
    save_model(path, found)
    assert path.read_bytes() == content


def test_model_predicts_the_same_after_reading(tmp_path):
    rng = np.random.default_rng(0)
    weights, biases = [rng.normal(size=(6, 2))], [rng.normal(size=2)]
    preparation = Preparation(12.5, 0.01, (2, 3), ("a", "b"))
    network = Network(weights, biases, ACTIVATIONS["relu"], ARITHMETICS["exact"], preparation)
    save_model(tmp_path / "model.npz", network)
    images = rng.integers(0, 256, (5, 6), np.uint8)
    found = load_model(tmp_path / "model.npz")
    for now, then in zip(predict(found, images), predict(network, images), strict=True):
        np.testing.assert_array_equal(now, then)


def test_misclassified_images_are_read_back_as_they_were_written(tmp_path):
    mistakes = Misclassified(
        images=np.arange(12, dtype=np.uint8).reshape(2, 6),
        actual=np.array([2, 0]),
        predicted=np.array([1, 1]),
        probability=np.array([0.75, 0.5]),
        place=np.array([7, 3]),
        image_shape=(2, 3),
        classes=("a", "b", "ç"),
    )
    path = tmp_path / "misclassified.npz"
    save_misclassified(path, mistakes)
    assert list(load_arrays(path)) == list(Misclassified._fields)
    found = load_misclassified(path)
    for now, then in zip(found[:5], mistakes[:5], strict=True):
        np.testing.assert_array_equal(now, then, strict=True)
    assert found[5:] == mistakes[5:]


# Damage: what is changed (None: taken away), and what the sentence says

W1, B1 = np.full((6, 4), 0.5), np.zeros(4)
W2, B2 = np.full((4, 3), 0.5), np.zeros(3)
MODEL = {
    "weights_1": W1,
    "biases_1": B1,
    "weights_2": W2,
    "biases_2": B2,
    "activation": np.array("sigmoid"),
    "arithmetic": np.array("exact"),
    "shift": np.float64(33.5),
    "scale": np.float64(0.01),
    "image_shape": np.array([2, 3], np.int64),
    "classes": np.array(["a", "b", "c"]),
}
PREPARED = {
    "images": np.arange(24, dtype=np.uint8).reshape(4, 6),
    "labels": np.eye(3, dtype=np.uint8)[[0, 1, 2, 1]],
    "shift": np.float64(33.5),
    "scale": np.float64(0.01),
    "image_shape": np.array([2, 3], np.int64),
    "classes": np.array(["a", "b", "c"]),
}
MISCLASSIFIED = {
    "images": np.arange(12, dtype=np.uint8).reshape(2, 6),
    "actual": np.array([2, 0], np.int64),
    "predicted": np.array([1, 1], np.int64),
    "probability": np.array([0.75, 0.5]),
    "place": np.array([7, 3], np.int64),
    "image_shape": np.array([2, 3], np.int64),
    "classes": np.array(["a", "b", "c"]),
}


def with_one(array: np.ndarray, value: float) -> np.ndarray:
    array = array.copy()
    array.flat[1] = value
    return array


DESCRIPTION = {
    "no shift": ({"shift": None}, "it has no shift"),
    "no scale": ({"scale": None}, "it has no scale"),
    "no image shape": ({"image_shape": None}, "it has no image_shape"),
    "no classes": ({"classes": None}, "it names no classes"),
    "one class": ({"classes": np.array(["a"])}, "it names no classes"),
    "numbered classes": ({"classes": np.arange(3)}, "it names no classes"),
    "shift of a type of its own": ({"shift": np.float32(33.5)}, "its array shift is not 0-dimensional f8"),
    "big-endian shift": ({"shift": np.array(33.5, ">f8")}, "its array shift is not 0-dimensional f8"),
    "two shifts": ({"shift": np.array([1.0, 2.0])}, "its array shift is not 0-dimensional f8"),
    "shift between the steps": ({"shift": np.float64(33.3)}, "its shift is not a multiple of 1/256"),
    "negative shift": ({"shift": np.float64(-1)}, "its shift is not a multiple of 1/256"),
    "large shift": ({"shift": np.float64(256)}, "its shift is not a multiple of 1/256"),
    "shift that is no number": ({"shift": np.float64("nan")}, "its shift is not a multiple of 1/256"),
    "scale that is no number": ({"scale": np.float64("nan")}, "its scale is not a positive number"),
    "infinite scale": ({"scale": np.float64("inf")}, "its scale is not a positive number"),
    "zero scale": ({"scale": np.float64(0)}, "its scale is not a positive number"),
    "flat image shape": ({"image_shape": np.array([6])}, "its image_shape is not two positive numbers"),
    "empty image shape": ({"image_shape": np.array([6, 0])}, "its image_shape is not two positive numbers"),
    "negative image shape": ({"image_shape": np.array([-2, -3])}, "its image_shape is not two positive numbers"),
    "image shape as floats": ({"image_shape": np.array([2.0, 3.0])}, "its array image_shape is not 1-dimensional i8"),
    "something else": ({"extra": np.zeros(3)}, "it also has unknown arrays: extra"),
}
MODEL_DAMAGE = DESCRIPTION | {
    "no weights": ({"weights_1": None}, "its last layer has not one output for each class"),
    "no biases": ({"biases_2": None}, "it has no biases_2"),
    "missing last layer": ({"weights_2": None, "biases_2": None}, "its last layer has not one output for each class"),
    "layer beyond a gap": ({"weights_4": W2, "biases_4": B2}, "unknown arrays: biases_4, weights_4"),
    "float32 in exact arithmetic": ({"weights_1": W1.astype("f4")}, "its array weights_1 is not 2-dimensional f8"),
    "float64 in float32": ({"arithmetic": np.array("float32")}, "its array weights_1 is not 2-dimensional f4"),
    "whole numbers": ({"weights_1": np.zeros((6, 4), np.int64)}, "its array weights_1 is not 2-dimensional f8"),
    "big-endian weights": ({"weights_1": W1.astype(">f8")}, "not an array file of this pipeline|weights_1 is not"),
    "flat weights": ({"weights_1": W1.ravel()}, "its array weights_1 is not 2-dimensional f8"),
    "biases in two dimensions": ({"biases_1": B1[np.newaxis]}, "its array biases_1 is not 1-dimensional f8"),
    "another input": ({"weights_1": np.zeros((7, 4))}, "layer 1 does not have"),
    "another image shape": ({"image_shape": np.array([3, 3])}, "layer 1 does not have"),
    "broken chain": ({"weights_2": np.zeros((5, 3))}, "layer 2 does not have"),
    "biases of another layer": ({"biases_1": np.zeros(5)}, "layer 1 does not have"),
    "another output": ({"classes": np.array(["a", "b"])}, "its last layer has not one output for each class"),
    "nan among the weights": ({"weights_2": with_one(W2, np.nan)}, "layer 2 has numbers that are not finite"),
    "infinity among the biases": ({"biases_1": with_one(B1, -np.inf)}, "layer 1 has numbers that are not finite"),
    "layer of no neurons": ({"weights_1": np.zeros((6, 0)), "biases_1": np.zeros(0)}, "layer 1 has no neurons"),
    "no neurons for a huge image": (
        {"weights_1": np.zeros((4 * 10**8, 0)), "biases_1": np.zeros(0), "image_shape": np.array([20_000, 20_000])},
        "layer 1 has no neurons",
    ),
    "unknown activation": ({"activation": np.array("softplus")}, "its activation is none of sigmoid, tanh, relu"),
    "unknown arithmetic": ({"arithmetic": np.array("float16")}, "its arithmetic is none of exact, float32"),
    "numbered activation": ({"activation": np.int64(0)}, "it has no activation"),
    "two activations": ({"activation": np.array(["relu", "relu"])}, "it has no activation"),
    "no arithmetic": ({"arithmetic": None}, "it has no arithmetic"),
}
PREPARED_DAMAGE = DESCRIPTION | {
    "no images": ({"images": None}, "it has no images"),
    "no labels": ({"labels": None}, "it has no labels"),
    "images as floats": ({"images": np.zeros((4, 6))}, "its array images is not 2-dimensional u1"),
    "images in rows and columns": (
        {"images": np.zeros((4, 2, 3), np.uint8)},
        "its array images is not 2-dimensional u1",
    ),
    "nothing in it": ({"images": np.zeros((0, 6), np.uint8), "labels": np.zeros((0, 3), np.uint8)}, "it has no images"),
    "another image shape": ({"image_shape": np.array([2, 2])}, "its images are not of the shape it states"),
    "a label too few": ({"labels": PREPARED["labels"][:3]}, "it has not one label of every class for each image"),
    "a class too few": ({"labels": np.eye(4, dtype=np.uint8)}, "it has not one label of every class for each image"),
    "class indices": ({"labels": np.array([0, 1, 2, 1], np.uint8)}, "its array labels is not 2-dimensional u1"),
    "a label of no class": ({"labels": np.zeros((4, 3), np.uint8)}, "its labels are not one-hot"),
    "a label of two classes": ({"labels": np.ones((4, 3), np.uint8)}, "its labels are not one-hot"),
    "a label of 2": ({"labels": 2 * PREPARED["labels"]}, "its labels are not one-hot"),
}
MISCLASSIFIED_DAMAGE = {
    **{name: damage for name, damage in DESCRIPTION.items() if not any(word in name for word in ("shift", "scale"))},
    "no images": ({"images": None}, "it has no images"),
    "images as floats": ({"images": np.zeros((2, 6))}, "its array images is not 2-dimensional u1"),
    "another image shape": ({"image_shape": np.array([2, 2])}, "its images are not of the shape it states"),
    "no actual": ({"actual": None}, "it has no actual"),
    "actual as bytes": ({"actual": np.array([2, 0], np.uint8)}, "its array actual is not 1-dimensional i8"),
    "a probability too many": ({"probability": np.zeros(3)}, "it has not one probability for each image"),
    "a place too few": ({"place": np.array([7])}, "it has not one place for each image"),
    "an actual of no class": ({"actual": np.array([3, 0])}, "its array actual has numbers of no class"),
    "a negative prediction": ({"predicted": np.array([1, -1])}, "its array predicted has numbers of no class"),
    "probability above 1": (
        {"probability": np.array([1.5, 0.5])},
        "its array probability has numbers that are not from 0 to 1",
    ),
    "probability below 0": (
        {"probability": np.array([0.5, -0.5])},
        "its array probability has numbers that are not from 0 to 1",
    ),
    "nan among the probabilities": (
        {"probability": np.array([0.5, np.nan])},
        "its array probability has numbers that are not from 0",
    ),
}


def damaged(arrays: dict, change: dict) -> dict:
    return {name: array for name, array in (arrays | change).items() if array is not None}


def test_what_is_damaged_below_is_whole(tmp_path):
    path = tmp_path / "some.npz"
    save_arrays(path, **MODEL)
    save_model(path, load_model(path))
    assert load_arrays(path).keys() == MODEL.keys()
    save_arrays(path, **PREPARED)
    assert load_prepared(path).split.images[:].tolist() == PREPARED["images"].tolist()
    assert load_prepared(path).preparation == Preparation(33.5, 0.01, (2, 3), ("a", "b", "c"))
    save_arrays(path, **MISCLASSIFIED)
    assert load_misclassified(path).place.tolist() == [7, 3]


@pytest.mark.parametrize(("change", "reason"), MODEL_DAMAGE.values(), ids=list(MODEL_DAMAGE))
def test_damaged_model_is_refused(tmp_path, change, reason):
    refuse(load_model, tmp_path / "model.npz", damaged(MODEL, change), reason)


@pytest.mark.parametrize(("change", "reason"), PREPARED_DAMAGE.values(), ids=list(PREPARED_DAMAGE))
def test_damaged_images_are_refused(tmp_path, change, reason):
    refuse(load_prepared, tmp_path / "train.npz", damaged(PREPARED, change), reason)


@pytest.mark.parametrize(("change", "reason"), MISCLASSIFIED_DAMAGE.values(), ids=list(MISCLASSIFIED_DAMAGE))
def test_damaged_mistakes_are_refused(tmp_path, change, reason):
    refuse(load_misclassified, tmp_path / "misclassified.npz", damaged(MISCLASSIFIED, change), reason)


def refuse(load, path, arrays, reason):
    save_arrays(path, **arrays)
    with pytest.raises(UserError, match=reason) as caught:
        load(path)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}: ")
    assert "`dvc repro`" in sentence
    assert "\n" not in sentence


def test_each_is_refused_for_the_other(tmp_path):
    path = tmp_path / "some.npz"
    refuse(load_model, path, PREPARED, "it has no")
    refuse(load_prepared, path, MODEL, "it has no")
    refuse(load_misclassified, path, MODEL, "it has no")


ENDS = {
    "shift 0": ({"shift": np.float64(0.0)}, load_prepared),
    "shift 255": ({"shift": np.float64(255.0)}, load_prepared),
    "probabilities 0 and 1": ({"probability": np.array([0.0, 1.0])}, load_misclassified),
    "first and last class": ({"actual": np.array([0, 2]), "predicted": np.array([2, 0])}, load_misclassified),
}


@pytest.mark.parametrize(("change", "load"), ENDS.values(), ids=list(ENDS))
def test_both_ends_of_a_range_are_in_it(tmp_path, change, load):
    arrays = PREPARED if load is load_prepared else MISCLASSIFIED
    save_arrays(tmp_path / "some.npz", **(arrays | change))
    load(tmp_path / "some.npz")


@pytest.mark.parametrize(("pixels", "accepted"), [(2**21, True), (2**21 + 1, False)])
def test_images_whose_sums_would_not_be_exact_are_refused(tmp_path, pixels, accepted):
    path = tmp_path / "train.npz"
    shape = {"image_shape": np.array([1, pixels], np.int64)}
    save_arrays(path, **(PREPARED | shape | {"images": np.zeros((4, pixels), np.uint8)}))
    if accepted:
        assert load_prepared(path).preparation.image_shape == (1, pixels)
    else:
        with pytest.raises(UserError, match="at most 2097152 pixels, found 1 × 2097153"):
            load_prepared(path)


@pytest.mark.parametrize("load", [load_model, load_prepared, load_misclassified])
def test_missing_file_and_other_files(tmp_path, load):
    path = tmp_path / "some.npz"
    with pytest.raises(UserError, match="no such file"):
        load(path)
    for content in [b"", b"<!DOCTYPE html>", b"PK\x03\x04", bytes(1000)]:
        path.write_bytes(content)
        with pytest.raises(UserError, match="not an array file of this pipeline"):
            load(path)
