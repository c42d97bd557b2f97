"""The layers: gradients by central differences, and results known beforehand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mlp.arithmetic import ARITHMETICS
from mlp.layers import ACTIVATIONS, affine_backward, affine_forward, cross_entropy, sigmoid, softmax
from mlp.one_hot import one_hot
from tests.networks import Float64

pytestmark = pytest.mark.filterwarnings("error")

# What central differences may differ by: float64 has 53 bits, the operands of exact arithmetic 21
TOLERANCE = {"float64": 1e-8, "exact": 1e-3}
STEP = {"float64": 1e-5, "exact": 2.0**-7}
WITH_GRADIENTS = {"float64": Float64(), "exact": ARITHMETICS["exact"]}

both = pytest.mark.parametrize("arithmetic", ARITHMETICS.values(), ids=list(ARITHMETICS))
with_gradients = pytest.mark.parametrize("name", WITH_GRADIENTS)


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
def test_affine_gradients(name):
    arithmetic = WITH_GRADIENTS[name]
    rng = np.random.default_rng(0)
    X, W, b = rng.uniform(-1, 1, (4, 5)), rng.uniform(-1, 1, (5, 3)), rng.uniform(-1, 1, 3)
    dy = rng.uniform(-1, 1, (4, 3))

    def loss():
        y = affine_forward(arithmetic, arithmetic.grid(X), arithmetic.grid(W), b)
        return float((dy * y).sum())  # ∂loss/∂y = dy

    found = affine_backward(arithmetic, arithmetic.grid(dy), arithmetic.grid(X), arithmetic.grid(W))
    for gradient, x in zip(found, (X, W, b), strict=True):
        expected = central_differences(loss, x, STEP[name])
        assert gradient.shape == x.shape
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=TOLERANCE[name])


@both
def test_affine_by_hand(arithmetic):
    X = np.array([[1, 2, 3], [4, 5, 6]], arithmetic.dtype)
    W = np.array([[1, 0], [0, 1], [1, 1]], arithmetic.dtype)
    b = np.array([0.5, -0.5], arithmetic.dtype)
    y = affine_forward(arithmetic, X, W, b)
    np.testing.assert_array_equal(y, [[4.5, 4.5], [10.5, 10.5]])
    dX, dW, db = affine_backward(arithmetic, np.array([[1, 0], [2, 1]], arithmetic.dtype), X, W)
    np.testing.assert_array_equal(dX, [[1, 0, 1], [2, 1, 3]])
    np.testing.assert_array_equal(dW, [[9, 4], [12, 5], [15, 6]])
    np.testing.assert_array_equal(db, [3, 1])
    assert {array.dtype for array in (y, dX, dW, db)} == {np.dtype(arithmetic.dtype)}


@with_gradients
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_gradients(name, activation):
    arithmetic = WITH_GRADIENTS[name]
    function, gradient, _ = ACTIVATIONS[activation]
    x = np.linspace(-6, 6, 240)  # an even number: not 0, where relu has no derivative
    h = 1e-5  # nothing is on grids here
    expected = (function(arithmetic, x + h) - function(arithmetic, x - h)) / (2 * h)
    np.testing.assert_allclose(gradient(function(arithmetic, x)), expected, rtol=0, atol=1e-9)


@both
def test_activations_are_those_of_the_textbook(arithmetic):
    x = np.linspace(-20, 20, 401).astype(arithmetic.dtype)
    tolerance = 4 * np.finfo(arithmetic.dtype).eps
    expected = {"sigmoid": 1 / (1 + np.exp(-x)), "tanh": np.tanh(x), "relu": np.where(x > 0, x, 0)}
    for name, (function, _, _) in ACTIVATIONS.items():
        before = x.copy()
        np.testing.assert_allclose(function(arithmetic, x), expected[name], rtol=0, atol=tolerance)
        assert function(arithmetic, x).dtype == arithmetic.dtype
        np.testing.assert_array_equal(x, before)


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
    y, log_y = softmax(arithmetic, logits)
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
        y, log_y = softmax(arithmetic, logits.astype(arithmetic.dtype))
    assert np.isfinite(log_y).all()
    assert (log_y <= 0).all()
    assert ((y >= 0) & (y <= 1)).all()
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=0, atol=100 * np.finfo(arithmetic.dtype).eps)
    largest = logits == logits.max(axis=1, keepdims=True)
    assert (y[largest] >= 1 / logits.shape[1] * (1 - 1e-6)).all()


@both
def test_softmax_of_hopeless_logits(arithmetic):
    y, log_y = softmax(arithmetic, np.array([[1e4, -1e4], [-1e4, -1e4]], arithmetic.dtype))
    np.testing.assert_allclose(y, [[1, 0], [0.5, 0.5]], rtol=0, atol=1e-300)
    np.testing.assert_allclose(log_y, [[0, -2e4], [-math.log(2), -math.log(2)]], rtol=1e-7)


def test_constant_added_to_a_row_of_logits_changes_nothing():
    exact = ARITHMETICS["exact"]
    logits = np.random.default_rng(0).integers(-50, 50, (5, 10)) / 16.0
    moved = logits + np.array([[8], [-64], [1024], [0], [0.5]])
    for before, after in zip(softmax(exact, logits), softmax(exact, moved), strict=True):
        np.testing.assert_array_equal(before, after)


@both
def test_cross_entropy_is_the_mean_of_what_the_true_classes_cost(arithmetic):
    rng = np.random.default_rng(0)
    _, log_y = softmax(arithmetic, rng.uniform(-5, 5, (100, 10)).astype(arithmetic.dtype))
    labels = rng.integers(0, 10, 100)
    found = cross_entropy(arithmetic, log_y, one_hot(labels, 10))
    assert isinstance(found, float)
    assert math.isclose(found, -np.mean(log_y[np.arange(100), labels], dtype=np.float64), rel_tol=1e-6)


@both
def test_cross_entropy_of_knowing_nothing_is_the_logarithm_of_the_classes(arithmetic):
    _, log_y = softmax(arithmetic, np.zeros((3, 10), arithmetic.dtype))
    assert math.isclose(cross_entropy(arithmetic, log_y, one_hot(np.array([0, 5, 9]), 10)), math.log(10), rel_tol=1e-6)


@with_gradients
def test_gradient_of_softmax_with_cross_entropy_is_probability_less_truth(name):
    arithmetic = WITH_GRADIENTS[name]
    rng = np.random.default_rng(0)
    logits, labels = rng.uniform(-2, 2, (6, 4)), rng.integers(0, 4, 6)
    found = (softmax(arithmetic, logits)[0] - one_hot(labels, 4)) / 6

    def loss():
        return cross_entropy(arithmetic, softmax(arithmetic, logits)[1], one_hot(labels, 4))

    expected = central_differences(loss, logits, 1e-5)
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
