"""Prepared images and trained networks: read back as they were written, or refused in one sentence."""

from itertools import pairwise

import numpy as np
import pytest

from mlp.arithmetic import ARITHMETICS
from mlp.layers import ACTIVATIONS
from mlp.network import Network, Preparation
from pipeline.store.arrays import load_arrays, save_arrays
from pipeline.store.artifacts import (
    Misclassified,
    load_misclassified,
    load_model,
    load_prepared,
    save_misclassified,
    save_model,
)
from tests.support.files import B1, B2, MISCLASSIFIED, MODEL, PREPARED, W1, W2
from tests.support.refusals import numbers, refused


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.npz"


@pytest.mark.parametrize("arithmetic", ARITHMETICS.values())
@pytest.mark.parametrize("hidden", [[], [1, 5]])
@pytest.mark.parametrize("magnitude", [1e-320, 1.0, 1e30])
def test_model_is_read_back_to_the_last_bit(path, arithmetic, hidden, magnitude):
    rng = np.random.default_rng(0)
    sizes = [6, *hidden, 3]
    preparation = Preparation(33.5, 0.1, (2, 3), ("a", "T-shirt/top", "ç"), bool(hidden), arithmetic.name == "exact")
    weights = [(magnitude * rng.normal(size=shape)).astype(arithmetic.dtype) for shape in pairwise(sizes)]
    biases = [(magnitude * rng.normal(size=size)).astype(arithmetic.dtype) for size in sizes[1:]]
    model = Network(weights, biases, ACTIVATIONS["tanh" if hidden else "relu"], arithmetic, preparation)
    save_model(path, model)
    found = load_model(path)
    for name in ("activation", "arithmetic", "preparation"):
        assert getattr(found, name) == getattr(model, name)
    for now, then in zip(found.weights + found.biases, weights + biases, strict=True):
        assert (now.dtype, now.shape, now.tobytes()) == (then.dtype, then.shape, then.tobytes())
    content = path.read_bytes()
    save_model(path, found)
    assert path.read_bytes() == content


def test_misclassified_images_are_read_back_as_they_were_written(path):
    columns = [MISCLASSIFIED[name] for name in Misclassified._fields[:5]]
    mistakes = Misclassified(*columns, image_shape=(2, 3), classes=("a", "b", "ç"))
    save_misclassified(path, mistakes)
    assert list(load_arrays(path)) == list(Misclassified._fields)
    found = load_misclassified(path)
    for now, then in zip(found[:5], columns, strict=True):
        np.testing.assert_array_equal(now, then, strict=True)
    assert found[5:] == mistakes[5:]


# Damage: the array that the error is about, and what replaces it (None: nothing). A mapping replaces other arrays.


def with_one(array: np.ndarray, value: float) -> np.ndarray:
    array = array.copy()
    array.flat[1] = value
    return array


