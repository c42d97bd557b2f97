"""Dropout and the bound on norms: against plain NumPy, by central differences, and by their statistics."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlp.arithmetic import ARITHMETICS, Exact
from mlp.layers import cross_entropy, loss_terms, softmax
from mlp.network import forward, gradients
from mlp.random import DROPOUT, stream
from mlp.regularization import KEEP_ALL, Dropout, Mask, limit_norms
from tests.support import reference
from tests.support.networks import MINMAX, ZSCORE, Float64, descent, new_network, run, some_digits

A = Exact()
SIZES = [784, 50, 20]
both = pytest.mark.parametrize("arithmetic", list(ARITHMETICS))


def kept(masks):
    return [None if mask.kept is None else mask.kept.tolist() for mask in masks]


# The masks


@pytest.mark.parametrize("probability", [0.01, 0.2, 0.5, 0.9])
def test_share_that_is_left_out_is_the_probability(probability):
    first, second, third = Dropout(probability, 0.5).masks(SIZES, 200, 0, 7)
    n = first.kept.size
    deviation = math.sqrt(probability * (1 - probability) / n)
    assert abs((1 - first.kept.mean()) - probability) < 4 * deviation
    assert abs(second.kept.mean() - 0.5) < 4 * math.sqrt(0.25 / second.kept.size)
    assert abs(third.kept.mean() - 0.5) < 4 * math.sqrt(0.25 / third.kept.size)
    # Neither an image nor a neuron is left out more often than another, more than by chance
    for axis in (0, 1):
        deviations = (first.kept.mean(axis) - (1 - probability)) / math.sqrt(
            probability * (1 - probability) / first.kept.shape[axis]
        )
        assert abs(deviations.std() - 1) < 0.15
        assert abs(deviations).max() < 5


@pytest.mark.parametrize(
    ("probability", "share"),
    [(0.5, 0.5), (0.2, 13107 / 65536), (1e-5, 1 / 65536), (1e-6, None), (0.9999999, 65535 / 65536)],
)
def test_probability_is_rounded_to_16_bits_and_the_gain_is_that_of_the_rounded_one(probability, share):
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
    assert kept(masks)[0] == [[i >= round(0.3 * 65536) for i in integers[5 * n : 5 * n + 5]] for n in range(2)]
    assert kept(masks)[1] == [[i >= round(0.6 * 65536) for i in integers[12 + 3 * n : 15 + 3 * n]] for n in range(2)]


def test_masks_depend_on_the_step_and_the_seed_alone():
    masks = Dropout(0.5, 0.5).masks(SIZES, 10, 3, 9)
    assert kept(masks) == kept(Dropout(0.5, 0.5).masks(SIZES, 10, 3, 9))
    for other in (Dropout(0.5, 0.5).masks(SIZES, 10, 3, 10), Dropout(0.5, 0.5).masks(SIZES, 10, 4, 9)):
        assert all(one != another for one, another in zip(kept(masks), kept(other), strict=True))


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_dropout_of_one_kind_does_not_move_that_of_the_other(batch_size):
    sizes = [785, 51, 20]
    whole = kept(Dropout(0.2, 0.5).masks(sizes, batch_size, 0, 0))
    assert kept(Dropout(0.0, 0.5).masks(sizes, batch_size, 0, 0)) == [None, *whole[1:]]
    assert kept(Dropout(0.2, 0.0).masks(sizes, batch_size, 0, 0)) == [whole[0], None, None]
    assert Dropout().masks(sizes, batch_size, 0, 0) == [KEEP_ALL] * 3


# Forward and backward


def reference_loss(network, X, t, masks):
    """Return the mean loss by plain NumPy: each input of a layer is multiplied by 0 or by the gain."""
    a = None
    for W, b, mask in zip(network.weights, network.biases, masks, strict=True):
        if a is None:
            h = (X - network.preparation.shift) * network.preparation.scale
        else:
            h = reference.ACTIVATIONS[network.activation.name][0](a)
        if mask.kept is not None:
            h = h * mask.kept * mask.gain
        a = h @ W + b
    shifted = a - a.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - shifted[t.astype(bool)]))


def loss(network, X, t, masks):
    _, shifted, total = softmax(network.arithmetic, forward(network, X, masks)[0])
    return cross_entropy(network.arithmetic, loss_terms(shifted, total, t))


dropouts = pytest.mark.parametrize("dropout", [Dropout(0.2, 0.5), Dropout(0.5, 0.0), Dropout(0.0, 0.3)], ids=str)
activations = pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])


@dropouts
@activations
@pytest.mark.parametrize("hidden", [(), (30,), (30, 20)], ids=str)
@pytest.mark.parametrize("arithmetic", ["exact", "float32", "float64"])
def test_forward_is_plain_numpy(arithmetic, activation, hidden, dropout):
    X, t = some_digits(0, 40)
    network = new_network(Float64() if arithmetic == "float64" else arithmetic, hidden, activation, 0.1, ZSCORE)
    masks = dropout.masks([len(W) for W in network.weights], 40, 0, 0)
    tolerance = {"exact": 1e-5, "float32": 1e-5, "float64": 1e-13}[arithmetic]
    assert math.isclose(loss(network, X, t, masks), reference_loss(network, X, t, masks), rel_tol=tolerance)
    assert loss(network, X, t, masks) != loss(network, X, t, [KEEP_ALL] * len(masks)) or (
        not hidden and dropout.inputs == 0
    )


@dropouts
@activations
@pytest.mark.parametrize("hidden", [(), (12,), (12, 9)], ids=str)
def test_gradients_through_dropout_by_central_differences(activation, hidden, dropout):
    X, t = some_digits(0, 8)
    network = new_network(Float64(), hidden, activation, 0.1)
    masks = dropout.masks([len(W) for W in network.weights], 8, 0, 0)
    dWs, dbs, _ = gradients(network, X, t, masks)
    rng = np.random.default_rng(0)
    for parameter, gradient in zip(network.weights + network.biases, dWs + dbs, strict=True):
        # Along a random direction, so that all elements take part
        direction = rng.normal(size=parameter.shape)
        before, step = parameter.copy(), 1e-6
        parameter[...] = before + step * direction
        above = loss(network, X, t, masks)
        parameter[...] = before - step * direction
        below = loss(network, X, t, masks)
        parameter[...] = before
        expected = float((gradient * direction).sum())
        assert math.isclose((above - below) / (2 * step), expected, rel_tol=1e-4, abs_tol=1e-7)


def test_gradient_of_a_weight_whose_input_is_left_out_is_zero():
    X, t = some_digits(0, 8)
    for activation in ("sigmoid", "tanh", "relu"):
        network = new_network("exact", (12,), activation, 0.1, ZSCORE)
        masks = [Mask(np.ones((8, 784), bool), 1.0), Mask(np.ones((8, 12), bool), 2.0)]
        masks[0].kept[:, 5] = False
        masks[1].kept[:, 7] = False
        (dW1, dW2), (db1, _), _ = gradients(network, X, t, masks)
        assert not dW1[5].any()
        assert dW1[6].any()
        assert not dW2[7].any()
        assert not dW1[:, 7].any()
        assert db1[7] == 0.0
        assert dW2[6].any()


def test_mean_over_many_masks_is_the_sum_without_dropout():
    X, _ = some_digits(0, 1)
    network = new_network(Float64(), (), std=0.1)
    whole, _ = forward(network, X)
    many = [forward(network, X, Dropout(0.3, 0.0).masks([784], 1, 0, step))[0] for step in range(2000)]
    deviation = np.std(many, axis=0) / math.sqrt(len(many))
    assert (np.abs(np.mean(many, axis=0) - whole) < 4 * deviation).all()
    assert (np.std(many, axis=0) > 0.1).all()


# The bound on norms


@both
def test_columns_above_the_bound_get_it_as_their_norm_and_the_others_keep_their_bits(arithmetic):
    A = ARITHMETICS[arithmetic]
    W = (np.random.default_rng(0).normal(size=(50, 6)) * [0.01, 0.1, 0.2, 0.5, 1.0, 0.0]).astype(A.dtype)
    before = W.copy()
    limit_norms(A, W, 1.0)
    for now, then in zip(W.T, before.T, strict=True):
        norm = float(np.linalg.norm(then.astype(float)))
        if norm > 1.0:
            assert math.isclose(np.linalg.norm(now.astype(float)), 1.0, rel_tol=1e-6)
            np.testing.assert_allclose(now, then / norm, rtol=1e-6)
        else:
            assert now.tobytes() == then.tobytes()
    assert (before != W).any()


@both
def test_no_bound_changes_nothing(arithmetic):
    W = np.full((3, 2), 1e5, ARITHMETICS[arithmetic].dtype)
    limit_norms(ARITHMETICS[arithmetic], W, 0.0)
    assert (W == 1e5).all()


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 40), st.integers(2, 8), st.data())
def test_columns_may_be_limited_in_parts(seed, m, n, data):
    W = np.random.default_rng(seed).normal(size=(m, n))
    divided = W.copy()
    place = data.draw(st.integers(0, n))
    limit_norms(A, W, 1.0)
    limit_norms(A, divided[:, place:], 1.0)
    limit_norms(A, divided[:, :place], 1.0)
    assert divided.tobytes() == W.tobytes()
    assert not np.signbit(W[W == 0.0]).any()


@both
@pytest.mark.parametrize("processes", [1, 2])
def test_no_neuron_has_a_larger_norm_in_training(arithmetic, processes):
    def largest(bound):
        network = new_network(arithmetic, (30,), "relu", 0.1, MINMAX)
        run(network, 30, optimizer=descent(0.5, max_norm=bound), processes=processes)
        return max(np.linalg.norm(W.astype(float), axis=0).max() for W in network.weights)

    assert largest(0.5) <= 0.5 * (1 + 1e-6)
    assert largest(0.0) > 1.0
