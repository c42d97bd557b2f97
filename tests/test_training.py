"""Training: a step by hand, agreement with a reference, the loop, divergence, and the same bits everywhere."""

import copy
import hashlib
import math
import os
import platform
import subprocess
import sys

import numpy as np
import pytest

from mlp.arithmetic import ARITHMETICS
from mlp.network import Network, accuracy, init_network, logits
from mlp.random import permutation
from mlp.training import DivergedError, Split, train
from tests import reference
from tests.conftest import ROOT
from tests.networks import default_network, digits, loss, step

both = pytest.mark.parametrize("arithmetic", list(ARITHMETICS))


def split(first: int, last: int) -> Split:
    images, labels = digits("train")
    return Split(images[first:last], labels[first:last])


def run(network, iterations, batch_size=50, learning_rate=1.0, seed=0, training=None):
    """Train on 500 real digits, watched with 100 others; return the epochs."""
    training = training or split(0, 500)
    source = np.random.PCG64(seed)
    return list(train(network, training, split(500, 600), iterations, batch_size, learning_rate, source))


def bits(network: Network) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in network.weights + network.biases)).hexdigest()


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
        activation="sigmoid",
        shift=0.0,
        scale=0.5,
        arithmetic=arithmetic,
    )
    # The first image is (2, 6) · ½ = (1, 3), of class 0. Its gradients, from behind:
    #   logits: y − t = (−½, ½)                b2: the same             W2: h times it = (−¼, ¼)
    #   h: −½ · 2 + ½ · (−2) = −2              times ¼ = −½             b1: the same        W1: x times it = (−½, −1½)
    # The second is (0, 0), of class 1, and its gradients the opposite, but for W1, where it has none.
    pixels, labels = np.array([[2, 6], [0, 0]], np.uint8), np.array([[1, 0], [0, 1]], np.uint8)
    found = step(network, pixels[:images], labels[:images], 0.5)
    assert math.isclose(found, math.log(2), rel_tol=1e-7)
    W1, W2, b1, b2 = (array.tolist() for array in network.weights + network.biases)
    if images == 1:  # less half the gradients
        assert (W1, b1) == ([[0.25], [0.75]], [0.25])
        assert (W2, b2) == ([[2.125, -2.125]], [-0.75, 0.75])
    else:  # less half the mean of the two gradients: only W1's do not cancel
        assert (W1, b1) == ([[0.125], [0.375]], [0.0])
        assert (W2, b2) == ([[2.0, -2.0]], [-1.0, 1.0])


@both
def test_step_returns_the_loss_before_it_and_lowers_it(arithmetic):
    images, labels = split(0, 100)
    network = default_network(arithmetic)
    before = loss(network, images, labels)
    assert math.isclose(before, math.log(10), rel_tol=0.01)  # it knows nothing yet
    assert step(network, images, labels, 0.1) == before
    assert loss(network, images, labels) < before


@both
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("hidden", [(), (50,), (30, 20)], ids=str)
def test_training_agrees_with_the_reference_step_by_step(arithmetic, activation, hidden):
    shift, scale = 33.25, 1 / 80
    training = split(0, 500)
    network = init_network([784, *hidden, 10], activation, 0.05, shift, scale, arithmetic, np.random.PCG64(0))
    weights, biases = ([array.astype(np.float64) for array in arrays] for arrays in (network.weights, network.biases))
    for rows in np.array_split(np.resize(permutation(np.random.PCG64(1), 500), 2500), 100):
        images, labels = training.images[rows], training.labels[rows]
        found = step(network, images, labels, 0.1)
        X = (images - shift) * scale
        weights, biases, expected = reference.step(weights, biases, activation, X, labels, 0.1)
        assert math.isclose(found, expected, rel_tol=1e-4)
        for ours, theirs in zip(network.weights + network.biases, weights + biases, strict=True):
            assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()


# The loop


@both
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("hidden", [(), (50,), (50, 30)], ids=str)
def test_it_learns_real_digits(arithmetic, activation, hidden):
    if activation == "sigmoid" and len(hidden) > 1:
        pytest.skip("two layers of sigmoids take longer than a test may to leave their start")
    source = np.random.PCG64(0)
    network = init_network([784, *hidden, 10], activation, 0.05, 0.0, 1 / 255, arithmetic, source)
    epochs = run(network, 300, learning_rate=0.5)
    assert epochs[-1].loss < 0.5 * epochs[0].loss
    assert epochs[-1].train_accuracy > 0.9
    assert epochs[-1].validation_accuracy > 0.75  # chance is 0.1
    assert epochs[-1].validation_loss < 1.0


