"""Classes found in float32 are those of exact arithmetic, on whichever machine."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlp.classification import classify, logit_error
from mlp.network import Network, init_network, logits
from tests.networks import digits

networks = st.builds(
    lambda seed, hidden, activation, std, scaling: init_network(
        [784, *hidden, 10], activation, std, *scaling, "exact", np.random.PCG64(seed)
    ),
    seed=st.integers(0, 2**32),
    hidden=st.lists(st.sampled_from([1, 7, 50]), max_size=3),
    activation=st.sampled_from(["sigmoid", "tanh", "relu"]),
    std=st.sampled_from([1e-30, 3e-24, 1e-23, 3e-16, 1e-15, 1e-4, 0.01, 0.1, 1.0, 30.0]),
    scaling=st.sampled_from([(0.0, 1.0), (0.0, 1 / 255), (33.3125, 1 / 78.5)]),
)


def in_float32(network: Network) -> Network:
    weights, biases = ([array.astype(np.float32) for array in arrays] for arrays in (network.weights, network.biases))
    return replace(network, weights=weights, biases=biases, arithmetic="float32")


@given(networks)
def test_the_class_is_that_of_the_largest_exact_logit(network):
    images = digits("test").images
    np.testing.assert_array_equal(classify(network, images), logits(network, images).argmax(axis=1))


@given(networks)
def test_float32_is_off_by_no_more_than_the_bound_says(network):
    images = digits("test").images[:50]
    off = np.abs(logits(network, images) - logits(in_float32(network), images)).max()
    assert off <= 2 * logit_error(network)


def test_the_bound_is_small_enough_to_be_of_use():
    network = init_network([784, 50, 10], "sigmoid", 0.1, 0.0, 1 / 255, "exact", np.random.PCG64(0))
    assert 4 * logit_error(network) < 0.1


@pytest.mark.parametrize("difference", [0.0, 1e-12, -1e-12])
def test_what_float32_cannot_tell_apart_is_computed_exactly(difference):
    # Classes 3 and 7 differ by less than float32 can hold; without a difference, the first of two equals wins.
    network = init_network([784, 10], "sigmoid", 0.01, 0.0, 1 / 255, "exact", np.random.PCG64(0))
    network.weights[0][:, 7] = network.weights[0][:, 3]
    network.biases[0][[3, 7]] = 100.0
    network.biases[0][7] += difference
    assert set(classify(network, digits("test").images)) == {7 if difference > 0 else 3}


def test_an_image_has_the_same_logits_alone_as_among_others():
    images = digits("test").images
    for activation in ("sigmoid", "tanh", "relu"):
        network = init_network([784, 20, 10], activation, 0.1, 0.0, 1 / 255, "exact", np.random.PCG64(1))
        alone = np.concatenate([logits(network, image[np.newaxis]) for image in images])
        np.testing.assert_array_equal(alone, logits(network, images))


@pytest.mark.parametrize("std", [1e33, 1e34, 1e35, 1e36, 1e60])
@pytest.mark.parametrize("hidden", [[], [5], [20]])
def test_numbers_beyond_float32_are_computed_exactly(std, hidden):
    images = digits("test").images
    for seed in range(5):
        network = init_network([784, *hidden, 10], "relu", std, 0.0, 1.0, "exact", np.random.PCG64(seed))
        np.testing.assert_array_equal(classify(network, images), logits(network, images).argmax(axis=1))


@pytest.mark.parametrize(("std", "hidden"), [(1e-23, [200]), (3e-16, [7, 7]), (3e-24, [1])])
def test_numbers_below_float32_are_computed_exactly(std, hidden):
    images = digits("test").images
    for seed in range(5):
        network = init_network([784, *hidden, 10], "relu", std, 0.0, 1 / 255, "exact", np.random.PCG64(seed))
        np.testing.assert_array_equal(classify(network, images), logits(network, images).argmax(axis=1))
        off = np.abs(logits(network, images) - logits(in_float32(network), images)).max()
        assert off <= 2 * logit_error(network)
