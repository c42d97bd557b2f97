"""Training: against a textbook's step, the loop, every feature, divergence, the same bits."""

import itertools
import math
import os
import platform
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import textbook
from mlp.arithmetic import ARITHMETICS
from mlp.distortions import Distortion, Strength
from mlp.optimizers import SGD, Adam, Optimizer, RMSprop, Schedule
from mlp.prediction import logits, predict
from mlp.protocol import Split
from mlp.random import ORDER, permutation, stream
from mlp.regularization import Dropout
from mlp.training import DivergedError, new_state, train, trained_network
from tests.support.networks import (
    MINMAX,
    ZSCORE,
    bits,
    copy_of,
    method,
    new_network,
    run,
    some_digits,
    take_step,
    train_by,
)
from tests.support.project import ROOT

both = pytest.mark.parametrize("arithmetic", list(ARITHMETICS))
WATCHED = [some_digits(500, 600)]
SPLITS = [some_digits(0, 100), *WATCHED]
PROCESSES = [0, 1, 2, 3, 4, 8] if sys.platform == "linux" else [0, 1]
DISTORTION = Distortion((28, 28), Strength(15.0, 10.0, 15.0, 1.0, 1.0, 5.0))


@both
@pytest.mark.parametrize("hidden", [(), (30, 20)], ids=str)
def test_training_agrees_with_the_textbook_step_by_step(arithmetic, hidden):
    images, labels = some_digits(0, 500)
    network = new_network(arithmetic, hidden, "sigmoid", 0.05, ZSCORE)
    weights = [W.astype(np.float64) for W in network.weights]
    biases = [b.astype(np.float64) for b in network.biases]
    for start in range(0, 500, 25):
        X, t = images[start : start + 25], labels[start : start + 25]
        found = take_step(network, X, t, 0.1)
        X = (X - ZSCORE.shift) * ZSCORE.scale
        expected = textbook.cross_entropy(textbook.forward(weights, biases, X)[1], t)
        textbook.train_epoch(weights, biases, X, t, 0.1, 25, np.arange(25))
        assert math.isclose(found, expected, rel_tol=1e-4)
        for ours, theirs in zip(network.weights + network.biases, weights + biases, strict=True):
            assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()


# The loop


@both
@pytest.mark.parametrize("preparation", [MINMAX, ZSCORE], ids=["minmax", "zscore"])
@pytest.mark.parametrize("distortion", [None, DISTORTION], ids=["", "distorted"])
def test_epochs_are_what_steps_over_a_new_order_each_give(arithmetic, preparation, distortion):
    # 23 images in batches of 5: four batches an epoch, three images left over
    training = some_digits(0, 23)
    splits = [training, *WATCHED]
    network = new_network(arithmetic, preparation=preparation)
    by_hand = copy_of(network)
    epochs = run(network, 10, 5, 0.1, 7, training, watched=splits, distortion=distortion)
    for epoch, batches, record in zip([0, 1, 2], [4, 4, 2], epochs, strict=True):
        order = permutation(stream(7, ORDER, epoch), 23)
        X, t = training.images[order], training.labels[order]
        X = distortion.distort(X, 7, epoch, 0) if distortion else X
        rows = [slice(i, i + 5) for i in range(0, 5 * batches, 5)]
        losses = [take_step(by_hand, X[batch], t[batch], 0.1) for batch in rows]
        assert (record.epoch, record.iteration) == (epoch + 1, [4, 8, 10][epoch])
        assert math.isclose(record.loss, math.fsum(losses) / batches, rel_tol=1e-6)
        for split, found in zip(splits, record.scores, strict=True):
            right = logits(by_hand, split.images).argmax(axis=1) == split.labels.argmax(axis=1)
            assert found.accuracy == right.mean()
            log_y = predict(by_hand, split.images)[1][split.labels == 1]  # of the true classes
            assert math.isclose(found.loss, -log_y.mean(dtype=np.float64), rel_tol=1e-6)
    if arithmetic == "exact":
        assert bits(network) == bits(by_hand)


def test_pixels_that_are_always_black_keep_their_weights_unless_these_decay_or_are_bounded():
    training = some_digits(0, 23)
    black = ~training.images.any(axis=0)
    start = new_network(std=0.1)
    plain, decayed, limited = copy_of(start), copy_of(start), copy_of(start)
    run(plain, 8, 5, training=training)
    np.testing.assert_array_equal((plain.weights[0] != start.weights[0]).any(axis=1), ~black)
    run(decayed, 4, 5, training=training, optimizer=Optimizer(Schedule(0.5), weight_decay=0.1))
    expected = start.weights[0][black] * 0.95**4
    np.testing.assert_allclose(decayed.weights[0][black], expected, rtol=1e-12)
    run(limited, 4, 5, training=training, optimizer=Optimizer(Schedule(1e-9), max_norm=1.0))
    np.testing.assert_allclose(np.linalg.norm(limited.weights[0], axis=0), 1.0, rtol=1e-6)


