"""Training: a step by hand, agreement with a reference, the loop, divergence, and the same bits everywhere."""

import math
import os
import platform
import subprocess
import sys

import numpy as np
import pytest

from mlp.arithmetic import ARITHMETICS
from mlp.batches import pixels_by_use
from mlp.distortions import Distortion, Strength
from mlp.layers import ACTIVATIONS
from mlp.network import Network, Preparation, Split, logits
from mlp.optimizers import SGD, Adam, Optimizer, Schedule
from mlp.random import ORDER, permutation, stream
from mlp.regularization import Dropout
from mlp.training import DivergedError, Score, kept, measure, new_state, train
from tests.support import reference
from tests.support.networks import (
    MINMAX,
    ZSCORE,
    bits,
    copy_of,
    descent,
    loss,
    method,
    new_network,
    run,
    some_digits,
    take_step,
)
from tests.support.project import ROOT

both = pytest.mark.parametrize("arithmetic", list(ARITHMETICS))
WATCHED = [some_digits(500, 600)]


# One step


@both
@pytest.mark.parametrize("images", [1, 2])
def test_step_by_hand(arithmetic, images):
    # One neuron, whose input is 0: it puts out h = sigmoid(0) = ½, with the derivative h (1 − h) = ¼.
    # Logits: ½ · (2, −2) + (−1, 1) = (0, 0), so y = (½, ½), and the loss is −ln ½.
    dtype = ARITHMETICS[arithmetic].dtype
    network = Network(
        weights=[np.zeros((2, 1), dtype), np.array([[2, -2]], dtype)],
        biases=[np.zeros(1, dtype), np.array([-1, 1], dtype)],
        activation=ACTIVATIONS["sigmoid"],
        arithmetic=ARITHMETICS[arithmetic],
        preparation=Preparation(0.0, 0.5, (1, 2), ("a", "b")),
    )
    # The first image is (2, 6) · ½ = (1, 3), of class 0. Its gradients, from behind:
    #   logits: y − t = (−½, ½)                b2: the same             W2: h times it = (−¼, ¼)
    #   h: −½ · 2 + ½ · (−2) = −2              times ¼ = −½             b1: the same        W1: x times it = (−½, −1½)
    # The second is (0, 0), of class 1, and its gradients the opposite, but for W1, where it has none.
    pixels, labels = np.array([[2, 6], [0, 0]], np.uint8), np.array([[1, 0], [0, 1]], np.uint8)
    found = take_step(network, pixels[:images], labels[:images], 0.5)
    assert math.isclose(found, math.log(2), rel_tol=1e-7)
    W1, W2, b1, b2 = (array.tolist() for array in network.weights + network.biases)
    if images == 1:  # less half the gradients
        assert (W1, b1) == ([[0.25], [0.75]], [0.25])
        assert (W2, b2) == ([[2.125, -2.125]], [-0.75, 0.75])
    else:  # less half the mean of the two gradients: only W1's do not cancel
        assert (W1, b1) == ([[0.125], [0.375]], [0.0])
        assert (W2, b2) == ([[2.0, -2.0]], [-1.0, 1.0])


@both
def test_step_lowers_the_loss(arithmetic):
    X, t = some_digits(0, 100)
    network = new_network(arithmetic)
    before = take_step(network, X, t, 0.1)
    assert math.isclose(before, math.log(10), rel_tol=0.01)  # it knows nothing yet
    assert loss(network, X, t) < before


@both
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("hidden", [(), (50,), (30, 20)], ids=str)
def test_training_agrees_with_the_reference_step_by_step(arithmetic, activation, hidden):
    training = some_digits(0, 500)
    network = new_network(arithmetic, hidden, activation, 0.05, ZSCORE)
    weights, biases = ([array.astype(np.float64) for array in arrays] for arrays in (network.weights, network.biases))
    for rows in np.array_split(np.resize(permutation(np.random.PCG64(1), 500), 2500), 100):
        images, labels = training.images[rows], training.labels[rows]
        found = take_step(network, images, labels, 0.1)
        X = (images - ZSCORE.shift) * ZSCORE.scale
        weights, biases, expected = reference.step(weights, biases, activation, X, labels, 0.1)
        assert math.isclose(found, expected, rel_tol=1e-4)
        for ours, theirs in zip(network.weights + network.biases, weights + biases, strict=True):
            assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()


