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

import mlp.divided.pace
import mlp.divided.team
import pipeline.fitting.processes
from mlp.arithmetic import ARITHMETICS
from mlp.divided.pace import Pace
from mlp.divided.team import Team, shared
from mlp.protocol import Split
from mlp.training import new_state
from pipeline.fitting.processes import available_processes
from tests.support.networks import ZSCORE, bits, method, new_network, run, some_digits, train_by

both = pytest.mark.parametrize("arithmetic", list(ARITHMETICS))
forks = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a second process")
WATCHED = [some_digits(500, 600)]


@pytest.fixture(autouse=True)
def together_to_the_end(monkeypatch):
    """Whatever else the machine does, the two processes stay together; and none is left over."""
    monkeypatch.setattr(mlp.divided.pace, "TRIAL", 0.0)
    monkeypatch.setattr(mlp.divided.team, "NAP", 0.05)
    monkeypatch.setattr(mlp.divided.team, "LONGEST_START", 600)
    before = children()
    yield
    assert children() == before


def children() -> list[psutil.Process]:
    return psutil.Process().children()


def start(network, iterations=40, batch_size=50):
    """Return training by two processes, ready to begin."""
    how = method(iterations, batch_size, 0.5)
    return train_by(2, new_state(network, how), some_digits(0, 500), how, WATCHED)


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


# Ends


@forks
# From Python 3.12 on, a fork beside threads brings a DeprecationWarning
@pytest.mark.filterwarnings("error")
def test_worker_of_a_finished_and_of_an_abandoned_training_ends_though_there_are_threads():
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        for training in [start(new_network(), steps) for steps in (20, 10**6)]:
            for epoch in training:
                assert len(children()) == 1
                if epoch.epoch == 3:
                    training.close()
            assert children() == []
    finally:
        stop.set()
        thread.join()


@forks
def test_leader_notices_that_the_worker_hangs(monkeypatch):
    epochs = start(new_network(), iterations=10**6)
    next(epochs)
    (worker,) = children()
    worker.suspend()
    # In naps; only now, because a busy machine may let it wait as long
    monkeypatch.setattr(mlp.divided.team, "LONGEST_WAIT", 4)
    with pytest.raises(ChildProcessError, match="ended early or hangs"):
        list(epochs)
    assert not worker.is_running()


@forks
def test_leader_waits_for_a_worker_that_computes(monkeypatch):
    def task():
        end = time.monotonic() + 1.2
        while os.getpid() != leader and time.monotonic() < end:
            pass

    leader = os.getpid()
    monkeypatch.setattr(mlp.divided.team, "LONGEST_WAIT", 16)  # naps: two thirds of the time
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


DIVERGED = FloatingPointError("too large"), FloatingPointError, "too large"
LONG = RuntimeError("unforeseen \udcff" + "€" * 5000)  # not UTF-8, and cut within a character
UNFORESEEN = LONG, ChildProcessError, r"failed \(RuntimeError: unforeseen \?€€€"


@forks
@pytest.mark.parametrize(("error", "kind", "said"), [DIVERGED, UNFORESEEN], ids=["met", "odd"])
def test_leader_sees_the_workers_error_where_the_worker_met_it(error, kind, said):
    """The worker fails after the barrier. A slow leader must not see it there already."""
    team, met = Team(2), []

    def task():
        if 0 in team.parts:
            time.sleep(0.1)
        team.barrier()
        met.append(True)
        if 1 in team.parts:
            raise error

    with team.start(task), pytest.raises(kind, match=said):
        team.run(0)
    assert met


@forks
@pytest.mark.parametrize("fate", range(4))  # after so many barriers, or between tasks
def test_one_of_four_is_killed_wherever_it_is(fate):
    def task():
        for meeting in range(3):
            if meeting == fate and list(team.parts) == [2]:
                os.kill(os.getpid(), signal.SIGKILL)
            team.barrier()

    team = Team(4)
    with team.start(task):
        assert len(children()) == 3
        if fate == 3:
            children()[1].kill()
        with pytest.raises(ChildProcessError, match="ended early or hangs"):
            team.run(0)


@forks
@pytest.mark.slow
def test_memory_of_eight_processes(tmp_path):
    def memory(processes) -> int:
        """Return the memory of processes without the file. What they share counts once."""
        parts = [part for one in processes for part in one.memory_maps()]
        return sum(part.pss for part in parts if part.path != str(file))

    n, file = 100_000, tmp_path / "images.npy"
    np.save(file, np.full((n, 784), 200, np.uint8))
    labels = np.eye(10, dtype=np.uint8)[np.arange(n) % 10]
    training = Split(np.load(file, mmap_mode="r"), labels)
    how, before = method(50, 100, 0.1), memory([psutil.Process()])
    for _ in train_by(8, new_state(new_network(), how), training, how):
        team = [psutil.Process(), *children()]
        used = memory(team) - before
    assert len(team) == 8
    assert used < 1.3 * n * 784 + 8 * 12e6