def test_images_and_labels_that_a_network_cannot_learn_are_refused():
    images, labels = some_digits(0, 20)
    few, two, none, many = labels[1:], labels.copy(), labels.copy(), labels.copy()
    two[3, :2], none[3], many[3] = 1, 0, 2 * labels[3]
    wrong = [(other, labels) for other in (images.astype(float), images[:, 1:], images[0])]
    wrong_labels = (labels[:, 1:], few, two, none, many, labels.astype(int))
    wrong += [(images, other) for other in wrong_labels]
    for split in wrong:
        for training, watched in ((Split(*split), []), (some_digits(0, 20), [Split(*split)])):
            with pytest.raises(ValueError, match=r"images|labels"):
                run(new_network(), 1, 10, training=training, watched=watched)
    with pytest.raises(ValueError, match="21 images, and there are 20"):
        run(new_network(), 1, 21, training=some_digits(0, 20))


# Every feature

EVERYTHING = {"dropout": Dropout(0.2, 0.5), "distortion": DISTORTION}
EVERYTHING |= {"keep_best": True, "patience": 100, "label_smoothing": 0.1}
COSINE, LINEAR = Schedule(0.05, "cosine", 3, 30), Schedule(0.002, "linear", 0, 30)
NESTEROV = EVERYTHING | {"optimizer": Optimizer(COSINE, SGD(0.9, nesterov=True), 0.01, 1.5)}
ADAM = EVERYTHING | {"optimizer": Optimizer(LINEAR, Adam(0.9), 0.1, 1.5)}
RMSPROP = EVERYTHING | {"optimizer": Optimizer(LINEAR, RMSprop(0.5), 0.1, 1.5)}
# Four batches of 99 an epoch: one of the stops is within an epoch, and one at its end
CASES = {
    "plain": (MINMAX, {}, 1, 99, [1, 4, 6]),
    "Nesterov": (MINMAX, NESTEROV, 1, 99, [1, 4, 6]),
    "Adam": (ZSCORE, ADAM, 1, 99, [1, 4, 6]),
    "RMSprop": (ZSCORE, RMSPROP, 1, 99, [1, 4, 6]),
    "batches of more images than are distorted at once": (MINMAX, NESTEROV, 3, 1050, [1, 2]),
}


def train_to(ends, preparation, features, copies, batch_size, processes):
    """Train to each of the ends in turn; return all that is left, and the epochs."""
    images, labels = (np.tile(array, (copies, 1)) for array in some_digits(0, 400))
    network = new_network("exact", (30, 20), "relu", 0.1, preparation)
    state = new_state(network, method(30, batch_size, **features))
    epochs = []
    for end in ends:
        how = method(end, batch_size, **features)
        epochs += train_by(processes, state, Split(images, labels), how, WATCHED)
    arrays = [*state.best.parameters, *(array for arrays in state.opt_state for array in arrays)]
    left = [bits(state.network), state.iteration, state.best[:2]]
    return left + [array.tobytes() for array in arrays], epochs


@pytest.mark.parametrize("name", CASES)
def test_stops_and_processes_change_nothing(name, monkeypatch):
    *case, ends = CASES[name]
    undisturbed, epochs = train_to(ends[-1:], *case, processes=0)
    for processes in PROCESSES:
        stopped, parts = train_to(ends, *case, processes)
        assert stopped == undisturbed
        assert parts[-1][3:] == epochs[-1][3:]  # scores, and fingerprint
    # Another number in every step: what one process has made, another may need next
    turns = itertools.cycle([1, 4, 2, 3, 4, 1, 3])
    monkeypatch.setattr("mlp.divided.pace.Pace.next", lambda pace: (next(turns), 0.0))
    assert train_to(ends[-1:], *case, processes=4) == (undisturbed, epochs)


def test_fingerprint_is_that_of_every_number_in_exact_arithmetic():
    """Parameters, optimizer's state and iteration decide all that follows."""
    how = method(30, 100, **ADAM)
    start = new_state(new_network("exact", (30, 20)), how)
    found = [start.fingerprint()]
    arrays = [array for arrays in start.opt_state for array in arrays]
    for array in start.network.weights + start.network.biases + arrays:
        array.flat[-1] += 2.0**-40
        found.append(start.fingerprint())
    start.iteration += 1
    found.append(start.fingerprint())
    assert len(set(found)) == len(found) == 2 + 3 * 6
    assert all(len(text) == 16 for text in found)
    assert found[0] == new_state(new_network("exact", (30, 20)), how).fingerprint()
    assert new_state(new_network("float32", (30, 20)), how).fingerprint() == ""