# The loop


@both
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("hidden", [(), (50,), (50, 30)], ids=str)
def test_network_learns_real_digits(arithmetic, activation, hidden):
    if activation == "sigmoid" and len(hidden) > 1:
        pytest.skip("two layers of sigmoids take longer than a test may to leave their start")
    network = new_network(arithmetic, hidden, activation, 0.05)
    epochs = run(network, 300, learning_rate=0.5, watched=[some_digits(0, 500), *WATCHED])
    assert epochs[-1].loss < 0.5 * epochs[0].loss
    seen, unseen = epochs[-1].scores
    assert seen.accuracy > 0.9
    assert unseen.accuracy > 0.75  # chance is 0.1
    assert unseen.loss < 1.0


@both
@pytest.mark.parametrize(
    "preparation", [MINMAX, ZSCORE, MINMAX._replace(shift=1.0)], ids=["minmax", "zscore", "shift 1"]
)
def test_epochs_are_what_steps_over_a_new_order_each_give(arithmetic, preparation):
    # 23 images in batches of 5: four batches an epoch, three images left over; ten steps are two epochs and a half
    training = some_digits(0, 23)
    network = new_network(arithmetic, preparation=preparation)
    by_hand = copy_of(network)
    epochs = run(network, 10, 5, 0.1, seed=7, training=training, watched=[training, *WATCHED])
    for epoch, batches, record in zip([0, 1, 2], [4, 4, 2], epochs, strict=True):
        order = permutation(stream(7, ORDER, epoch), 23)
        losses = []
        for batch in range(batches):
            rows = order[5 * batch : 5 * batch + 5]
            losses.append(take_step(by_hand, training.images[rows], training.labels[rows], 0.1))
        assert record.epoch == epoch + 1
        assert record.iteration == [4, 8, 10][epoch]
        assert math.isclose(record.loss, math.fsum(losses) / batches, rel_tol=1e-6)
        for split, found in zip([training, *WATCHED], record.scores, strict=True):
            right = logits(by_hand, split.images).argmax(axis=1) == split.labels.argmax(axis=1)
            assert found.accuracy == right.mean()
            assert math.isclose(found.loss, loss(by_hand, *split), rel_tol=1e-6)
    if arithmetic == "exact":
        assert bits(network) == bits(by_hand)


def test_pixels_that_are_black_in_all_images_keep_their_weights():
    training = some_digits(0, 23)
    black = ~training.images.any(axis=0)
    assert 300 < black.sum() < 784
    lit = pixels_by_use(training.images)
    np.testing.assert_array_equal(np.sort(lit), np.flatnonzero(~black))
    often = np.count_nonzero(training.images[:, lit], axis=0)
    assert (often[1:] <= often[:-1]).all()
    network, start = new_network(), new_network()
    run(network, 8, 5, training=training)
    changed = (network.weights[0] != start.weights[0]).any(axis=1)
    np.testing.assert_array_equal(changed, ~black)


@both
@pytest.mark.parametrize("iterations", [1, 4, 5, 8, 9])
def test_stopped_training_goes_on_as_if_nothing_had_happened(arithmetic, iterations):
    training = some_digits(0, 23)  # four batches an epoch
    state = new_state(new_network(arithmetic), method(10, 5, 0.5, 3))
    parts = [list(train(state, training, method(end, 5, 0.5, 3), WATCHED)) for end in (iterations, 10)]
    undisturbed = new_network(arithmetic)
    epochs = run(undisturbed, 10, 5, 0.5, seed=3, training=training, watched=WATCHED)
    assert state.iteration == 10
    assert bits(state.network) == bits(undisturbed)
    assert parts[1][-1].scores == epochs[-1].scores
    ends = [epoch.iteration for part in parts for epoch in part]
    assert ends == sorted({*(epoch.iteration for epoch in epochs), iterations})


def test_evaluation_can_be_left_out_and_changes_nothing():
    watched, alone = new_network(), new_network()
    with_scores = run(watched, 30, watched=WATCHED)
    without = run(alone, 30)
    assert bits(watched) == bits(alone)
    assert [epoch.loss for epoch in with_scores] == [epoch.loss for epoch in without]
    assert [epoch.scores for epoch in without] == [(), (), ()]


