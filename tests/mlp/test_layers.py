"""The layers: gradients by central differences, and results known beforehand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pipeline.images.one_hot import one_hot

from mlp.arithmetic import ARITHMETICS
from mlp.layers import ACTIVATIONS, cross_entropy, loss_terms, sigmoid, softmax
from tests.support.networks import Float64

pytestmark = pytest.mark.filterwarnings("error")

WITH_GRADIENTS = {"float64": Float64(), "exact": ARITHMETICS["exact"]}

both = pytest.mark.parametrize("arithmetic", ARITHMETICS.values(), ids=list(ARITHMETICS))
with_gradients = pytest.mark.parametrize("name", WITH_GRADIENTS)


def log_softmax(arithmetic, z):
    """Return y and ln y, (n, classes) each."""
    y, shifted, total = softmax(arithmetic, z)
    return y, shifted - arithmetic.log(total)


def loss_of(arithmetic, z, labels) -> float:
    """Return the mean cross-entropy of logits, (n, classes), for the indices of the true classes."""
    _, shifted, total = softmax(arithmetic, z)
    return cross_entropy(arithmetic, loss_terms(shifted, total, one_hot(labels, z.shape[1])))


def central_differences(function, x: np.ndarray, h: float) -> np.ndarray:
    """Return the gradient of the number `function()` with respect to `x`, which is changed on the way."""
    gradient = np.empty_like(x)
    for place in np.ndindex(x.shape):
        before = x[place]
        x[place] = before + h
        above = function()
        x[place] = before - h
        below = function()
        x[place] = before
        gradient[place] = (above - below) / (2 * h)
    return gradient


@with_gradients
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_gradients(name, activation):
    arithmetic = WITH_GRADIENTS[name]
    function, gradient = ACTIVATIONS[activation].function, ACTIVATIONS[activation].gradient
    x = np.linspace(-6, 6, 240)  # an even number: not 0, where relu has no derivative
    h = 1e-5  # nothing is on grids here
    expected = (function(arithmetic, x + h) - function(arithmetic, x - h)) / (2 * h)
    np.testing.assert_allclose(gradient(function(arithmetic, x)), expected, rtol=0, atol=1e-9)


@both
def test_activations_are_those_of_the_textbook(arithmetic):
    x = np.linspace(-20, 20, 401).astype(arithmetic.dtype)
    tolerance = 4 * np.finfo(arithmetic.dtype).eps
    expected = {"sigmoid": 1 / (1 + np.exp(-x)), "tanh": np.tanh(x), "relu": np.where(x > 0, x, 0)}
    for name, activation in ACTIVATIONS.items():
        before = x.copy()
        y = activation.function(arithmetic, x)
        np.testing.assert_allclose(y, expected[name], rtol=0, atol=tolerance)
        assert y.dtype == arithmetic.dtype
        np.testing.assert_array_equal(x, before)
        if activation.exponent is not None:
            assert np.abs(y).max() <= 2.0**activation.exponent


@both
def test_sigmoid_far_out_neither_overflows_nor_warns(arithmetic):
    x = np.array([-1e6, -1000, 0, 1000, 1e6], arithmetic.dtype)
    y = sigmoid(arithmetic, x)
    np.testing.assert_allclose(y, [0, 0, 0.5, 1, 1], rtol=0, atol=1e-37)
    assert ((y >= 0) & (y <= 1)).all()


# Softmax and cross-entropy


@both
def test_softmax_is_that_of_the_textbook(arithmetic):
    logits = np.random.default_rng(0).uniform(-5, 5, (20, 10)).astype(arithmetic.dtype)
    before = logits.copy()
    y, log_y = log_softmax(arithmetic, logits)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    tolerance = 100 * np.finfo(arithmetic.dtype).eps  # the sum of exponentials has 49 bits
    np.testing.assert_allclose(y, expected, rtol=tolerance)
    np.testing.assert_allclose(log_y, np.log(expected), rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(logits, before)


@settings(deadline=None)
@given(
    st.sampled_from(list(ARITHMETICS)),
    arrays(np.float32, st.tuples(st.integers(1, 8), st.integers(2, 12)), elements=st.floats(-1e4, 1e4, width=32)),
)
def test_softmax_of_any_logits_is_a_distribution_with_finite_logarithms(name, logits):
    arithmetic = ARITHMETICS[name]
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y, log_y = log_softmax(arithmetic, logits.astype(arithmetic.dtype))
    assert np.isfinite(log_y).all()
    assert (log_y <= 0).all()
    assert ((y >= 0) & (y <= 1)).all()
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=0, atol=100 * np.finfo(arithmetic.dtype).eps)
    largest = logits == logits.max(axis=1, keepdims=True)
    assert (y[largest] >= 1 / logits.shape[1] * (1 - 1e-6)).all()


def test_exp_in_float32_stops_before_it_overflows():
    found = ARITHMETICS["float32"].exp(np.array([87.0, 88.0, 88.5, 100.0, np.inf], np.float32))
    np.testing.assert_array_equal(found, np.exp(np.array([87, 88, 88, 88, 88], np.float32)), strict=True)
    assert np.isfinite(found).all()


@both
def test_softmax_of_hopeless_logits(arithmetic):
    y, log_y = log_softmax(arithmetic, np.array([[1e4, -1e4], [-1e4, -1e4]], arithmetic.dtype))
    np.testing.assert_allclose(y, [[1, 0], [0.5, 0.5]], rtol=0, atol=1e-300)
    np.testing.assert_allclose(log_y, [[0, -2e4], [-math.log(2), -math.log(2)]], rtol=1e-7)


def test_constant_added_to_a_row_of_logits_changes_nothing():
    exact = ARITHMETICS["exact"]
    logits = np.random.default_rng(0).integers(-50, 50, (5, 10)) / 16.0
    moved = logits + np.array([[8], [-64], [1024], [0], [0.5]])
    for before, after in zip(log_softmax(exact, logits), log_softmax(exact, moved), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=list(ACTIVATIONS))
def test_exponent_is_that_of_the_smallest_bound(activation):
    largest = np.abs(activation.function(ARITHMETICS["exact"], np.array([-1e5, -3.0, 0.0, 3.0, 1e5]))).max()
    bounded = activation.exponent is not None
    assert largest == (2.0**activation.exponent if bounded else 1e5)


@both
def test_cross_entropy_is_the_mean_of_what_the_true_classes_cost(arithmetic):
    rng = np.random.default_rng(0)
    logits = rng.uniform(-5, 5, (100, 10)).astype(arithmetic.dtype)
    labels = rng.integers(0, 10, 100)
    found = loss_of(arithmetic, logits, labels)
    _, log_y = log_softmax(arithmetic, logits)
    assert isinstance(found, float)
    assert math.isclose(found, -np.mean(log_y[np.arange(100), labels], dtype=np.float64), rel_tol=1e-6)


@both
def test_cross_entropy_of_knowing_nothing_is_the_logarithm_of_the_classes(arithmetic):
    found = loss_of(arithmetic, np.zeros((3, 10), arithmetic.dtype), np.array([0, 5, 9]))
    assert math.isclose(found, math.log(10), rel_tol=1e-6)


@both
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_refused(arithmetic, bad):
    logits = np.zeros((3, 10), arithmetic.dtype)
    logits[1] = bad
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError):
        loss_of(arithmetic, logits, np.array([0, 5, 9]))


@with_gradients
def test_gradient_of_softmax_with_cross_entropy_is_probability_less_truth(name):
    arithmetic = WITH_GRADIENTS[name]
    rng = np.random.default_rng(0)
    logits, labels = rng.uniform(-2, 2, (6, 4)), rng.integers(0, 4, 6)
    found = (softmax(arithmetic, logits)[0] - one_hot(labels, 4)) / 6
    expected = central_differences(lambda: loss_of(arithmetic, logits, labels), logits, 1e-5)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_one_hot():
    np.testing.assert_array_equal(one_hot(np.array([2, 0]), 3), np.array([[0, 0, 1], [1, 0, 0]], np.uint8), strict=True)
    assert one_hot(np.array([], np.uint8), 3).shape == (0, 3)


@given(st.lists(st.integers(0, 9), min_size=1), st.sampled_from([np.uint8, np.int64]))
def test_one_hot_keeps_the_label(labels, dtype):
    encoded = one_hot(np.array(labels, dtype), 10)
    assert encoded.dtype == np.uint8
    assert encoded.argmax(axis=1).tolist() == labels
    assert (encoded.sum(axis=1) == 1).all()
