"""Two processes train the network of one process, whatever happens to the second one."""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlp.team
from mlp.arithmetic import ARITHMETICS
from mlp.network import Preparation, Split
from mlp.team import Team, available_processes, cut_evenly, shared
from mlp.training import DivergedError, measure, new_state, train
from tests.support.networks import ZSCORE, bits, method, new_network, run, some_digits
from tests.support.project import ROOT

both = pytest.mark.parametrize("arithmetic", list(ARITHMETICS))
forks = pytest.mark.skipif(sys.platform != "linux", reason="there is a second process on Linux alone")
WATCHED = [some_digits(500, 600)]
MOST_WAITING = mlp.team.MOST_WAITING  # as it is before the fixture changes it


@pytest.fixture(autouse=True)
def together_to_the_end(monkeypatch):
    """Whatever else the machine does, the two processes stay together; and none is left over."""
    monkeypatch.setattr(mlp.team, "MOST_WAITING", 1.0)
    before = children()
    yield
    assert children() == before


def children() -> list[psutil.Process]:
    return psutil.Process().children()


# Two processes


@forks
@both
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("hidden", [(), (50,), (31, 20)], ids=str)
@pytest.mark.parametrize("batch_size", [1, 33, 100])
def test_two_processes_train_the_same_network(arithmetic, activation, hidden, batch_size):
    found = []
    for processes in (1, 2):
        network = new_network(arithmetic, hidden, activation, 0.05, ZSCORE)
        training = some_digits(0, 350)
        epochs = run(network, 12, batch_size, 0.1, training=training, watched=WATCHED, processes=processes)
        found.append((network, epochs))
    (one, alone), (two, together) = found
    if arithmetic == "exact":
        assert bits(one) == bits(two)
        assert alone == together
    for left, right in zip(one.weights + one.biases, two.weights + two.biases, strict=True):
        assert np.abs(left - right).max() <= 1e-4 * np.abs(left).max()


@forks
def test_float32_gives_the_same_bits_whichever_process_runs_a_part(monkeypatch):
    together, alone = new_network("float32"), new_network("float32")
    run(together, 40, processes=2)
    monkeypatch.setattr(os, "fork", refuse)
    run(alone, 40, processes=2)
    assert bits(together) == bits(alone)


@forks
def test_accuracy_is_measured_by_two_as_by_one():
    network = new_network()
    run(network, 20)
    assert measure(network, *WATCHED, processes=2) == measure(network, *WATCHED)


def test_there_is_one_process_unless_two_are_asked_for(monkeypatch):
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("a second process"), raising=False)
    network = new_network()
    run(network, 2, training=some_digits(0, 100))
    measure(network, *WATCHED)


@forks
def test_one_pixel_and_one_image_are_enough_for_two():
    split = Split(np.array([[200]], np.uint8), np.array([[0, 1]], np.uint8))
    preparation = Preparation(0.0, 1 / 255, (1, 1), ("a", "b"))
    found = []
    for processes in (1, 2):
        network = new_network("exact", [3], "relu", 0.5, preparation)
        epochs = run(network, 5, 1, 0.1, training=split, watched=[split], processes=processes)
        found.append((bits(network), epochs))
    assert found[0] == found[1]
    assert found[0][1][-1].loss < found[0][1][0].loss


@forks
@pytest.mark.filterwarnings("error")
@both
@pytest.mark.parametrize(("layer", "pixel"), [(1, 100), (1, 701), (2, 3)], ids=["leader's", "worker's", "of both"])
def test_divergence_is_named_by_either_process(arithmetic, layer, pixel):
    network = new_network(arithmetic, activation="relu", preparation=ZSCORE)
    network.weights[layer - 1][pixel, 0] = np.nan  # the worker has every second pixel
    with pytest.raises(DivergedError) as caught:
        list(start(network))
    assert (caught.value.iteration, caught.value.layer) == (1, layer)


# Ends


def start(network, iterations=40, batch_size=50):
    """Return training by two processes, ready to begin."""
    how = method(iterations, batch_size, 0.5)
    return train(new_state(network, how), some_digits(0, 500), how, WATCHED, 2)


@forks
def test_worker_of_an_abandoned_training_ends():
    epochs = start(new_network(), iterations=10**6)
    next(epochs)
    assert len(children()) == 1
    epochs.close()
    assert children() == []


@forks
def test_two_trainings_by_turns():
    trainings = [start(new_network(seed=seed), iterations=30) for seed in (0, 1)]
    for number in (1, 2):
        assert [next(epochs).epoch for epochs in trainings] == [number, number]
    for epochs in trainings:
        epochs.close()


@forks
def test_system_that_removes_ended_children_itself():
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert len(list(start(new_network(), iterations=20))) == 2
        epochs = start(new_network())
        next(epochs)
        epochs.close()
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_shared_memory_of_nothing():
    assert shared(np.zeros((0, 3))).shape == (0, 3)