@pytest.mark.parametrize(
    ("iterations", "batch_size", "ends"),
    [(1, 50, [1]), (10, 50, [10]), (11, 50, [10, 11]), (20, 50, [10, 20]), (3, 500, [1, 2, 3]), (2, 300, [1, 2])],
)
def test_every_iteration_is_done(iterations, batch_size, ends):
    assert [epoch.iteration for epoch in run(new_network(), iterations, batch_size)] == ends


def test_batch_of_all_images_is_plain_gradient_descent():
    network, other = new_network(), new_network()
    run(network, 3, batch_size=500, seed=1)
    run(other, 3, batch_size=500, seed=2)
    assert bits(network) == bits(other)  # another order of the images, but exact sums


def test_images_do_not_change():
    training = some_digits(0, 500)
    before = Split(*(array.copy() for array in training))
    run(new_network(), 20, training=training)
    for now, then in zip(training, before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_images_may_be_given_by_rows_alone():
    class Rows:
        """Rows of an array that need not be in memory."""

        def __init__(self, array):
            self._array, self.shape = array, array.shape

        def __len__(self):
            return len(self._array)

        def __getitem__(self, rows):
            found = np.array(self._array[rows])
            assert len(found) <= 1000, "all images at once"
            return found

    images, labels = (np.tile(array, (3, 1)) for array in some_digits(0, 500))
    network, other = new_network(), new_network()
    run(network, 20, training=Split(images, labels))
    run(other, 20, training=Split(Rows(images), labels))
    assert bits(network) == bits(other)
    assert measure(other, Split(Rows(images), labels)) == measure(network, Split(images, labels))


# Every feature

EVERYTHING = {
    "optimizer": Optimizer(Schedule(0.05, "cosine", 3, 30), SGD(0.9, nesterov=True), 0.01, 1.5),
    "dropout": Dropout(0.2, 0.5),
    "distortion": Distortion((28, 28), Strength(15.0, 10.0, 15.0, 1.0, 1.0, 5.0)),
    "keep_best": True,
    "patience": 100,
}
ADAM = EVERYTHING | {"optimizer": Optimizer(Schedule(0.002, "linear", 0, 30), Adam(0.9), 0.1, 1.5)}
everything = pytest.mark.parametrize("features", [EVERYTHING, ADAM], ids=["Nesterov", "Adam"])


def memory_bits(state) -> list[bytes]:
    return [array.tobytes() for arrays in state.memory for array in arrays]


@everything
@pytest.mark.parametrize("preparation", [MINMAX, ZSCORE], ids=["minmax", "zscore"])
@pytest.mark.parametrize("batch_size", [40, 99])
@pytest.mark.skipif(sys.platform != "linux", reason="there is a second process on Linux alone")
def test_two_processes_give_the_bits_of_one_with_every_feature(features, preparation, batch_size):
    found = []
    for processes in (1, 2):
        how = method(30, batch_size, **features)
        state = new_state(new_network("exact", (30, 20), "relu", 0.1, preparation), how)
        epochs = list(train(state, some_digits(0, 400), how, WATCHED, processes))
        best = [array.tobytes() for array in state.best.parameters]
        found.append((bits(state.network), memory_bits(state), epochs, state.best[:2], best))
    assert found[0] == found[1]


@pytest.mark.skipif(sys.platform != "linux", reason="there is a second process on Linux alone")
def test_two_processes_give_the_bits_of_one_in_large_batches():
    images, labels = (np.tile(array, (5, 1)) for array in some_digits(0, 500))
    found = []
    for processes in (1, 2):
        network = new_network("exact", (10,), "relu", 0.1)
        epochs = run(network, 4, 1200, training=Split(images, labels), processes=processes, **EVERYTHING)
        found.append((bits(network), epochs))
    assert found[0] == found[1]


@everything
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("iterations", [1, 9, 10, 25])
def test_stopped_training_with_every_feature_goes_on_as_if_nothing_had_happened(features, processes, iterations):
    def train_to(state, end):
        return list(train(state, some_digits(0, 400), method(end, 40, **features), WATCHED, processes))

    states = [new_state(new_network("exact", (30,), "relu", 0.1), method(30, 40, **features)) for _ in range(2)]
    train_to(states[0], 30)
    train_to(states[1], iterations)
    train_to(states[1], 30)
    assert bits(states[0].network) == bits(states[1].network)
    assert memory_bits(states[0]) == memory_bits(states[1])


def test_distorted_images_are_those_of_the_epoch_and_its_order():
    how = method(8, 5, seed=7, **{"distortion": EVERYTHING["distortion"]})
    training = some_digits(0, 23)  # four batches an epoch
    network = new_network()
    by_hand = copy_of(network)
    epochs = list(train(new_state(network, how), training, how))
    for epoch, record in enumerate(epochs):
        order = permutation(stream(7, ORDER, epoch), 23)[:20]
        images = how.distortion.distort(training.images[order], 7, epoch, 0)
        batches = np.split(np.arange(20), 4)
        losses = [take_step(by_hand, images[rows], training.labels[order][rows], 1.0) for rows in batches]
        assert math.isclose(record.loss, math.fsum(losses) / 4, rel_tol=1e-6)
    assert bits(network) == bits(by_hand)


def test_weights_of_pixels_that_are_black_in_all_images_decay_and_count_in_norms():
    training = some_digits(0, 23)
    black = ~training.images.any(axis=0)
    start = new_network(std=0.1)
    decayed, limited = copy_of(start), copy_of(start)
    run(decayed, 4, 5, training=training, optimizer=descent(0.5, weight_decay=0.1))
    np.testing.assert_allclose(decayed.weights[0][black], start.weights[0][black] * 0.95**4, rtol=1e-12)
    run(limited, 4, 5, training=training, optimizer=descent(1e-9, max_norm=1.0))
    shrunk = limited.weights[0][black] / start.weights[0][black]
    np.testing.assert_allclose(shrunk, np.broadcast_to(shrunk[0], shrunk.shape), rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(limited.weights[0], axis=0), 1.0, rtol=1e-6)


def accuracies(epochs):
    return [(epoch.scores[-1].accuracy, -epoch.scores[-1].loss) for epoch in epochs]


@both
def test_training_stops_after_so_many_epochs_without_a_better_one(arithmetic):
    unseen = [some_digits(0, 100), *WATCHED]  # the last one decides
    start = new_network(arithmetic, (30,), "relu", 0.1)
    whole = accuracies(run(copy_of(start), 400, 100, 0.5, watched=unseen))
    for patience in (1, 3, 6):
        stopped = accuracies(run(copy_of(start), 400, 100, 0.5, watched=unseen, patience=patience))
        assert stopped == whole[: len(stopped)]
        best = [max(range(i + 1), key=whole.__getitem__) for i in range(len(whole))]
        waited = [i - best[i] for i in range(len(whole))]
        assert len(stopped) - 1 == waited.index(patience)
    assert len(run(copy_of(start), 40, 100, 0.5, patience=1)) == 8  # nothing is watched


def test_stopped_training_stays_stopped():
    how = method(400, 100, 0.5, patience=2)
    state = new_state(new_network("exact", (30,), "relu", 0.1), how)
    epochs = list(train(state, some_digits(0, 500), how, WATCHED))
    assert 2 < len(epochs) < 80
    assert list(train(state, some_digits(0, 500), how, WATCHED)) == []


@both
def test_best_network_is_that_of_a_training_which_ends_there(arithmetic):
    how = method(60, 100, 0.5, keep_best=True)
    start = new_network(arithmetic, (30,), "relu", 0.1)
    state = new_state(copy_of(start), how)
    found = accuracies(train(state, some_digits(0, 500), how, WATCHED))
    best = max(range(len(found)), key=found.__getitem__)
    assert best < len(found) - 1
    assert state.best.epoch == best + 1
    assert (state.best.score.accuracy, -state.best.score.loss) == found[best]
    there = copy_of(start)
    run(there, 5 * (best + 1), 100, 0.5, watched=WATCHED)
    assert bits(kept(state, how)) == bits(there)
    assert bits(kept(state, how._replace(keep_best=False))) == bits(state.network) != bits(there)


def test_of_epochs_with_the_same_accuracy_the_one_with_the_lower_loss_is_better():
    nothing = Split(np.zeros((1, 784), np.uint8), np.eye(10, dtype=np.uint8)[[3]])  # right or wrong, nothing between
    how = method(40, 100, 0.5, keep_best=True)
    state = new_state(new_network("exact", (30,), "relu", 0.1), how)
    epochs = list(train(state, some_digits(0, 500), how, [nothing]))
    highest = max(epoch.scores[0].accuracy for epoch in epochs)
    alike = [epoch for epoch in epochs if epoch.scores[0].accuracy == highest]
    assert len(alike) > 1
    assert state.best.epoch == min(alike, key=lambda epoch: epoch.scores[0].loss).epoch


@pytest.mark.parametrize(
    ("classes", "accuracy", "loss", "guessing"),
    [
        (10, 0.19, 2.0, True),
        (10, 0.20, 2.0, False),
        (10, 0.9, 2.31, False),  # few mistakes, made with much confidence, are no guesses
        (2, 0.74, 0.6, True),
        (2, 0.75, 0.6, False),
        (3, 0.66, 1.0, True),
        (3, 0.67, 1.0, False),
    ],
)
def test_what_counts_as_guessing(classes, accuracy, loss, guessing):
    assert Score(loss, accuracy).is_like_guessing(classes) == guessing


# Divergence


def test_divergence_is_looked_for_in_the_batch_that_had_it():
    images = np.zeros((4, 4), np.uint8)
    images[2] = 255  # too bright for layer 1; the other images are black
    labels = np.eye(2, dtype=np.uint8)[[0, 1, 0, 1]]
    network = new_network("exact", [3], "relu", 1.0, Preparation(0.0, 1e300, (2, 2), ("a", "b")))
    network.weights[0][...] = 1e10
    with pytest.raises(DivergedError) as caught:
        run(network, 4, 1, 0.1, training=Split(images, labels))
    place = permutation(stream(0, ORDER, 0), 4).tolist().index(2)
    assert (caught.value.iteration, caught.value.layer) == (place + 1, 1)


def test_divergence_is_looked_for_in_no_other_batch():
    # 10³⁰⁰ times one dim pixel is a number too large for layer 2; times a bright one of a large weight it is infinite
    order = permutation(stream(0, ORDER, 0), 4)
    images = np.zeros((4, 4), np.uint8)
    images[order[1], 0] = 1
    images[order[2:], 1] = 255
    labels = np.eye(2, dtype=np.uint8)[[0, 1, 0, 1]]
    network = new_network("exact", [3, 3], "relu", 1.0, Preparation(0.0, 1e300, (2, 2), ("a", "b")))
    network.weights[0][...] = np.array([[1.0], [1e6], [1.0], [1.0]])
    with pytest.raises(DivergedError) as caught:
        run(network, 4, 1, 1e-300, training=Split(images, labels))
    assert (caught.value.iteration, caught.value.layer) == (2, 2)


@pytest.mark.filterwarnings("error")
@both
@pytest.mark.parametrize("layer", [1, 2, 3])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("kind", ["weights", "biases"])
def test_divergence_names_the_step_and_the_layer(arithmetic, layer, bad, kind):
    network = new_network(arithmetic, (20, 20), "relu")
    getattr(network, kind)[layer - 1][..., -1] = bad
    how = method(100, 50, 0.1)
    state = new_state(network, how)
    state.iteration = 10
    with pytest.raises(DivergedError) as caught:
        list(train(state, some_digits(0, 500), how, WATCHED))
    assert (caught.value.iteration, caught.value.layer) == (11, layer)


@pytest.mark.filterwarnings("error")
@both
def test_infinite_loss_of_one_class_is_divergence(arithmetic):
    network = new_network(arithmetic)
    network.biases[-1][3] = -math.inf  # its probability is 0, that of the others is not
    with pytest.raises(DivergedError) as caught:
        run(network, 10)
    assert 1 <= caught.value.iteration <= 10
    assert caught.value.layer == 2


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("arithmetic", "activation", "learning_rate"),
    [
        ("exact", "sigmoid", 1e300),
        ("exact", "tanh", 1e300),
        ("exact", "relu", 1e30),
        ("exact", "relu", 1e140),
        ("exact", "relu", 1e300),
        ("float32", "sigmoid", 1e38),
        ("float32", "tanh", 1e38),
        ("float32", "relu", 1e10),
        ("float32", "relu", 1e300),
    ],
)
def test_steps_that_are_far_too_long_diverge_soon(arithmetic, activation, learning_rate):
    network = new_network(arithmetic, activation=activation)
    with pytest.raises(DivergedError) as caught:
        run(network, 100, batch_size=100, learning_rate=learning_rate)
    assert 1 <= caught.value.iteration <= 5
    assert caught.value.layer in (1, 2)


