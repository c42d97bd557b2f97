"""Two processes train the network of one process, whatever happens to the second one."""

import multiprocessing
import os
import signal
import sys
import threading
import time

import numpy as np
import psutil
import pytest

import mlp.team
from mlp.arithmetic import ARITHMETICS
from mlp.team import Team, available_processes, shared
from mlp.training import measure, new_state, train
from tests.support.networks import ZSCORE, bits, method, new_network, run, some_digits

both = pytest.mark.parametrize("arithmetic", list(ARITHMETICS))
forks = pytest.mark.skipif(sys.platform != "linux", reason="there is a second process on Linux alone")
WATCHED = [some_digits(500, 600)]
MOST_WAITING = mlp.team.MOST_WAITING  # as it is before the fixture changes it


@pytest.fixture(autouse=True)
def together_to_the_end(monkeypatch):
    """Whatever else the machine does, the two processes stay together; and none is left over."""
    monkeypatch.setattr(mlp.team, "MOST_WAITING", 1.0)
    monkeypatch.setattr(mlp.team, "NAP", 0.05)
    monkeypatch.setattr(mlp.team, "LONGEST_START", 600)
    before = children()
    yield
    assert children() == before


def children() -> list[psutil.Process]:
    return psutil.Process().children()


def start(network, iterations=40, batch_size=50):
    """Return training by two processes, ready to begin."""
    how = method(iterations, batch_size, 0.5)
    return train(new_state(network, how), some_digits(0, 500), how, WATCHED, 2)


# Two processes


@forks
def test_two_processes_train_almost_the_same_network_in_float32():
    found = []
    for processes in (1, 2):
        network = new_network("float32", (31, 20), "tanh", 0.05, ZSCORE)
        run(network, 12, 33, 0.1, watched=WATCHED, processes=processes)
        found.append(network.weights + network.biases)
    for left, right in zip(*found, strict=True):
        assert np.abs(left - right).max() <= 1e-4 * np.abs(left).max()
    assert measure(new_network(), *WATCHED, processes=2) == measure(new_network(), *WATCHED)


# Ends


@forks
@pytest.mark.filterwarnings("error")  # from Python 3.12 on, a fork beside threads brings a DeprecationWarning
def test_worker_of_a_finished_and_of_an_abandoned_training_ends_though_there_are_threads():
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        for training in (start(new_network(), iterations=20), start(new_network(), iterations=10**6)):
            for epoch in training:
                assert len(children()) == 1
                if epoch.epoch == 3:
                    training.close()
            assert children() == []
    finally:
        stop.set()
        thread.join()


@forks
@pytest.mark.parametrize("fate", ["killed between epochs", "killed in a step", "hangs"])
def test_leader_notices_what_befalls_the_worker(fate, monkeypatch):
    monkeypatch.setattr(mlp.team, "LONGEST_WAIT", 4)  # naps
    epochs = start(new_network(), iterations=10**6)
    next(epochs)
    (worker,) = children()
    if fate == "killed in a step":
        threading.Timer(0.05, worker.kill).start()
    else:
        worker.suspend() if fate == "hangs" else worker.kill()
    with pytest.raises(ChildProcessError, match="ended early or hangs"):
        list(epochs)
    assert not worker.is_running()


@forks
def test_leader_waits_for_a_worker_that_computes(monkeypatch):
    def task():
        end = time.monotonic() + 1.5
        while os.getpid() != leader and time.monotonic() < end:
            pass

    leader = os.getpid()
    monkeypatch.setattr(mlp.team, "LONGEST_WAIT", 20)  # naps: two thirds of the time
    team = Team(2)
    with team.start(task):
        team.run(0)


def train_and_tell(connection):
    epochs = start(new_network(), iterations=10**6)
    next(epochs)
    connection.send(children()[0].pid)
    list(epochs)