# Where a second process cannot be had, or had better not


def refuse(*_):
    raise BlockingIOError(11, "Resource temporarily unavailable")


@forks
@both
@pytest.mark.parametrize("what", ["processes", "the third process", "semaphores"])
def test_leader_runs_all_parts_if_the_system_refuses_a_process(monkeypatch, arithmetic, what):
    together, refused = new_network(arithmetic), new_network(arithmetic)
    epochs = run(together, 20, watched=WATCHED, processes=4)
    if what != "semaphores":
        forks = [os.fork] if what == "the third process" else []
        monkeypatch.setattr(os, "fork", lambda: (forks.pop() if forks else refuse)())
    else:
        monkeypatch.setattr(multiprocessing.get_context("fork"), "Semaphore", refuse)
    open_files = len(os.listdir("/proc/self/fd"))
    assert run(refused, 20, watched=WATCHED, processes=4) == epochs
    assert bits(refused) == bits(together)
    assert len(os.listdir("/proc/self/fd")) == open_files


@forks
@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_leader_goes_on_without_a_silent_worker_but_not_without_a_killed_one(monkeypatch, number):
    """Another worker is well."""

    def fork():
        if (child := real_fork()) == 0 and numbers:
            os.kill(os.getpid(), number)
        numbers.clear()
        return child

    real_fork, numbers = os.fork, [number]
    monkeypatch.setattr(os, "fork", fork)
    network, expected = new_network(), new_network()
    if number == signal.SIGKILL:
        with pytest.raises(ChildProcessError):
            run(network, 20, processes=3)
    else:
        monkeypatch.setattr(mlp.divided.team, "LONGEST_START", 2)
        assert run(network, 20, processes=3) == run(expected, 20)
        assert bits(network) == bits(expected)


class Machine:
    """A machine where a step of so many processes takes so many seconds."""

    def __init__(self, seconds):
        self.seconds, self.pace, self.clock, self.steps = seconds, Pace(max(seconds)), 0.0, 0.0

    def train(self, until):
        while self.clock < until:
            processes, spell = self.pace.next()
            steps = max(1, round(spell / self.seconds[processes]))
            self.pace.tell(processes, self.seconds[processes])
            self.clock += steps * self.seconds[processes]
            self.steps += steps


MACHINES = [{1: 0.02}, {1: 0.02, 2: 0.012}, {1: 0.02, 2: 0.2}]
MACHINES += [{1: 0.09, 2: 0.05, 4: 0.03, 6: 0.036}]


@pytest.mark.parametrize("seconds", MACHINES, ids=str)
def test_as_many_processes_take_the_steps_as_are_fastest(seconds):
    machine, fastest = Machine(seconds), min(seconds, key=seconds.get)
    machine.train(60)
    assert machine.pace.best == fastest
    assert machine.steps >= 0.95 * machine.clock / seconds[fastest]


def test_pace_follows_a_machine_that_becomes_busy_and_quiet_again():
    machine = Machine({1: 0.02, 2: 0.012})
    machine.train(60)
    machine.seconds = {1: 0.04, 2: 0.2}
    machine.train(64)
    assert machine.pace.best == 1
    lone = Machine({1: 0.02})
    lone.train(9)
    lone.seconds = {1: 0.2}
    lone.train(20)
    assert lone.pace.next() == (1, mlp.divided.pace.SPELL)
    machine.train(120)
    machine.seconds = {1: 0.02, 2: 0.012}
    machine.train(150)
    assert machine.pace.best == 2


CORES = [("linux", 1, None, 1), ("linux", 6, None, 6), ("darwin", 6, None, 1)]
CORES += [("linux", 6, "max 100000", 6), ("linux", 6, "250000 100000", 2)]
CORES += [("linux", 6, "50000 100000", 1)]


@pytest.mark.parametrize("case", CORES, ids=str)
def test_as_many_processes_as_cores_that_may_be_used(monkeypatch, tmp_path, case):
    system, cores, quota, processes = case
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(pipeline.fitting.processes, "QUOTA", tmp_path / "cpu.max")
    if quota:
        (tmp_path / "cpu.max").write_text(quota)
    assert available_processes() == processes


def test_shared_memory_of_nothing_and_of_too_much():
    assert shared(np.zeros((0, 3))).shape == (0, 3)
    with pytest.raises(MemoryError):
        shared(np.broadcast_to(np.uint8(0), (2**62,)))