@pytest.mark.filterwarnings("error")
@both
@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
@pytest.mark.parametrize("hidden", [(), (20,)], ids=str)
def test_steps_of_any_length_end_in_finite_numbers_or_in_divergence(arithmetic, activation, hidden):
    outcomes = set()
    for exponent in range(0, 300, 6) if arithmetic == "exact" else range(0, 60, 2):
        network = new_network(arithmetic, hidden, activation)
        try:
            epochs = run(network, 4, batch_size=100, learning_rate=10.0**exponent)
        except DivergedError:
            outcomes.add("diverged")
        else:
            assert all(math.isfinite(epoch.loss) for epoch in epochs)
            assert all(np.isfinite(array).all() for array in network.weights + network.biases)
            outcomes.add("finite")
    assert outcomes == {"diverged", "finite"}


# The same bits


@both
def test_another_seed_gives_other_bits(arithmetic):
    one, other = new_network(arithmetic), new_network(arithmetic)
    assert run(one, 30, seed=0) != run(other, 30, seed=1)
    assert bits(one) != bits(other)


def test_both_arithmetics_stay_together():
    networks = [new_network(arithmetic) for arithmetic in ("exact", "float32")]
    exact_epochs, float32_epochs = (run(network, 50, learning_rate=0.1) for network in networks)
    for exact, float32 in zip(*(network.weights + network.biases for network in networks), strict=True):
        assert np.abs(exact - float32).max() < 1e-4 * np.abs(exact).max()
    assert math.isclose(exact_epochs[-1].loss, float32_epochs[-1].loss, rel_tol=1e-4)


