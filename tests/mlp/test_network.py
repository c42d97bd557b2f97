"""The whole network: its random start, its gradients by central differences, its predictions."""

import math

import numpy as np
import pytest

from mlp.arithmetic import ARITHMETICS
from mlp.layers import ACTIVATIONS
from mlp.prediction import CHUNK, predict
from mlp.protocol import Preparation
from mlp.regularization import Dropout, smooth
from tests.support.networks import Float64, assert_slopes, digits, new_network, take_step

both = pytest.mark.parametrize("arithmetic", list(ARITHMETICS))
activations = pytest.mark.parametrize("activation", list(ACTIVATIONS))


@both
@pytest.mark.parametrize("std", [0.01, "glorot", "he"])
def test_initial_network(arithmetic, std):
    network = new_network(arithmetic, [50, 30], "tanh", std)
    assert [W.shape for W in network.weights] == [(784, 50), (50, 30), (30, 10)]
    assert [b.tolist() for b in network.biases] == [[0.0] * 50, [0.0] * 30, [0.0] * 10]
    arrays = network.weights + network.biases
    assert {array.dtype for array in arrays} == {np.dtype(ARITHMETICS[arithmetic].dtype)}
    for W in network.weights:
        named = {"glorot": math.sqrt(2 / sum(W.shape)), "he": math.sqrt(2 / len(W))}
        expected = named.get(std, std)
        assert abs(W.mean()) < 4 * expected / math.sqrt(W.size)
        assert abs(W.std() / expected - 1) < 4 / math.sqrt(2 * W.size)
        assert np.abs(W).max() <= 6 * expected


def test_seed_decides_the_initial_weights_and_float32_rounds_them():
    networks = (new_network(), new_network(seed=1), new_network("float32"))
    one, other, float32 = (network.weights for network in networks)
    for W, of_another_seed, rounded in zip(one, other, float32, strict=True):
        assert (of_another_seed != W).mean() > 0.99
        assert (W.astype(np.float32) == rounded).all()


@both
@pytest.mark.parametrize("shift", [0.0, 33.31640625, 255.0])
def test_widened_bytes_are_not_rounded(arithmetic, shift):
    X = np.arange(256, dtype=np.uint8).reshape(1, 256)
    network = new_network(arithmetic, preparation=Preparation(shift, 1.0, (16, 16), ("a", "b")))
    assert network.widen(X).dtype == ARITHMETICS[arithmetic].dtype
    assert network.widen(X).ravel().tolist() == [byte - shift for byte in range(256)]


@activations
@pytest.mark.parametrize("hidden", [[], [5], [6, 5, 4]], ids=str)
@pytest.mark.parametrize("scaling", [(0.0, 1 / 255), (100.25, 1 / 80)], ids=["minmax", "zscore"])
@pytest.mark.parametrize("dropout", [Dropout(), Dropout(0.2, 0.5)], ids=["", "dropout"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3], ids=["", "smoothed"])
def test_gradient_of_every_parameter(activation, hidden, scaling, dropout, smoothing):
    rng = np.random.default_rng(1)
    X = rng.integers(0, 256, (9, 7), np.uint8)
    t = smooth(np.eye(3, dtype=np.uint8)[rng.integers(0, 3, 9)], smoothing, np.float64)
    preparation = Preparation(*scaling, (1, 7), tuple("abc"))
    network = new_network(Float64(), hidden, activation, 0.5, preparation)
    for b in network.biases:
        b += rng.uniform(-0.3, 0.3, b.shape)
    masks = dropout.masks([len(W) for W in network.weights], 9, 0, 0)
    assert_slopes(network, X, t, masks, 1e-5, 1e-8)


@activations
def test_prediction_of_an_image_depends_on_no_other_image_and_no_threads(activation):
    network, n = new_network("exact", (30, 20), activation, 0.05), CHUNK + 20
    for _ in range(3):
        take_step(network, *digits("train"), 0.5)
    X = digits("test").images[np.arange(n) % 200]  # two chunks
    whole, log_whole = predict(network, X)
    assert whole.shape == log_whole.shape == (n, 10)
    np.testing.assert_array_equal(whole, predict(network, X, threads=3)[0])
    np.testing.assert_allclose(np.exp(log_whole), whole, rtol=1e-12)
    for chosen in ([0], [CHUNK], [n - 1, 7, 7, 0], np.random.default_rng(0).permutation(n)[:40]):
        some, log_some = predict(network, X[chosen])
        np.testing.assert_array_equal(some, whole[chosen])
        np.testing.assert_array_equal(log_some, log_whole[chosen])