DESCRIPTION = {
    "no scale": ("scale", None),
    "no image shape": ("image_shape", None),
    "no classes": ("classes", None),
    "a class twice": ("classes", np.array(["a", "a", "b"])),
    "a class without a name": ("classes", np.array(["a", " ", "b"])),
    "a class of two lines": ("classes", np.array(["a", "b\x1b[31m", "c"])),
    "a class with an endless name": ("classes", np.array(["a", "b" * 101, "c"])),
    "one class": ("classes", np.array(["a"])),
    "numbered classes": ("classes", np.arange(3)),
    "shift of a type of its own": ("shift", np.float32(33.5)),
    "two shifts": ("shift", np.array([1.0, 2.0])),
    "shift between the steps": ("shift", np.float64(33.3)),
    "negative shift": ("shift", np.float64(-1)),
    "large shift": ("shift", np.float64(256)),
    "shift that is no number": ("shift", np.float64("nan")),
    "scale that is no number": ("scale", np.float64("nan")),
    "zero scale": ("scale", np.float64(0)),
    "flat image shape": ("image_shape", np.array([6])),
    "empty image shape": ("image_shape", np.array([6, 0])),
    "negative image shape": ("image_shape", np.array([-2, -3])),
    "something else": ("extra", np.zeros(3)),
}
MODEL_DAMAGE = DESCRIPTION | {
    "no weights": ("weights_1", None),
    "no biases": ("biases_2", None),
    "no layers": ("weights_1", {"weights_1": None, "biases_1": None, "weights_2": None, "biases_2": None}),
    "missing last layer": ("weights_1", {"weights_2": None, "biases_2": None}),
    "layer beyond a gap": ("biases_4, weights_4", {"weights_4": W2, "biases_4": B2}),
    "float32 in exact arithmetic": ("weights_1", W1.astype("f4")),
    "float64 in float32": ("weights_1", {"arithmetic": np.array("float32")}),
    "flat weights": ("weights_1", W1.ravel()),
    "another image shape": ("weights_1", {"image_shape": np.array([3, 3])}),
    "broken chain": ("weights_2", np.zeros((5, 3))),
    "biases of another layer": ("weights_1", {"biases_1": np.zeros(5)}),
    "another output": ("weights_2", {"classes": np.array(["a", "b"])}),
    "nan among the weights": ("weights_2", with_one(W2, np.nan)),
    "infinity among the biases": ("biases_1", with_one(B1, -np.inf)),
    "layer of no neurons": ("biases_1", {"weights_1": np.zeros((6, 0)), "biases_1": np.zeros(0)}),
    "unknown activation": ("activation", np.array("softplus")),
    "unknown arithmetic": ("arithmetic", np.array("float16")),
    "numbered activation": ("activation", np.int64(0)),
    "two activations": ("activation", np.array(["relu", "relu"])),
    "no arithmetic": ("arithmetic", None),
}
PREPARED_DAMAGE = DESCRIPTION | {
    "no images": ("images", None),
    "no labels": ("labels", None),
    "images as floats": ("images", np.zeros((4, 6))),
    "images in rows and columns": ("images", np.zeros((4, 2, 3), np.uint8)),
    "nothing in it": ("images", {"images": np.zeros((0, 6), np.uint8), "labels": np.zeros((0, 3), np.uint8)}),
    "another image shape": ("images", {"image_shape": np.array([2, 2])}),
    "a label too few": ("labels", PREPARED["labels"][:3]),
    "a class too few": ("labels", np.eye(4, dtype=np.uint8)),
    "class indices": ("labels", np.array([0, 1, 2, 1], np.uint8)),
    "a label of no class": ("labels", np.zeros((4, 3), np.uint8)),
    "two labels of two classes": ("labels", PREPARED["labels"] | np.eye(4, 3, 1, np.uint8)),
    "a label of two classes": ("labels", np.ones((4, 3), np.uint8)),
    "a label of 2": ("labels", 2 * PREPARED["labels"]),
}
MISCLASSIFIED_DAMAGE = {
    **{name: damage for name, damage in DESCRIPTION.items() if damage[0] not in ("shift", "scale")},
    "no images": ("images", None),
    "images as floats": ("images", np.zeros((2, 6))),
    "another image shape": ("images", {"image_shape": np.array([2, 2])}),
    "no actual": ("actual", None),
    "actual as bytes": ("actual", np.array([2, 0], np.uint8)),
    "a probability too many": ("probability", np.zeros(3)),
    "a place too few": ("place", np.array([7])),
    "an actual of no class": ("actual", np.array([3, 0])),
    "a negative prediction": ("predicted", np.array([1, -1])),
    "probability above 1": ("probability", np.array([1.5, 0.5])),
    "probability below 0": ("probability", np.array([0.5, -0.5])),
    "nan among the probabilities": ("probability", np.array([0.5, np.nan])),
}