TRAIN_AND_PRINT = """
from mlp.network import predict
from tests.support.networks import MINMAX, ZSCORE, bits, digits, new_network, run

for activation, hidden, preparation in [("sigmoid", [50], MINMAX), ("tanh", [40, 30], ZSCORE), ("relu", [300], MINMAX)]:
    network = new_network("exact", hidden, activation, 0.05, preparation)
    print(run(network, 40, batch_size=100, learning_rate=0.1, watched=[digits("test")]), bits(network))
    y, log_y = predict(network, digits("test").images)
    print(y.tobytes().hex(), log_y.tobytes().hex())
"""


def output_under(**environment: str) -> str:
    """Return what the training above prints in a process of its own."""
    result = subprocess.run(
        [sys.executable, "-c", TRAIN_AND_PRINT],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


on_x86_64 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names of x86-64 processors")


@pytest.fixture(scope="module")
def with_one_thread() -> str:
    return output_under(OPENBLAS_NUM_THREADS="1")


@pytest.mark.parametrize(
    "environment",
    [
        {"OPENBLAS_NUM_THREADS": "2"},
        pytest.param({"OPENBLAS_NUM_THREADS": "2", "OPENBLAS_CORETYPE": "Nehalem"}, marks=on_x86_64),
        pytest.param({"OPENBLAS_NUM_THREADS": "1", "OPENBLAS_CORETYPE": "Prescott"}, marks=on_x86_64),
        pytest.param({"OPENBLAS_NUM_THREADS": "1", "OPENBLAS_CORETYPE": "Sandybridge"}, marks=on_x86_64),
        pytest.param({"OPENBLAS_NUM_THREADS": "1", "OPENBLAS_CORETYPE": "Haswell"}, marks=on_x86_64),
        pytest.param({"OPENBLAS_NUM_THREADS": "1", "NPY_DISABLE_CPU_FEATURES": "X86_V4 X86_V3"}, marks=on_x86_64),
    ],
    ids=lambda environment: " ".join(f"{name}={value}" for name, value in environment.items()),
)
def test_same_bits_whatever_threads_kernels_and_vector_instructions(with_one_thread, environment):
    assert output_under(**environment) == with_one_thread


def test_same_bits_as_on_the_machine_this_was_written_on():
    # A change of the training's arithmetic changes these on purpose, and dvc.lock with them; another machine must not.
    network = new_network()
    epochs = run(network, 40)
    assert bits(network) == "008d886b91c244146658c0028323d92a95131a37360308ad009d0dc77ee81eae"
    assert epochs[-1].loss.hex() == "0x1.b28ed6f2ac0f6p+0"
