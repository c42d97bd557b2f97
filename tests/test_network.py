"""The network as a whole: its random start, its gradients by central differences, its predictions."""

import copy
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlp.network
from mlp.arithmetic import ARITHMETICS
from mlp.metrics import classification_report, confusion_matrix
from mlp.network import accuracy, init_network, logits, predict, widen
from mlp.random import normal_like, permutation
from tests.networks import Float64, default_network, digits, gradients, loss, step

both = pytest.mark.parametrize("arithmetic", list(ARITHMETICS))


# Random numbers: pinned, since they decide every output


def test_permutation_is_one():
    for n in [1, 2, 3, 10, 255, 256, 257, 54321]:
        order = permutation(np.random.PCG64(n), n)
        assert order.dtype == np.int64
        np.testing.assert_array_equal(np.sort(order), np.arange(n))


@given(st.integers(0, 2**32 - 1), st.integers(1, 300))
def test_permutation_follows_from_the_seed(seed, n):
    np.testing.assert_array_equal(permutation(np.random.PCG64(seed), n), permutation(np.random.PCG64(seed), n))


def test_permutations_differ_by_seed_and_by_turn():
    source = np.random.PCG64(0)
    orders = [permutation(source, 1000).tolist() for _ in range(3)]
    orders += [permutation(np.random.PCG64(seed), 1000).tolist() for seed in (1, 2)]
    assert len({tuple(order) for order in orders}) == 5


def test_every_place_of_a_permutation_is_equally_likely():
    source = np.random.PCG64(0)
    counts = np.zeros((6, 6))
    for _ in range(6000):
        counts[np.arange(6), permutation(source, 6)] += 1
    assert abs(counts - 1000).max() < 5 * math.sqrt(1000 * 5 / 6)


def test_random_numbers_are_those_they_always_were():
    assert permutation(np.random.PCG64(0), 10).tolist() == [3, 2, 1, 8, 6, 0, 7, 4, 5, 9]
    expected = [[51122, -66102, 36802], [62125, 86084, -70387]]
    assert (normal_like(np.random.PCG64(0), (2, 3)) * 2**16).tolist() == expected


def test_normal_like_has_mean_0_deviation_1_and_the_tails_of_twelve_uniform_numbers():
    x = normal_like(np.random.PCG64(0), (1000, 500))
    n = x.size
    assert x.shape == (1000, 500)
    assert abs(x.mean()) < 4 / math.sqrt(n)
    assert abs(x.var() - 1) < 4 * math.sqrt(2 / n)
    assert abs((x**3).mean()) < 4 * math.sqrt(15 / n)
    assert abs((np.abs(x) < 1).mean() - 0.6827) < 0.01
    assert np.abs(x).max() <= 6
    assert abs(np.corrcoef(x[:, :-1].ravel(), x[:, 1:].ravel())[0, 1]) < 4 / math.sqrt(n)


# The start


@both
def test_initial_network(arithmetic):
    network = init_network([784, 50, 30, 10], "tanh", 0.01, 0.0, 1 / 255, arithmetic, np.random.PCG64(0))
    assert [W.shape for W in network.weights] == [(784, 50), (50, 30), (30, 10)]
    assert [b.tolist() for b in network.biases] == [[0.0] * 50, [0.0] * 30, [0.0] * 10]
    assert {array.dtype for array in network.weights + network.biases} == {np.dtype(ARITHMETICS[arithmetic].dtype)}
    for W in network.weights:
        assert abs(W.mean()) < 4 * 0.01 / math.sqrt(W.size)
        assert abs(W.std() / 0.01 - 1) < 4 / math.sqrt(2 * W.size)
        assert np.abs(W).max() <= 0.06


def test_initial_weights_follow_from_the_seed_alone():
    one, same, other = (default_network(seed=seed).weights for seed in (0, 0, 1))
    assert all((left == right).all() for left, right in zip(one, same, strict=True))
    assert all((left != right).mean() > 0.99 for left, right in zip(one, other, strict=True))
    as_float32 = default_network("float32").weights
    assert all((left.astype(np.float32) == right).all() for left, right in zip(one, as_float32, strict=True))


@both
@pytest.mark.parametrize("shift", [0.0, 33.31640625, 255.0])
def test_widened_bytes_are_not_rounded(arithmetic, shift):
    images = np.arange(256, dtype=np.uint8).reshape(1, 256)
    network = init_network([256, 2], "relu", 0.1, shift, 1.0, arithmetic, np.random.PCG64(0))
    X = widen(network, images)
    assert X.dtype == ARITHMETICS[arithmetic].dtype
    assert X.ravel().tolist() == [byte - shift for byte in range(256)]


# Gradients, of the loss that training sees and by the steps it takes