@forks
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_worker_ends_with_its_leader_and_not_at_ctrl_c(number):
    fork, (ours, theirs) = multiprocessing.get_context("fork"), multiprocessing.Pipe()
    leader = fork.Process(target=train_and_tell, args=[theirs], daemon=True)
    leader.start()
    theirs.close()
    worker = psutil.Process(ours.recv())
    worker.send_signal(signal.SIGINT)  # a terminal sends it to both
    time.sleep(0.1)
    assert worker.status() != psutil.STATUS_ZOMBIE
    os.kill(leader.pid, number)
    leader.join()
    assert ours.poll(30), "the worker still has its end"
    with pytest.raises(EOFError):
        ours.recv()


@forks
def test_error_in_the_worker_is_shown():
    def task():
        if 1 in team.parts:
            raise RuntimeError("unforeseen \udcff" + "€" * 5000)  # not UTF-8, and cut within a character

    team = Team(2)
    with team.start(task), pytest.raises(ChildProcessError, match=r"failed \(RuntimeError: unforeseen \?€€€"):
        team.run(0)


# Where a second process cannot be had, or had better not


def refuse(*_):
    raise BlockingIOError(11, "Resource temporarily unavailable")


@forks
@both
@pytest.mark.parametrize("what", ["processes", "semaphores"])
def test_leader_runs_all_parts_if_the_system_refuses_a_process(monkeypatch, arithmetic, what):
    together, refused = new_network(arithmetic), new_network(arithmetic)
    epochs = run(together, 20, watched=WATCHED, processes=2)
    if what == "processes":
        monkeypatch.setattr(os, "fork", refuse)
    else:
        monkeypatch.setattr(multiprocessing.get_context("fork"), "Semaphore", refuse)
    open_files = len(os.listdir("/proc/self/fd"))
    assert run(refused, 20, watched=WATCHED, processes=2) == epochs
    assert bits(refused) == bits(together)
    assert len(os.listdir("/proc/self/fd")) == open_files


@forks
@pytest.mark.parametrize("what", ["is silent", "is killed"])
def test_leader_goes_on_alone_if_the_worker_gives_no_signal_but_not_if_it_is_killed(monkeypatch, what):
    def fork():
        if (number := real_fork()) == 0:
            os.kill(os.getpid(), signal.SIGSTOP if what == "is silent" else signal.SIGKILL)
        return number

    real_fork = os.fork
    monkeypatch.setattr(os, "fork", fork)
    monkeypatch.setattr(mlp.team, "LONGEST_START", 2 if what == "is silent" else 600)  # naps
    network, expected = new_network(), new_network()
    if what == "is killed":
        with pytest.raises(ChildProcessError):
            run(network, 20, processes=2)
    else:
        assert run(network, 20, processes=2) == run(expected, 20)
        assert bits(network) == bits(expected)


@forks
def test_leader_goes_on_alone_when_it_waits_for_the_worker_most_of_the_time(monkeypatch):
    leader, together = os.getpid(), {"slow": 0, "even": 0}

    def task(name, leaders, workers):
        together[name] += len(team.parts) == 1
        time.sleep(leaders if os.getpid() == leader else workers)

    monkeypatch.setattr(mlp.team, "MOST_WAITING", MOST_WAITING)
    team = Team(2)
    with team.start(lambda: task("slow", 0, 0.03), lambda: task("even", 0.03, 0)):
        for _ in range(11):
            team.run(0)
            team.run(1)
    assert 2 <= together["slow"] <= 5  # alone for 1, then 2, then 4 times: 4 where nothing disturbs them
    assert together["even"] >= 5  # in which the worker is quick: 11 where nothing disturbs them


def test_as_many_processes_as_processors(monkeypatch):
    for system, processors, processes in [("linux", {5}, 1), ("linux", {0, 5}, 2), ("darwin", {0, 5}, 1)]:
        monkeypatch.setattr(sys, "platform", system)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, processors=processors: processors, raising=False)
        assert available_processes() == processes


def test_shared_memory_of_nothing_and_of_too_much():
    assert shared(np.zeros((0, 3))).shape == (0, 3)
    with pytest.raises(MemoryError):
        shared(np.broadcast_to(np.uint8(0), (2**62,)))