def test_memory_that_the_system_refuses():
    with pytest.raises(MemoryError):
        shared(np.broadcast_to(np.uint8(0), (2**62,)))


@forks
@pytest.mark.parametrize("moment", ["in a step", "between epochs"])
def test_leader_notices_that_the_worker_was_killed(moment):
    epochs = start(new_network(), iterations=10**6)
    next(epochs)
    (worker,) = children()
    if moment == "in a step":
        threading.Timer(0.3, worker.kill).start()
    else:
        worker.kill()
    began = time.monotonic()
    with pytest.raises(ChildProcessError, match="ended early"):
        list(epochs)
    assert time.monotonic() - began < 10


@forks
def test_leader_stops_waiting_for_a_worker_that_hangs(monkeypatch):
    monkeypatch.setattr(mlp.team, "LONGEST_WAIT", 5)  # naps
    epochs = start(new_network(), iterations=10**6)
    next(epochs)
    (worker,) = children()
    worker.suspend()
    with pytest.raises(ChildProcessError):
        list(epochs)
    assert not worker.is_running()


@forks
def test_leader_waits_for_a_worker_that_computes(monkeypatch):
    def task():
        end = time.monotonic() + 2
        while os.getpid() != leader and time.monotonic() < end:
            pass

    leader = os.getpid()
    monkeypatch.setattr(mlp.team, "LONGEST_WAIT", 5)  # naps: one second
    team = Team(2)
    with team.start(task):
        team.run(0)


LEADER = """
from tests.mlp.test_team import new_network, start
for epoch in start(new_network(), iterations=10**6):
    print(epoch.epoch, flush=True)
"""


@forks
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_worker_ends_with_its_leader(number):
    leader = subprocess.Popen(
        [sys.executable, "-c", LEADER], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    leader.stdout.readline()
    (worker,) = psutil.Process(leader.pid).children()
    leader.send_signal(number)
    try:
        worker.wait(60)
    finally:
        leader.kill()
        leader.communicate(timeout=60)


@forks
def test_ctrl_z_and_fg_change_nothing(monkeypatch):
    monkeypatch.setattr(mlp.team, "LONGEST_WAIT", 10)
    epochs = start(new_network(), iterations=60)
    first = next(epochs)
    (worker,) = children()
    pause = threading.Timer(1.0, worker.resume)  # in fewer naps than the leader's patience has
    worker.suspend()
    pause.start()
    assert [first.epoch, *(epoch.epoch for epoch in epochs)] == [1, 2, 3, 4, 5, 6]
    pause.join()


CTRL_C = """
import signal, sys
from tests.mlp.test_team import new_network, start
signal.signal(signal.SIGINT, signal.default_int_handler)
epochs = start(new_network(), iterations=60)
print(next(epochs).epoch, flush=True)
sys.stdin.readline()
print(*(epoch.epoch for epoch in epochs))
"""


@pytest.fixture
def leader():
    """A process of its own, in a session of its own, that trains with a worker and waits for a line after an epoch."""
    leader = subprocess.Popen(
        [sys.executable, "-c", CTRL_C],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert leader.stdout.readline() == "1\n"
    yield leader
    leader.kill()
    leader.communicate()


@forks
def test_ctrl_c_does_not_disturb_the_worker(leader):
    (worker,) = psutil.Process(leader.pid).children()
    worker.send_signal(signal.SIGINT)
    assert leader.communicate("\n", timeout=60) == ("2 3 4 5 6\n", "")


@forks
def test_ctrl_c_at_a_terminal_ends_both_with_one_traceback(leader):
    (worker,) = psutil.Process(leader.pid).children()
    os.killpg(leader.pid, signal.SIGINT)
    _, traceback = leader.communicate(timeout=60)
    assert traceback.count("Traceback (most recent call last):") == 1
    assert traceback.endswith("\nKeyboardInterrupt\n")
    assert not worker.is_running()


@forks
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("something unforeseen", "something unforeseen"),
        ("a very long story " * 1000, "a very long story " * 50),
        ("the file \udcff", r"the file \?"),  # a name that is not UTF-8
        ("€" * 5000, "€€€"),  # cut within a character
    ],
    ids=["short", "long", "not UTF-8", "long and not ASCII"],
)
def test_error_in_the_worker_is_shown(text, shown):
    def task():
        if 1 in team.parts:
            raise RuntimeError(text)

    team = Team(2)
    with team.start(task), pytest.raises(ChildProcessError, match=rf"failed \(RuntimeError: {shown}"):
        team.run(0)


@forks
def test_worker_can_be_terminated_whatever_the_leader_does_then():
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        epochs = start(new_network(), iterations=10**6)
        next(epochs)
        children()[0].terminate()
        with pytest.raises(ChildProcessError, match="ended early"):
            list(epochs)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_nothing_of_a_task_is_kept_after_the_end():
    def task():
        pass

    team, kept = Team(1), weakref.ref(task)
    with team.start(task):
        team.run(0)
    del task
    assert kept() is None