activations = pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
hidden_sizes = pytest.mark.parametrize("hidden", [[], [5], [5, 4], [6, 5, 4]], ids=str)
scalings = pytest.mark.parametrize(("shift", "scale"), [(0.0, 1 / 255), (100.25, 1 / 80)], ids=["minmax", "zscore"])


@pytest.fixture
def small(monkeypatch):
    """A function that makes a small network with images and labels for it; it knows the arithmetic float64 too."""
    monkeypatch.setitem(ARITHMETICS, "float64", Float64())

    def make(arithmetic, activation, hidden, shift, scale):
        rng = np.random.default_rng(1)
        images = rng.integers(0, 256, (9, 7), np.uint8)
        labels = np.eye(3, dtype=np.uint8)[rng.integers(0, 3, 9)]
        network = init_network([7, *hidden, 3], activation, 0.5, shift, scale, arithmetic, np.random.PCG64(0))
        for b in network.biases:
            b += rng.uniform(-0.3, 0.3, b.shape)
        return network, images, labels

    return make


def check_by_central_differences(network, images, labels, h, tolerance):
    found = gradients(network, images, labels)
    for parameter, gradient in zip(network.weights + network.biases, found, strict=True):
        expected = np.empty_like(parameter)
        for place in np.ndindex(parameter.shape):
            before = parameter[place]
            parameter[place] = before + h
            above = loss(network, images, labels)
            parameter[place] = before - h
            below = loss(network, images, labels)
            parameter[place] = before
            expected[place] = (above - below) / (2 * h)
        assert np.abs(expected).max() > 1e-4
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=tolerance)


@activations
@hidden_sizes
@scalings
def test_gradient_of_every_parameter(small, activation, hidden, shift, scale):
    check_by_central_differences(*small("float64", activation, hidden, shift, scale), 1e-5, 1e-8)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])  # a wide difference would step over relu's corner
@hidden_sizes
@scalings
def test_gradient_of_every_parameter_in_exact_arithmetic(small, activation, hidden, shift, scale):
    # A small difference would drown in the rounding of operands to 21 bits, a large one sees the curvature
    check_by_central_differences(*small("exact", activation, hidden, shift, scale), 2.0**-6, 1e-3)


@activations
@hidden_sizes
@scalings
def test_gradients_of_exact_and_of_plain_arithmetic_agree(small, activation, hidden, shift, scale):
    plain, exact = (gradients(*small(name, activation, hidden, shift, scale)) for name in ("float64", "exact"))
    for expected, found in zip(plain, exact, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


# Predictions


@both
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_prediction_in_chunks_is_that_of_the_whole(monkeypatch, arithmetic, activation):
    images, labels = digits("test")
    network = default_network(arithmetic, hidden=(30, 20), activation=activation)
    for _ in range(3):
        step(network, images, labels, 0.5)
    monkeypatch.setattr(mlp.network, "CHUNK", 1000)
    whole, log_whole = predict(network, images)
    monkeypatch.setattr(mlp.network, "CHUNK", 7)
    chunks, log_chunks = predict(network, images)
    assert whole.shape == chunks.shape == (200, 10)
    np.testing.assert_allclose(chunks, whole, rtol=1e-5)
    np.testing.assert_allclose(log_chunks, log_whole, rtol=1e-5)


@both
def test_prediction_is_a_distribution_and_its_logarithm(arithmetic):
    images, _ = digits("test")
    network = default_network(arithmetic)
    before = copy.deepcopy(network)
    y, log_y = predict(network, images)
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.exp(log_y), y, rtol=1e-5)
    np.testing.assert_array_equal(y.argmax(axis=1), logits(network, images).argmax(axis=1))
    assert all((W == V).all() for W, V in zip(network.weights, before.weights, strict=True))


def test_accuracy_counts_what_is_right():
    labels = np.eye(3, dtype=np.uint8)[[0, 1, 2, 2]]
    assert accuracy(np.array([0, 1, 0, 2]), labels) == 0.75
    assert accuracy(labels.argmax(axis=1), labels) == 1.0
    assert accuracy(np.array([1]), labels[:1]) == 0.0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_report_counts_by_class(pairs):
    actual, predicted = np.array(pairs).T
    matrix = confusion_matrix(actual, predicted, 4)
    report = classification_report(actual, predicted, 4)
    assert matrix.sum() == len(pairs)
    for name, row in enumerate(report):
        right = pairs.count((name, name))
        n_actual, n_predicted = [a for a, _ in pairs].count(name), [p for _, p in pairs].count(name)
        assert matrix[name].tolist() == [pairs.count((name, other)) for other in range(4)]
        assert row["images"] == n_actual
        assert row["precision"] == (right / n_predicted if n_predicted else 0)
        assert row["recall"] == (right / n_actual if n_actual else 0)
        if right:
            harmonic = 2 / (1 / row["precision"] + 1 / row["recall"])
            assert math.isclose(row["f1"], harmonic)
        else:
            assert row["f1"] == 0