LOADS = {load_model: MODEL, load_prepared: PREPARED, load_misclassified: MISCLASSIFIED}
TABLES = zip(LOADS, (MODEL_DAMAGE, PREPARED_DAMAGE, MISCLASSIFIED_DAMAGE), strict=True)
DAMAGE = [pytest.param(load, *table[name], id=f"{load.__name__}: {name}") for load, table in TABLES for name in table]


def test_what_is_damaged_below_is_whole(path):
    save_arrays(path, **MODEL)
    save_model(path, load_model(path))
    assert load_arrays(path).keys() == MODEL.keys()
    save_arrays(path, **PREPARED)
    assert load_prepared(path).split.images[:].tolist() == PREPARED["images"].tolist()
    assert load_prepared(path).preparation == Preparation(33.5, 0.01, (2, 3), ("a", "b", "c"))
    save_arrays(path, **MISCLASSIFIED)
    assert load_misclassified(path).place.tolist() == [7, 3]


@pytest.mark.parametrize(("load", "about", "change"), DAMAGE)
def test_damaged_file_is_refused(path, load, about, change):
    refuse(load, path, about, change)


def refuse(load, path, about, change):
    changed = LOADS[load] | (change if isinstance(change, dict) else {about: change})
    save_arrays(path, **{name: array for name, array in changed.items() if array is not None})
    error = refused(load, path)
    assert error.about == about
    assert about in str(error).replace(str(path), "")
    assert "`dvc repro`" in str(error)
    return error


def test_a_wrong_shape_is_told_with_the_right_one(path):
    assert numbers(refuse(load_model, path, "weights_2", np.zeros((5, 3)))) == [2, 5, 3, 4, 3]
    assert numbers(refuse(load_prepared, path, "labels", np.eye(5, dtype=np.uint8))) == [5, 5, 4, 3]
    assert numbers(refuse(load_misclassified, path, "place", np.arange(7))) == [7, 2]


def test_numbers_of_another_byte_order_are_refused(path):
    np.savez(path, **MODEL | {"weights_1": W1.astype(">f8")})
    assert refused(load_model, path).about == "weights_1"


def test_a_name_in_a_file_cannot_spoil_the_sentence(path):
    save_arrays(path, **MODEL, **{"a\nb" + 1000 * "c": W1})
    assert len(str(refused(load_model, path))) < len(str(path)) + 200


ENDS = {
    "shift 0": ({"shift": np.float64(0.0)}, load_prepared),
    "shift 255": ({"shift": np.float64(255.0)}, load_prepared),
    "probabilities 0 and 1": ({"probability": np.array([0.0, 1.0])}, load_misclassified),
    "name of 100 characters": ({"classes": np.array(["a" * 100, "b", "c"])}, load_prepared),
    "first and last class": ({"actual": np.array([0, 2]), "predicted": np.array([2, 0])}, load_misclassified),
}


@pytest.mark.parametrize(("change", "load"), ENDS.values(), ids=list(ENDS))
def test_both_ends_of_a_range_are_in_it(path, change, load):
    save_arrays(path, **(LOADS[load] | change))
    load(path)


def test_images_whose_sums_would_not_be_exact_are_refused(path):
    for pixels in (2**21, 2**21 + 1):
        shape = {"image_shape": np.array([1, pixels], np.int64)}
        save_arrays(path, **(PREPARED | shape | {"images": np.zeros((4, pixels), np.uint8)}))
        if pixels == 2**21:
            assert load_prepared(path).preparation.image_shape == (1, pixels)
    error = refused(load_prepared, path)
    assert (error.about, numbers(error)) == ("image_shape", [2097152, 1, 2097153])


@pytest.mark.parametrize("load", LOADS)
def test_missing_file_and_other_files(path, load):
    assert refused(load, path).about == ""
    path.write_bytes(b"<!DOCTYPE html>")
    assert refused(load, path).about == ""
    for other in LOADS.values():
        if other is not LOADS[load]:
            save_arrays(path, **other)
            assert refused(load, path).about
