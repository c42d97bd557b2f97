"""The network as a whole: its random start, its gradients by central differences, its predictions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline.evaluation.report import classification_report, confusion_matrix

from mlp.arithmetic import ARITHMETICS
from mlp.layers import ACTIVATIONS
from mlp.network import Network, Preparation, Split, forward, gradients, logits, predict, widen
from mlp.training import measure
from tests.support.networks import Float64, copy_of, digits, loss, new_network, take_step

both = pytest.mark.parametrize("arithmetic", list(ARITHMETICS))


# The start


@both
def test_initial_network(arithmetic):
    network = new_network(arithmetic, [50, 30], "tanh")
    assert [W.shape for W in network.weights] == [(784, 50), (50, 30), (30, 10)]
    assert [b.tolist() for b in network.biases] == [[0.0] * 50, [0.0] * 30, [0.0] * 10]
    assert {array.dtype for array in network.weights + network.biases} == {np.dtype(ARITHMETICS[arithmetic].dtype)}
    for W in network.weights:
        assert abs(W.mean()) < 4 * 0.01 / math.sqrt(W.size)
        assert abs(W.std() / 0.01 - 1) < 4 / math.sqrt(2 * W.size)
        assert np.abs(W).max() <= 0.06


def test_another_seed_gives_other_initial_weights():
    one, other = (new_network(seed=seed).weights for seed in (0, 1))
    assert all((left != right).mean() > 0.99 for left, right in zip(one, other, strict=True))


def test_initial_weights_in_float32_are_those_of_exact_arithmetic_rounded():
    exact, float32 = new_network("exact").weights, new_network("float32").weights
    assert all((left.astype(np.float32) == right).all() for left, right in zip(exact, float32, strict=True))


@both
@pytest.mark.parametrize("std", [1e-320, 1e-50, 0.01])
def test_no_initial_weight_is_minus_zero(arithmetic, std):
    weights = new_network(arithmetic, (200,), std=std).weights
    assert not any(np.signbit(W[W == 0.0]).any() for W in weights)
    if np.finfo(weights[0].dtype).smallest_subnormal > std / 1e5:  # so small that some of them underflow
        assert (weights[0] == 0.0).any()


@both
@pytest.mark.parametrize("shift", [0.0, 1.0, 33.31640625, 255.0])
def test_widened_bytes_are_not_rounded(arithmetic, shift):
    X = np.arange(256, dtype=np.uint8).reshape(1, 256)
    network = new_network(arithmetic, preparation=Preparation(shift, 1.0, (16, 16), ("a", "b")))
    wide = widen(network, X)
    assert wide.dtype == ARITHMETICS[arithmetic].dtype
    assert wide.ravel().tolist() == [byte - shift for byte in range(256)]


def test_forward_by_hand():
    # One image, (1, 3) after scaling; one hidden neuron, relu. a = 1 · 2 + 3 · 1 − 1 = 4 = h; z = 4 · (1, −1) + (0, 2)
    network = new_network("exact", [1], "relu", preparation=Preparation(0.0, 0.5, (1, 2), ("a", "b")))
    network.weights = [np.array([[2.0], [1.0]]), np.array([[1.0, -1.0]])]
    network.biases = [np.array([-1.0]), np.array([0.0, 2.0])]
    z, inputs = forward(network, np.array([[2, 6]], np.uint8))
    assert z.tolist() == [[4.0, -2.0]]
    assert [h.tolist() for h in inputs] == [[[2.0, 6.0]], [[4.0]]]  # the scale is applied to X W₁


# Gradients, by central differences

activations = pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
hidden_sizes = pytest.mark.parametrize("hidden", [[], [5], [5, 4], [6, 5, 4]], ids=str)
scalings = pytest.mark.parametrize(("shift", "scale"), [(0.0, 1 / 255), (100.25, 1 / 80)], ids=["minmax", "zscore"])


SEVEN_PIXELS = Preparation(0.0, 1 / 255, (1, 7), ("a", "b", "c"))


def small(arithmetic, activation, hidden, shift, scale):
    """Return a small network with images and labels for it."""
    rng = np.random.default_rng(1)
    X = rng.integers(0, 256, (9, 7), np.uint8)
    t = np.eye(3, dtype=np.uint8)[rng.integers(0, 3, 9)]
    network = new_network(arithmetic, hidden, activation, 0.5, SEVEN_PIXELS._replace(shift=shift, scale=scale))
    for b in network.biases:
        b += rng.uniform(-0.3, 0.3, b.shape)
    return network, X, t


def check_by_central_differences(network, X, t, h, tolerance):
    dWs, dbs, _ = gradients(network, X, t)
    for parameter, gradient in zip(network.weights + network.biases, dWs + dbs, strict=True):
        expected = np.empty_like(parameter)
        for place in np.ndindex(parameter.shape):
            before = parameter[place]
            parameter[place] = before + h
            above = loss(network, X, t)
            parameter[place] = before - h
            below = loss(network, X, t)
            parameter[place] = before
            expected[place] = (above - below) / (2 * h)
        assert np.abs(expected).max() > 1e-4
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=tolerance)


@activations
@hidden_sizes
@scalings
def test_gradient_of_every_parameter(activation, hidden, shift, scale):
    check_by_central_differences(*small(Float64(), activation, hidden, shift, scale), 1e-5, 1e-8)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])  # a wide difference would step over relu's corner
@hidden_sizes
@scalings
def test_gradient_of_every_parameter_in_exact_arithmetic(activation, hidden, shift, scale):
    # A small difference would drown in the rounding of operands to 21 bits, a large one sees the curvature
    check_by_central_differences(*small("exact", activation, hidden, shift, scale), 2.0**-6, 1e-3)


@activations
@hidden_sizes
@scalings
def test_gradients_of_exact_and_of_plain_arithmetic_agree(activation, hidden, shift, scale):
    plain, exact = (gradients(*small(name, activation, hidden, shift, scale)) for name in (Float64(), "exact"))
    for expected, found in zip(plain[0] + plain[1], exact[0] + exact[1], strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@both
def test_gradients_do_not_change_the_network(arithmetic):
    network, (X, t) = new_network(arithmetic), digits("train")
    before = copy_of(network)
    gradients(network, X[:50], t[:50])
    for now, then in zip(network.weights + network.biases, before.weights + before.biases, strict=True):
        np.testing.assert_array_equal(now, then)


# Predictions


def trained(arithmetic, activation):
    network, (X, t) = new_network(arithmetic, (30, 20), activation, 0.05), digits("train")
    for start in range(0, 300, 100):
        take_step(network, X[start : start + 100], t[start : start + 100], 0.5)
    return network


@activations
@given(st.lists(st.integers(0, 1099), min_size=1, max_size=40))
def test_prediction_of_an_image_depends_on_no_other_image(activation, chosen):
    network, X = trained("exact", activation), digits("test").images[np.arange(1100) % 200]  # three chunks
    whole, log_whole = predict(network, X)
    some, log_some = predict(network, X[chosen])
    np.testing.assert_array_equal(some, whole[chosen])
    np.testing.assert_array_equal(log_some, log_whole[chosen])


@both
def test_prediction_is_a_distribution_and_its_logarithm(arithmetic):
    network, X = trained(arithmetic, "sigmoid"), digits("test").images
    y, log_y = predict(network, X)
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.exp(log_y), y, rtol=1e-5)
    np.testing.assert_array_equal(y.argmax(axis=1), logits(network, X).argmax(axis=1))


def test_prediction_of_no_image():
    y, log_y = predict(new_network(), np.empty((0, 784), np.uint8))
    assert y.shape == log_y.shape == (0, 10)


@both
def test_score_is_the_accuracy_and_the_mean_loss(arithmetic):
    A, one_hot = ARITHMETICS[arithmetic], np.eye(3, dtype=np.uint8)
    preparation = Preparation(0.0, 1.0, (1, 3), ("a", "b", "c"))
    network = Network([3 * np.eye(3, dtype=A.dtype)], [np.zeros(3, A.dtype)], ACTIVATIONS["tanh"], A, preparation)
    found = measure(network, Split(one_hot[[0, 1, 0, 2]], one_hot[[0, 1, 2, 2]]))
    right, wrong = math.log(math.exp(3) + 2) - 3, math.log(math.exp(3) + 2)
    assert found.accuracy == 0.75
    assert math.isclose(found.loss, (3 * right + wrong) / 4, rel_tol=1e-6)


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
