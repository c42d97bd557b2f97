"""Activations, softmax and the loss: against the textbook's, and where these overflow."""

import math

import numpy as np
import pytest

from mlp.arithmetic import ARITHMETICS
from mlp.layers import ACTIVATIONS, cross_entropy, loss_terms, softmax

pytestmark = pytest.mark.filterwarnings("error")

both = pytest.mark.parametrize("A", ARITHMETICS.values(), ids=list(ARITHMETICS))
activations = pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=list(ACTIVATIONS))


def log_softmax(A, z):
    """Return y and ln y, (n, classes) each."""
    y, shifted, total = softmax(A, z)
    return y, shifted - A.log(total)


def loss_of(A, z, labels) -> float:
    """Return the mean cross-entropy of logits, (n, classes), for the true classes' indices."""
    _, shifted, total = softmax(A, z)
    return cross_entropy(A, loss_terms(shifted, total, np.eye(z.shape[1], dtype=np.uint8)[labels]))


@both
@activations
def test_activations_are_those_of_the_textbook_and_within_their_bound(A, activation):
    x = np.linspace(-20, 20, 401).astype(A.dtype)
    y = activation.function(A, x)
    expected = {"sigmoid": 1 / (1 + np.exp(-x)), "tanh": np.tanh(x), "relu": np.where(x > 0, x, 0)}[
        activation.name
    ]
    np.testing.assert_allclose(y, expected, rtol=0, atol=4 * np.finfo(A.dtype).eps)
    assert y.dtype == A.dtype
    # The exponent is that of the smallest bound
    assert round(float(np.abs(y).max()), 6) == (
        20 if activation.exponent is None else 2**activation.exponent
    )


# Softmax and cross-entropy


@both
def test_softmax_is_that_of_the_textbook(A):
    logits = np.random.default_rng(0).uniform(-5, 5, (20, 10)).astype(A.dtype)
    y, log_y = log_softmax(A, logits)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    tolerance = 100 * np.finfo(A.dtype).eps  # the sum of exponentials has 49 bits
    np.testing.assert_allclose(y, expected, rtol=tolerance)
    np.testing.assert_allclose(log_y, np.log(expected), rtol=tolerance, atol=tolerance)


@both
def test_softmax_of_hopeless_logits(A):
    y, log_y = log_softmax(A, np.array([[1e4, -1e4], [-1e4, -1e4]], A.dtype))
    np.testing.assert_allclose(y, [[1, 0], [0.5, 0.5]], rtol=0, atol=1e-300)
    np.testing.assert_allclose(log_y, [[0, -2e4], [-math.log(2), -math.log(2)]], rtol=1e-7)


@both
def test_cross_entropy_is_the_mean_of_what_the_true_classes_cost(A):
    rng = np.random.default_rng(0)
    logits, labels = rng.uniform(-5, 5, (100, 10)).astype(A.dtype), rng.integers(0, 10, 100)
    found = loss_of(A, logits, labels)
    _, log_y = log_softmax(A, logits)
    assert isinstance(found, float)
    assert math.isclose(
        found, -np.mean(log_y[np.arange(100), labels], dtype=np.float64), rel_tol=1e-6
    )
    knowing_nothing = loss_of(A, np.zeros((3, 10), A.dtype), np.array([0, 5, 9]))
    assert math.isclose(knowing_nothing, math.log(10), rel_tol=1e-6)


@both
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_refused(A, bad):
    logits = np.zeros((3, 10), A.dtype)
    logits[1] = bad
    with np.errstate(all="ignore"):
        with pytest.raises(FloatingPointError):
            softmax(A, logits)
        logits[1, 1:] = 0.0  # now the largest is finite, but not the loss of class 0
        with pytest.raises(FloatingPointError):
            loss_of(A, logits, np.array([0, 0, 9]))