@forks
def test_leader_sees_the_workers_error_where_the_worker_met_it():
    """The worker fails after they have met. A leader that is slow to come must not see it at the meeting already."""
    team, met = Team(2), []

    def task():
        if 0 in team.parts:
            send = team._signal
            team._signal = lambda: (send(), time.sleep(0.2))
        team.meet()
        met.append(True)
        if 1 in team.parts:
            raise FloatingPointError("after the meeting")

    with team.start(task), pytest.raises(FloatingPointError, match="after the meeting"):
        team.run(0)
    assert met


@forks
def test_worker_killed_at_its_start_is_an_error(monkeypatch):
    begin_with(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(ChildProcessError), Team(2).start(print):
        pass


# Where a second process cannot be had, or had better not


def begin_with(monkeypatch, what):
    """Have every new process do something before anything else."""

    def fork():
        if (number := real_fork()) == 0:
            what()
        return number

    real_fork = os.fork
    monkeypatch.setattr(os, "fork", fork)


def refuse(*_):
    raise BlockingIOError(11, "Resource temporarily unavailable")


@forks
@pytest.mark.parametrize("what", ["processes", "semaphores"])
def test_leader_runs_all_parts_if_the_system_refuses_a_process(monkeypatch, what):
    one, refused = new_network(), new_network()
    epochs = run(one, 40, watched=WATCHED)
    if what == "processes":
        monkeypatch.setattr(os, "fork", refuse)
    else:
        monkeypatch.setattr(multiprocessing.get_context("fork"), "Semaphore", refuse)
    open_files = len(os.listdir("/proc/self/fd"))
    assert run(refused, 40, watched=WATCHED, processes=2) == epochs
    assert bits(refused) == bits(one)
    assert len(os.listdir("/proc/self/fd")) == open_files


@forks
def test_leader_runs_all_parts_if_no_more_files_can_be_opened():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    run(new_network(), 10, processes=2)  # so that all is imported
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, hard))
    try:
        epochs = run(new_network(), 20, watched=WATCHED, processes=2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert epochs == run(new_network(), 20, watched=WATCHED)


@forks
def test_worker_without_a_signal_is_killed_and_the_leader_runs_all_parts(monkeypatch):
    monkeypatch.setattr(mlp.team, "LONGEST_START", 2)  # naps
    begin_with(monkeypatch, lambda: time.sleep(600))
    network, expected = new_network(), new_network()
    assert run(network, 20, processes=2) == run(expected, 20)
    assert bits(network) == bits(expected)


@forks
@pytest.mark.filterwarnings("error")
def test_in_a_process_that_has_threads():
    # From Python 3.12 on, a fork beside threads brings a DeprecationWarning
    stop = threading.Event()
    threads = [threading.Thread(target=busy, args=[stop]) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            assert run(new_network(), 20, processes=2)[-1].iteration == 20
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def busy(stop):
    x = np.ones((100, 100))
    while not stop.is_set():
        x = np.tanh(x @ x)


DAEMON = """
import multiprocessing
from tests.mlp.test_team import bits, children, new_network, start

def work():
    network = new_network()
    for epoch in start(network, iterations=20):
        workers = len(children())
    print(workers, bits(network))

process = multiprocessing.get_context("fork").Process(target=work, daemon=True)
process.start()
process.join()
"""


@forks
def test_in_a_daemonic_process():
    done = subprocess.run([sys.executable, "-c", DAEMON], cwd=ROOT, capture_output=True, text=True, timeout=60)
    network = new_network()
    list(start(network, iterations=20))
    assert done.stdout.split() == ["1", bits(network)], done.stderr


@forks
def test_leader_goes_on_alone_when_it_waits_for_the_worker_most_of_the_time(monkeypatch):
    leader, together = os.getpid(), {"slow": 0, "even": 0}

    def task(name, leaders, workers):
        together[name] += len(team.parts) == 1
        time.sleep(leaders if os.getpid() == leader else workers)

    monkeypatch.setattr(mlp.team, "MOST_WAITING", MOST_WAITING)
    team = Team(2)
    with team.start(lambda: task("slow", 0, 0.03), lambda: task("even", 0.03, 0)):
        for _ in range(12):
            team.run(0)
            team.run(1)
    assert 2 <= together["slow"] <= 5  # alone for 1, then 2, 4, 8 times: 4 where nothing disturbs them
    assert together["even"] >= 8  # in which the worker is quick


def test_as_many_processes_as_processors(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {5} if process == 0 else {0, 5, 6}, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert available_processes() == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5, 6} if process == 0 else {5})
    assert available_processes() == 2
    monkeypatch.setattr(sys, "platform", "darwin")
    assert available_processes() == 1


@given(st.integers(0, 100), st.integers(1, 9))
def test_cut_evenly_covers_all_in_order(n, parts):
    cut = cut_evenly(n, parts)
    assert [i for part in cut for i in range(n)[part]] == list(range(n))
    assert max(part.stop - part.start for part in cut) - min(part.stop - part.start for part in cut) <= 1
