"""Prepared images and trained networks: read back as they were, or refused in one sentence."""

from itertools import pairwise

import numpy as np
import pytest

from mlp.arithmetic import ARITHMETICS
from mlp.layers import ACTIVATIONS
from mlp.network import MLP
from mlp.protocol import Preparation
from pipeline.store.arrays import save_arrays
from pipeline.store.artifacts import (
    Misclassified,
    load_misclassified,
    load_model,
    load_prepared,
    save_misclassified,
    save_model,
)
from tests.support.files import MISCLASSIFIED, MODEL, PREPARED, W1
from tests.support.refusals import numbers, refused

LOADS = {load_model: MODEL, load_prepared: PREPARED, load_misclassified: MISCLASSIFIED}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.npz"


@pytest.mark.parametrize("arithmetic", ARITHMETICS.values())
@pytest.mark.parametrize(("hidden", "magnitude"), [([], 1e-320), ([1, 5], 1e30)])
def test_model_is_read_back_to_the_last_bit(path, arithmetic, hidden, magnitude):
    rng = np.random.default_rng(0)
    sizes, classes = [6, *hidden, 3], ("a" * 100, "T-shirt/top", "ç")
    preparation = Preparation(33.5, 0.1, (2, 3), classes, bool(hidden), arithmetic.name == "exact")

    def drawn(size):
        return (magnitude * rng.normal(size=size)).astype(arithmetic.dtype)

    weights, biases = [drawn(pair) for pair in pairwise(sizes)], [drawn(n) for n in sizes[1:]]
    model = MLP(weights, biases, ACTIVATIONS["tanh" if hidden else "relu"], arithmetic, preparation)
    save_model(path, model)
    found = load_model(path)
    for name in ("activation", "arithmetic", "preparation"):
        assert getattr(found, name) == getattr(model, name)
    for now, then in zip(found.weights + found.biases, weights + biases, strict=True):
        assert (now.dtype, now.shape, now.tobytes()) == (then.dtype, then.shape, then.tobytes())


def test_misclassified_images_are_read_back_as_they_were_written(path):
    columns = [MISCLASSIFIED[name] for name in Misclassified._fields[:5]]
    save_misclassified(path, Misclassified(*columns, image_shape=(2, 3), classes=("a", "b", "ç")))
    found = load_misclassified(path)
    for now, then in zip(found[:5], columns, strict=True):
        np.testing.assert_array_equal(now, then, strict=True)
    assert found[5:] == ((2, 3), ("a", "b", "ç"))


# The array that the error is about, and what replaces it (None: nothing), or other arrays
WRONG_NAMES = [np.array(["a", name, "c"]) for name in ("a", " ", "b\x1b[31m", "b" * 101)]
DAMAGE = {
    "image_shape": [None, np.array([6]), np.array([6, 0]), np.array([-2, -3])],
    "classes": [None, np.array(["a"]), np.arange(3), *WRONG_NAMES],
}
LAST = {"weights_2": None, "biases_2": None}
ALL = LAST | {"weights_1": None, "biases_1": None}
FLOAT32, FLAT = W1.astype("f4"), W1.ravel()
NO_NEURONS = {"weights_1": W1[:, :0], "biases_1": np.zeros(0), "weights_2": np.zeros((0, 3))}
OTHER_SHAPE, OTHER_TYPE = {"image_shape": np.array([3, 3])}, {"arithmetic": np.array("float32")}
SCALING_DAMAGE = {
    "scale": [None],
    "shift": [np.float32(33.5), np.array([1.0, 2.0])],
}
MODEL_DAMAGE = {
    "weights_1": [None, ALL, LAST, FLOAT32, FLAT, OTHER_TYPE, OTHER_SHAPE, NO_NEURONS],
    "weights_2": [np.zeros((5, 3)), {"classes": np.array(["a", "b"])}],
    "biases_1": [np.zeros(5)],
    "biases_2": [None],
    "activation": [np.array("softplus"), np.int64(0), np.array(["relu", "relu"])],
    "arithmetic": [None, np.array("float16")],
}
LABELS = PREPARED["labels"]
WRONG_LABELS = [2 * LABELS, 0 * LABELS, 1 - LABELS, np.array([0, 1, 2, 1], np.uint8)]
PREPARED_DAMAGE = {
    "images": [None, np.zeros((4, 6)), np.zeros((4, 2, 3), np.uint8), OTHER_SHAPE],
    "labels": [None, LABELS[:3], np.eye(4, dtype=np.uint8), *WRONG_LABELS],
}
MISCLASSIFIED_DAMAGE = {
    "images": [np.zeros((2, 6)), OTHER_SHAPE],
    "actual": [None, np.array([2, 0], np.uint8), np.array([2, 3]), np.array([-1, 0])],
    "predicted": [np.array([1, 3]), np.array([1, -1])],
    "place": [np.array([7])],
    "probability": [np.zeros(3)],
}
DAMAGES = {
    load_model: DAMAGE | SCALING_DAMAGE | MODEL_DAMAGE,
    load_prepared: DAMAGE | SCALING_DAMAGE | PREPARED_DAMAGE,
    load_misclassified: DAMAGE | MISCLASSIFIED_DAMAGE,
}
CASES = [(load, about) for load, damage in DAMAGES.items() for about in damage]


@pytest.mark.parametrize(("load", "about"), CASES)
def test_damaged_file_is_refused(path, load, about):
    save_arrays(path, **LOADS[load])
    load(path)
    for change in DAMAGES[load][about]:
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
    assert numbers(refuse(load_model, path, "weights_2", np.zeros((5, 3)))) == [2, 64, 5, 3, 64, 4]
    five = refuse(load_prepared, path, "labels", np.eye(5, dtype=np.uint8))
    assert numbers(five) == [8, 5, 5, 8, 4, 3]
    assert numbers(refuse(load_misclassified, path, "place", np.arange(7))) == [64, 7, 64, 2]


def test_images_whose_sums_would_not_be_exact_are_refused(path):
    for pixels in (2**21, 2**21 + 1):
        shape = {"image_shape": np.array([1, pixels], np.int64)}
        save_arrays(path, **(PREPARED | shape | {"images": np.zeros((4, pixels), np.uint8)}))
        if pixels == 2**21:
            assert load_prepared(path).preparation.image_shape == (1, pixels)
    error = refused(load_prepared, path)
    assert (error.about, numbers(error)) == ("image_shape", [2097152, 1, 2097153])
    save_arrays(path, **(MODEL | {"image_shape": np.array([30_000, 30_000])}))
    assert refused(load_model, path).about == "image_shape"
