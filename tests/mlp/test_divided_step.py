"""A divided step has the bits of the undivided one, however it is divided."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlp.divided.batches import ends
from mlp.divided.step import DividedStep
from mlp.divided.team import Team
from mlp.network import step
from mlp.optimizers import SGD, Adam, Optimizer, Schedule
from mlp.protocol import Preparation
from mlp.regularization import Dropout
from tests.support.networks import MINMAX, ZSCORE, bits, copy_of, descent, new_network, some_digits

PLAIN, NO_DROPOUT = descent(0.5), Dropout()


def check_division(network, X, t, cut, parts, steps=3, optimizer=PLAIN, dropout=NO_DROPOUT):
    """Take steps undivided and divided; compare the bits of the loss, parameters and state."""
    plain, divided = network, copy_of(network)
    batch_size = len(X) // steps
    states = [optimizer.new_state(plain.arrays.values()) for _ in range(2)]
    pieces = [np.ascontiguousarray(X[:, pixels]) for pixels in cut(X.shape[1], parts)]
    needed = [np.full(len(X), piece.shape[1]) for piece in pieces]
    if plain.preparation.shift == 0.0:
        needed = [ends(piece) for piece in pieces]
    take = DividedStep(divided, pieces, needed, batch_size, optimizer, states[1], Team(parts), cut)
    for number in range(steps):
        rows = np.arange(number * batch_size, (number + 1) * batch_size)
        masks = dropout.masks([len(W) for W in plain.weights], batch_size, 5, number)
        expected = step(plain, X[rows], t[rows], optimizer, states[0], number, masks)
        found = np.zeros((2, batch_size))
        take(rows, t[rows], found, number, masks)
        assert found.tobytes() == expected.tobytes()
        assert bits(divided) == bits(plain)
        for ours, theirs in zip(*states, strict=True):
            for one, other in zip(ours, theirs, strict=True):
                assert (one == other).all()


def random_cut(seed):
    """Return a function that cuts n things into parts of any size, some of them empty."""

    def cut(n: int, parts: int) -> list[slice]:
        places = np.sort(np.random.default_rng([seed, n]).integers(0, n + 1, parts - 1)).tolist()
        return [slice(*pair) for pair in zip([0, *places], [*places, n], strict=True)]

    return cut


OPTIMIZERS = [
    PLAIN,
    Optimizer(Schedule(0.5, "linear", 2, 3), SGD(0.9, nesterov=True), 0.01, 0.1),
    Optimizer(Schedule(0.01, "cosine", 0, 3), SGD(0.5), 0.0, 2.0),
    Optimizer(Schedule(0.01), Adam(), 0.01, 0.0),
]


@settings(max_examples=30)
@given(st.data())
def test_any_division_gives_the_bits_of_the_undivided_step(data):
    hidden = data.draw(st.lists(st.integers(1, 40), max_size=3), label="hidden")
    activation = data.draw(st.sampled_from(["sigmoid", "tanh", "relu"]))
    preparation = data.draw(st.sampled_from([MINMAX, ZSCORE, replace(MINMAX, shift=1.0)]))
    batch_size = data.draw(st.integers(1, 100), label="batch size")
    std = data.draw(st.sampled_from([1e-200, 1e-5, 0.05, 0.5, 3.0]))
    optimizer = data.draw(st.sampled_from(OPTIMIZERS), label="optimizer")
    dropout = Dropout(*data.draw(st.sampled_from([(0.0, 0.0), (0.2, 0.5), (0.0, 0.5), (0.9, 0.0)])))
    seed, cut_seed = data.draw(st.integers(0, 9)), data.draw(st.integers(0, 2**32 - 1))
    network = new_network("exact", hidden, activation, std, preparation, seed)
    cut, parts = random_cut(cut_seed), data.draw(st.integers(1, 7), label="parts")
    check_division(network, *some_digits(0, 3 * batch_size), cut, parts, 3, optimizer, dropout)


@pytest.mark.parametrize("sizes", [(2500, [12, 2100], 20), (40, [12, 9], 2200)], ids=str)
def test_sums_of_more_than_2048_terms(sizes):
    # Their operands have one bit less than those of the sums over 12 neurons, or over the 3 classes
    (pixels, hidden, batch_size), rng = sizes, np.random.default_rng(0)
    X = rng.integers(0, 256, (batch_size, pixels), np.uint8)
    X *= rng.random(X.shape) < 0.2
    t = np.eye(3, dtype=np.uint8)[rng.integers(0, 3, batch_size)]
    preparation = Preparation(0.0, 1 / 255, (1, pixels), tuple("abc"))
    network = new_network("exact", hidden, "tanh", 0.05, preparation)
    check_division(network, X, t, lambda n, parts: [slice(0, n // 3), slice(n // 3, n)], 2, steps=1)