def scores(epochs):
    return [(epoch.scores[-1].accuracy, -epoch.scores[-1].loss) for epoch in epochs]


@pytest.fixture(scope="module")
def whole():
    """The scores of a training of 30 epochs without patience. The last watched split decides."""
    return scores(run(new_network("exact", (30,), "relu", 0.1), 150, 100, 0.5, watched=SPLITS))


@pytest.mark.parametrize("patience", [1, 3])
def test_training_stops_after_so_many_epochs_without_a_better_one(whole, patience):
    how = method(150, 100, 0.5, patience=patience)
    state = new_state(new_network("exact", (30,), "relu", 0.1), how)
    stopped = scores(train(state, some_digits(0, 500), how, SPLITS))
    waited = [epoch - max(range(epoch + 1), key=whole.__getitem__) for epoch in range(30)]
    assert stopped == whole[: waited.index(patience) + 1]
    assert list(train(state, some_digits(0, 500), how, SPLITS)) == []  # it stays stopped
    assert len(run(new_network(), 40, 100, 0.5, patience=1)) == 8  # nothing is watched


def test_best_network_is_that_of_a_training_which_ends_there(whole):
    how = method(150, 100, 0.5, keep_best=True)
    network = new_network("exact", (30,), "relu", 0.1)
    state = new_state(copy_of(network), how)
    list(train(state, some_digits(0, 500), how, SPLITS))
    best = max(range(30), key=whole.__getitem__)
    assert best < 29
    assert state.best.epoch == best + 1
    assert (state.best.score.accuracy, -state.best.score.loss) == whole[best]
    run(network, 5 * (best + 1), 100, 0.5)
    assert bits(trained_network(state, how)) == bits(network)
    last = trained_network(state, replace(how, keep_best=False))
    assert bits(last) == bits(state.network) != bits(network)


# Divergence


PLACES = {
    "leader's pixel": (1, (100, 0), math.nan),
    "worker's pixel": (1, (701, 0), math.nan),
    "2": (2, (3, 19), math.inf),
    "3": (3, (0, 9), -math.inf),
}


@pytest.mark.filterwarnings("error")
@both
@pytest.mark.parametrize("case", PLACES)
@pytest.mark.parametrize("processes", PROCESSES)
def test_divergence_names_the_step_and_the_layer(arithmetic, case, processes):
    layer, place, bad = PLACES[case]
    network = new_network(arithmetic, (20, 20), "relu", preparation=ZSCORE)
    network.weights[layer - 1][place] = bad
    how = method(100, 50, 0.1)
    state = new_state(network, how)
    state.iteration = 10
    with pytest.raises(DivergedError) as caught:
        list(train_by(processes, state, some_digits(0, 500), how, WATCHED))
    assert (caught.value.iteration, caught.value.layer) == (11, layer)


# The same bits


def result() -> str:
    """Return the bits of a short training."""
    network = new_network("exact", (300, 30), "tanh", 0.05, ZSCORE)
    return f"{run(network, 10, batch_size=100, learning_rate=0.1, watched=WATCHED)} {bits(network)}"


VECTORS = {"OPENBLAS_NUM_THREADS": "2", "NPY_DISABLE_CPU_FEATURES": "X86_V4 X86_V3"}
KERNEL = {"OPENBLAS_NUM_THREADS": "1", "OPENBLAS_CORETYPE": "Prescott"}


@pytest.mark.parametrize("variables", [VECTORS, KERNEL], ids=["vectors", "kernel"])
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names of x86-64")
def test_same_bits_whatever_threads_kernels_and_vector_instructions(variables):
    """Many more: python -m tools.portable."""
    code = f"import runpy; print(runpy.run_path({__file__!r})['result']())"
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    command = [sys.executable, "-c", code]
    elsewhere = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert elsewhere.stdout.strip() == result()


def test_same_bits_as_on_the_machine_this_was_written_on():
    # Another arithmetic changes the bits on purpose, and dvc.lock with them; no machine may
    network = new_network()
    epochs = run(network, 40)
    assert bits(network) == "008d886b91c244146658c0028323d92a95131a37360308ad009d0dc77ee81eae"
    assert epochs[-1].loss.hex() == "0x1.b28ed6f2ac0f6p+0"
