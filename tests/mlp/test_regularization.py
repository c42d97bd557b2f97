"""Dropout against a network without it, the bound on norms, smoothed labels."""

from dataclasses import replace

import numpy as np
import pytest

from mlp.arithmetic import ARITHMETICS
from mlp.layers import cross_entropy, loss_terms, softmax
from mlp.prediction import measure
from mlp.random import DROPOUT, stream
from mlp.regularization import KEEP_ALL, Dropout, limit_norms, smooth
from tests.support.networks import ZSCORE, Float64, descent, new_network, run, some_digits

both = pytest.mark.parametrize("arithmetic", list(ARITHMETICS))


def kept(masks):
    return [None if mask.keep is None else mask.keep.tolist() for mask in masks]


# The masks


@pytest.mark.parametrize(
    ("probability", "share"),
    [(0.5, 0.5), (0.2, 13107 / 65536), (1e-5, 1 / 65536), (1e-6, None), (0.9999999, 65535 / 65536)],
)
def test_probability_is_rounded_to_16_bits_and_the_gain_belongs_to_that(probability, share):
    (mask,) = Dropout(probability, 0.0).masks([30], 20, 1, 0)
    if share is None:
        assert mask == KEEP_ALL
    else:
        assert mask.gain == 1 / (1 - share)


def test_integers_decide_image_by_image_and_layer_by_layer():
    masks = Dropout(0.3, 0.6).masks([5, 3], 2, 11, 4)
    words = stream(11, DROPOUT, 4).random_raw(5).tolist()
    integers = [word >> shift & 0xFFFF for word in words for shift in (0, 16, 32, 48)]
    # Ten for the inputs, in three words; six for the hidden neurons, in two words
    inputs, neurons = (np.reshape(part, (2, -1)) for part in (integers[:10], integers[12:18]))
    assert kept(masks)[0] == (inputs >= round(0.3 * 65536)).tolist()
    assert kept(masks)[1] == (neurons >= round(0.6 * 65536)).tolist()


def test_dropout_of_one_kind_does_not_move_that_of_the_other():
    sizes = [785, 51, 20]
    whole = kept(Dropout(0.2, 0.5).masks(sizes, 3, 0, 0))
    assert kept(Dropout(0.0, 0.5).masks(sizes, 3, 0, 0)) == [None, *whole[1:]]
    assert kept(Dropout(0.2, 0.0).masks(sizes, 3, 0, 0)) == [whole[0], None, None]
    assert Dropout().masks(sizes, 3, 0, 0) == [KEEP_ALL] * 3


@pytest.mark.parametrize("arithmetic", ["exact", "float32", Float64()])
def test_image_goes_forward_through_the_weights_of_what_is_kept_times_the_gain(arithmetic):
    X, _ = some_digits(0, 20)
    network = new_network(arithmetic, (30, 20), "tanh", 0.1, ZSCORE)
    masks = Dropout(0.2, 0.5).masks([784, 30, 20], 20, 0, 0)
    z, _ = network.forward(X, masks)
    tolerance = 1e-4 if isinstance(arithmetic, str) else 1e-12
    for image in range(20):
        factors = [(mask.gain * mask.keep[image])[:, np.newaxis] for mask in masks]
        pairs = zip(network.weights, factors, strict=True)
        weights = [(W * factor).astype(W.dtype) for W, factor in pairs]
        expected, _ = replace(network, weights=weights).forward(X[[image]])
        assert np.abs(z[[image]] - expected).max() <= tolerance * np.abs(expected).max()


# The bound on norms


@pytest.mark.parametrize("bound", [0.5, 2.0])
def test_no_norm_is_above_the_bound_after_a_step(bound):
    network = new_network("exact", (20,), "relu", 0.1, ZSCORE)
    run(network, 7, optimizer=descent(1.0, max_norm=bound))
    for W in network.weights:
        norms = np.linalg.norm(W, axis=0)
        assert norms.max() <= bound * (1 + 1e-12)
        assert norms.max() > 0.99 * bound


@both
def test_columns_above_the_bound_get_it_as_their_norm_and_the_others_keep_their_bits(arithmetic):
    A = ARITHMETICS[arithmetic]
    scales = [0.01, 0.1, 0.2, 0.5, 1.0, 0.0]
    W = (np.random.default_rng(0).normal(size=(50, 6)) * scales).astype(A.dtype)
    W[3, 4] = -np.finfo(A.dtype).smallest_subnormal
    before = W.copy()
    limit_norms(A, W, 0.0)  # no bound
    assert W.tobytes() == before.tobytes()
    limit_norms(A, W, 1.0)
    norms = np.linalg.norm(before.astype(float), axis=0)
    above = norms > 1.0
    assert above.tolist() == [False, False, True, True, True, False]
    expected = before[:, above] / norms[above]
    np.testing.assert_allclose(W[:, above], expected, rtol=1e-6, atol=1e-40)
    assert W[:, norms <= 1.0].tobytes() == before[:, norms <= 1.0].tobytes()
    assert W[3, 4].tobytes() == A.dtype(0.0).tobytes(), "not −0"


# Smoothed labels


@both
def test_smoothed_labels_cost_the_mean_of_their_class_and_of_all_classes(arithmetic):
    A, labels = ARITHMETICS[arithmetic], np.eye(4, dtype=np.uint8)[[2, 0, 3]]
    t = smooth(labels, 0.2, A.dtype)
    np.testing.assert_allclose(t[0], [0.05, 0.05, 0.85, 0.05], rtol=1e-6)
    assert t.dtype == A.dtype
    y, shifted, total = softmax(A, np.random.default_rng(0).normal(size=(3, 4)).astype(A.dtype))
    costs = -np.log(y.astype(float))
    expected = 0.8 * costs[labels == 1].mean() + 0.2 * costs.mean()
    assert np.isclose(cross_entropy(A, loss_terms(shifted, total, t)), expected, rtol=1e-6)


@both
def test_training_learns_smoothed_labels_and_is_measured_by_whole_ones(arithmetic):
    plain, smoothed = (new_network(arithmetic, std=1e-9) for _ in range(2))
    (one,) = run(plain, 1, 500, watched=[some_digits(0, 500)])
    (other,) = run(smoothed, 1, 500, label_smoothing=0.5, watched=[some_digits(0, 500)])
    # Before the step each class has a tenth
    mean = some_digits(0, 500).labels.mean(axis=0)
    np.testing.assert_allclose(plain.biases[-1], mean - 0.1, atol=1e-6)
    np.testing.assert_allclose(smoothed.biases[-1], 0.5 * (mean - 0.1), atol=1e-6)
    loss = other.scores[0].loss
    assert loss == measure(smoothed, some_digits(0, 500)).loss != one.scores[0].loss
