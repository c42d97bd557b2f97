"""Two processes: the same bits as one, each notices the other's end, and on a busy machine one goes on alone."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from mlp import step, team
from mlp.arithmetic import ARITHMETICS
from mlp.network import init_network
from mlp.team import SHARES, Team
from mlp.training import DivergedError, Split, train
from tests.conftest import ROOT
from tests.networks import default_network, digits

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a team has two processes on Linux alone")

both = pytest.mark.parametrize("arithmetic", list(ARITHMETICS))


def start(network, processes, iterations=40, batch_size=50, learning_rate=0.5, images=500):
    """Return training on real digits, ready to begin."""
    training, validation = (
        Split(*(array[part] for array in digits("train"))) for part in (slice(images), slice(500, 600))
    )
    source = np.random.PCG64(0)
    return train(network, training, validation, iterations, batch_size, learning_rate, source, processes)


def parameters(network) -> list[bytes]:
    return [array.tobytes() for array in network.weights + network.biases]


def children() -> list[psutil.Process]:
    return psutil.Process().children()


@pytest.fixture(autouse=True)
def together_to_the_end(monkeypatch):
    """Whatever else the machine does, the two stay together; and none is left over."""
    monkeypatch.setattr(team, "MOST_WAITING", 1.0)
    before = children()
    yield
    assert children() == before


# The same bits


@both
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("hidden", [(), (50,), (31, 20)], ids=str)
@pytest.mark.parametrize("batch_size", [1, 33, 100])
def test_two_processes_give_the_bits_of_one(arithmetic, activation, hidden, batch_size):
    found = []
    for processes in (1, 2):
        network = init_network([784, *hidden, 10], activation, 0.05, 33.25, 1 / 80, arithmetic, np.random.PCG64(0))
        epochs = list(start(network, processes, 12, batch_size, 0.1, images=350))
        found.append((parameters(network), epochs))
    assert found[0] == found[1]


def test_both_do_half_of_the_work(monkeypatch):
    in_first = []
    multiply = step.Step.multiply
    monkeypatch.setattr(step.Step, "multiply", lambda *args: in_first.append(args[1]) or multiply(*args))
    list(start(default_network(), 1, 10))
    assert in_first == [0, 1] * 10
    in_first.clear()
    list(start(default_network(), 2, 10))
    assert in_first == [0] * 10


def test_one_pixel_and_one_image_are_enough_for_two():
    images, labels = np.array([[200]], np.uint8), np.array([[0, 1]], np.uint8)
    found = []
    for processes in (1, 2):
        network = init_network([1, 3, 2], "relu", 0.5, 0.0, 1 / 255, "exact", np.random.PCG64(0))
        split = Split(images, labels)
        epochs = list(train(network, split, split, 5, 1, 0.1, np.random.PCG64(0), processes))
        found.append((parameters(network), epochs))
    assert found[0] == found[1]
    assert found[0][1][-1].loss < found[0][1][0].loss


# Ends


@pytest.mark.filterwarnings("error")
@both
@pytest.mark.parametrize(
    ("layer", "place"), [(1, (3, 0)), (1, (700, 0)), (2, (3, 0))], ids=["the first's", "the second's", "of both"]
)
def test_divergence_is_named_whoever_sees_it(arithmetic, layer, place):
    network = default_network(arithmetic, activation="relu")
    epochs = start(network, 2)
    assert next(epochs).iteration == 10
    network.weights[layer - 1][place] = np.nan  # of 784 pixels, the second process has the latter half
    with pytest.raises(DivergedError) as caught:
        next(epochs)
    assert (caught.value.iteration, caught.value.layer) == (11, layer)


def test_training_that_nobody_waits_for_ends():
    epochs = start(default_network(), 2, iterations=10**6)
    next(epochs)
    assert len(children()) == 1
    epochs.close()
    assert children() == []


def test_two_trainings_by_turns():
    trainings = [start(default_network(seed=seed), 2, iterations=30) for seed in (0, 1)]
    for number in (1, 2):
        assert [next(epochs).epoch for epochs in trainings] == [number, number]
    for epochs in trainings:
        epochs.close()


def test_where_nobody_waits_for_children():
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert len(list(start(default_network(), 2, iterations=20))) == 2
        epochs = start(default_network(), 2)
        next(epochs)
        epochs.close()
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_memory_that_there_is_not():
    with pytest.raises(MemoryError):
        Team(2).memory(2**62)


@pytest.mark.parametrize("moment", ["at work", "asleep"])
def test_first_notices_that_the_second_was_killed(moment):
    epochs = start(default_network(), 2, iterations=10**6)
    next(epochs)
    (second,) = children()
    if moment == "asleep":
        time.sleep(0.2)
    second.kill()
    with pytest.raises(ChildProcessError):
        list(epochs)


def test_second_notices_that_the_first_was_killed():
    code = """
from tests.test_team import default_network, start
for epoch in start(default_network(), 2, iterations=10**6):
    print(epoch.epoch, flush=True)
"""
    first = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    first.stdout.readline()
    (second,) = psutil.Process(first.pid).children()
    first.kill()
    try:
        second.wait(10)
    finally:
        first.communicate(timeout=10)


def test_ctrl_c_is_for_the_first():
    epochs = start(default_network(), 2, iterations=60)
    first = next(epochs)
    children()[0].send_signal(signal.SIGINT)
    assert [first.epoch, *(epoch.epoch for epoch in epochs)] == [1, 2, 3, 4, 5, 6]


def test_error_in_the_second_is_shown(capfd, monkeypatch):
    def fail(self, share, *args):
        if share == 1:
            raise RuntimeError("something unforeseen")
        return multiply(self, share, *args)

    multiply = step.Step.multiply
    monkeypatch.setattr(step.Step, "multiply", fail)
    with pytest.raises(ChildProcessError):
        list(start(default_network(), 2))
    assert "something unforeseen" in capfd.readouterr().err


def test_without_a_second_process_where_the_system_refuses_it(monkeypatch):
    def refuse():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    one, refused = default_network(), default_network()
    epochs = list(start(one, 1))
    monkeypatch.setattr(os, "fork", refuse)
    pipes = len(os.listdir("/proc/self/fd"))
    assert list(start(refused, 2)) == epochs
    assert parameters(refused) == parameters(one)
    assert len(os.listdir("/proc/self/fd")) == pipes


# On a busy machine


def test_first_goes_on_alone_when_it_waits_for_the_second_most_of_the_time(monkeypatch):
    def slow(self, share, *args):
        if share == 1 and os.getpid() != first:
            time.sleep(0.01)
        return multiply(self, share, *args)

    monkeypatch.setattr(team, "MOST_WAITING", 0.5)
    first = os.getpid()
    multiply = step.Step.multiply
    expected = default_network()
    list(start(expected, 1, 100))
    monkeypatch.setattr(step.Step, "multiply", slow)
    alone = []
    begin = Team.begin
    monkeypatch.setattr(Team, "begin", lambda self: (begin(self), alone.append(len(self.shares) == SHARES))[0])
    network = default_network()
    list(start(network, 2, 100))
    assert alone == [False, True, False, True, True, False, True, True, True, True]  # for 1, 2, 4 epochs
    assert parameters(network) == parameters(expected)


def test_as_many_processes_as_processors(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5})
    assert team.available_processes() == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5, 6})
    assert team.available_processes() == 2
    monkeypatch.setattr(sys, "platform", "darwin")
    assert team.available_processes() == 1