@both
def test_epochs_are_what_steps_over_a_new_order_each_give(arithmetic):
    # 23 images in batches of 5: four batches an epoch, three images left over; ten steps are two epochs and a half
    training, validation = split(0, 23), split(500, 600)
    network = default_network(arithmetic)
    by_hand = copy.deepcopy(network)
    epochs = run(network, 10, batch_size=5, learning_rate=0.1, seed=7, training=training)
    source = np.random.PCG64(7)
    for epoch, batches, record in zip([1, 2, 3], [4, 4, 2], epochs, strict=True):
        order = permutation(source, 23)
        losses = []
        for batch in range(batches):
            rows = order[5 * batch : 5 * batch + 5]
            losses.append(step(by_hand, training.images[rows], training.labels[rows], 0.1))
        assert record.epoch == epoch
        assert record.iteration == [4, 8, 10][epoch - 1]
        assert math.isclose(record.loss, math.fsum(losses) / batches, rel_tol=1e-6)
        assert record.train_accuracy == accuracy(logits(by_hand, training.images).argmax(axis=1), training.labels)
        assert record.validation_accuracy == accuracy(
            logits(by_hand, validation.images).argmax(axis=1), validation.labels
        )
        assert math.isclose(record.validation_loss, loss(by_hand, *validation), rel_tol=1e-6)
    if arithmetic == "exact":
        assert bits(network) == bits(by_hand)


@pytest.mark.parametrize(
    ("iterations", "batch_size", "ends"),
    [(1, 50, [1]), (10, 50, [10]), (11, 50, [10, 11]), (20, 50, [10, 20]), (3, 500, [1, 2, 3]), (2, 300, [1, 2])],
)
def test_iterations_are_done_to_the_last(iterations, batch_size, ends):
    assert [epoch.iteration for epoch in run(default_network(), iterations, batch_size)] == ends


def test_batch_of_all_images_is_plain_gradient_descent():
    network, other = default_network(), default_network()
    run(network, 3, batch_size=500, seed=1)
    run(other, 3, batch_size=500, seed=2)
    assert bits(network) == bits(other)  # another order of the images, but exact sums


def test_images_are_left_alone():
    training = split(0, 500)
    before = Split(*(array.copy() for array in training))
    run(default_network(), 20, training=training)
    for now, then in zip(training, before, strict=True):
        np.testing.assert_array_equal(now, then)


# Divergence


@pytest.mark.filterwarnings("error")
@both
@pytest.mark.parametrize("layer", [1, 2, 3])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("kind", ["weights", "biases"])
def test_divergence_names_the_step_and_the_layer(arithmetic, layer, bad, kind):
    network = default_network(arithmetic, hidden=(20, 20), activation="relu")
    steps = train(network, split(0, 500), split(500, 600), 100, 50, 0.1, np.random.PCG64(0))
    assert next(steps).iteration == 10
    getattr(network, kind)[layer - 1][..., 3] = bad
    with pytest.raises(DivergedError) as caught:
        next(steps)
    assert (caught.value.iteration, caught.value.layer) == (11, layer)


@pytest.mark.filterwarnings("error")
@both
def test_infinite_loss_of_one_class_is_divergence(arithmetic):
    network = default_network(arithmetic)
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
        ("float32", "sigmoid", 1e30),
        ("float32", "tanh", 1e30),
        ("float32", "relu", 1e10),
        ("float32", "relu", 1e300),
    ],
)
def test_steps_that_are_far_too_long_diverge_soon(arithmetic, activation, learning_rate):
    network = default_network(arithmetic, activation=activation)
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
        network = default_network(arithmetic, hidden=hidden, activation=activation)
        try:
            epochs = run(network, 4, batch_size=100, learning_rate=10.0**exponent)
        except DivergedError:
            outcomes.add("diverged")
        else:
            assert np.isfinite(epochs).all()
            assert all(np.isfinite(array).all() for array in network.weights + network.biases)
            outcomes.add("finite")
    assert outcomes == {"diverged", "finite"}


# The same bits


@both
def test_same_seed_same_bits_other_seed_other_bits(arithmetic):
    found = []
    for seed in [0, 0, 1]:
        network = default_network(arithmetic)
        epochs = run(network, 30, seed=seed)
        found.append((bits(network), epochs))
    assert found[0] == found[1]
    assert found[0][0] != found[2][0]


def test_both_arithmetics_stay_together():
    networks = [default_network(arithmetic) for arithmetic in ("exact", "float32")]
    exact_epochs, float32_epochs = (run(network, 50, learning_rate=0.1) for network in networks)
    for exact, float32 in zip(*(network.weights + network.biases for network in networks), strict=True):
        assert np.abs(exact - float32).max() < 1e-4 * np.abs(exact).max()
    assert math.isclose(exact_epochs[-1].loss, float32_epochs[-1].loss, rel_tol=1e-4)


TRAIN_AND_PRINT = """
import numpy as np
from mlp.network import init_network, predict
from tests.test_training import bits, digits, run

for activation, hidden, shift, scale in [
    ("sigmoid", [50], 0.0, 1 / 255),
    ("tanh", [40, 30], 33.31640625, 0.0127),
    ("relu", [300], 0.0, 1 / 255),
]:
    source = np.random.PCG64(0)
    network = init_network([784, *hidden, 10], activation, 0.05, shift, scale, "exact", source)
    print(run(network, 40, batch_size=100, learning_rate=0.1), bits(network))
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
    network = default_network()
    epochs = run(network, 40)
    assert bits(network) == "2129e9a842e05ea53678827090dfeef561aa4852f3b6be77191faf5856d76d8d"
    assert epochs[-1].loss.hex() == "0x1.c107c7a6e9cd7p+0"
