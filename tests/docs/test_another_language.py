"""The states in docs/another-language.md are those of the specification."""

import pytest

import textbook_exact
from mlp.random import ORDER, WEIGHTS, permutation, stream
from tests.support.project import ROOT
from tests.support.tables import cells


@pytest.mark.committed
def test_states_are_those_of_the_specification():
    page = (ROOT / "docs" / "another-language.md").read_text(encoding="utf-8")
    steps, _, states = cells(page[page.index("| steps ") :].split("\n\n")[0])
    X, t = textbook_exact.load(ROOT / "data" / "prepared" / "train.npz")
    weights, biases = textbook_exact.initial_parameters([784, 50, 10], 0.01, stream(0, WEIGHTS))
    order, before = permutation(stream(0, ORDER, 0), len(X)), 0
    for number, state in zip(map(int, steps[1:]), states[1:], strict=True):
        rows = order[100 * before : 100 * number]
        textbook_exact.train_epoch(weights, biases, X, t, 0.1, 100, rows)
        assert textbook_exact.state(number, weights + biases) == state
        before = number
