"""textbook_exact.py trains to the bits of mlp, and to those of the committed results."""

import re

import numpy as np
import pytest

import textbook
import textbook_exact
from mlp.random import ORDER, WEIGHTS, permutation, stream
from mlp.training import new_state, train
from pipeline.store.artifacts import load_model
from tests.support.networks import method, new_network, some_digits
from tests.support.project import ROOT


def test_states_are_those_of_mlp():
    """Seven mini-batches of 70 images, and a rest of 33 that is left out."""
    images, labels = digits = some_digits(0, 523)
    state = new_state(new_network(seed=3), how := method(21, 70, 0.5, seed=3))
    weights, biases = textbook_exact.initial_parameters([784, 50, 10], 0.01, stream(3, WEIGHTS))
    for epoch, _ in enumerate(train(state, digits, how)):
        order = permutation(stream(3, ORDER, epoch), 523)
        textbook_exact.train_epoch(weights, biases, images, labels, 0.5, 70, order)
        assert textbook_exact.state(7 * (epoch + 1), weights + biases) == state.fingerprint()


def test_gradients_of_the_textbook_are_the_slopes_of_its_loss():
    X, t = np.random.default_rng(0).random((6, 5)), np.eye(3)[[0, 1, 2, 2, 1, 0]]
    weights, biases = textbook.initial_parameters([5, 4, 3], 1, np.random.default_rng(1))

    def loss() -> float:
        return textbook.cross_entropy(textbook.forward(weights, biases, X)[1], t)

    dWs, dbs = textbook.gradients(weights, biases, X, t)
    for parameter, gradient in zip(weights + biases, dWs + dbs, strict=True):
        slopes = textbook.numerical_gradient(loss, parameter)
        np.testing.assert_allclose(gradient, slopes, atol=1e-9)


@pytest.mark.committed
@pytest.mark.parametrize("epochs", [1, pytest.param(91, marks=pytest.mark.slow)])
def test_default_training_makes_the_committed_states(epochs, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    textbook_exact.main(epochs=epochs)
    history = [row.split(",") for row in (ROOT / "metrics" / "history.csv").read_text().split()]
    place = history[0].index("state")
    states = [row[place] for row in history[1:]]
    assert re.findall(r": (\w{16}),", capsys.readouterr().out) == states[:epochs]
    network = load_model(ROOT / "models" / "mlp.npz")
    assert textbook_exact.state(50000, network.weights + network.biases) == states[-1]
