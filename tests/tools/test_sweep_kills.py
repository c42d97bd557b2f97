"""A sweep whose leader, nannies and workers are killed at random moments."""

import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from tests.support.cluster import Cluster
from tests.support.faults import SEED, times
from tests.support.sweeps import Sweeps, finish, left_behind, states

pytestmark = pytest.mark.slow
pytest.importorskip("distributed", reason="make test-all installs it")

AXES = ["-S", "train.seed=0,1,2", "-S", "train.activation=sigmoid,tanh"]
POINTS = 6
KILLS = 10  # with FAULTS_SCALE=10, 100
WORKERS = ["one", "two"]


def test_workers_nannies_and_leader_killed_at_any_moment(tmp_path, count):
    """Each point ends once, with the files of an undisturbed sweep, and nothing is left."""
    sweeps = Sweeps(tmp_path, without="plot")  # it takes as long as all others
    cluster = Cluster(tmp_path)
    try:
        for name in WORKERS:
            cluster.start_worker(name)
        began = time.monotonic()
        printed = sweeps.run("undisturbed", *AXES, on=cluster)
        point = (time.monotonic() - began) * len(WORKERS) / POINTS  # seconds
        undisturbed = sweeps.files("undisturbed")
        assert len(undisturbed) == POINTS

        chance = random.Random(SEED)
        while count["SIGKILL"] < times(KILLS):
            count["sweeps"] += 1
            prefix = f"killed{count['sweeps']}"
            disturb(partial(sweeps.start, prefix, *AXES, on=cluster), cluster, chance, point, count)
            assert sweeps.files(prefix) == undisturbed
            count["points"] += POINTS

        # When a sweep starts, workers remove what dead ones have left
        printed = sweeps.run(prefix, "-S", "train.seed=0", "--again", on=cluster)
        assert [state for _, state in states(printed)] == ["same bytes"]
        assert left_behind(tmp_path) == []
    finally:
        cluster.stop()


def disturb(
    start: Callable[[], subprocess.Popen[str]],
    cluster: Cluster,
    chance: random.Random,
    point: float,
    count: Counter[str],
) -> None:
    """Kill something at random moments, at most half a point's time apart, and start the sweep until it ends well."""
    process = start()
    while count["SIGKILL"] < times(KILLS) and process.poll() != 0:
        time.sleep(chance.uniform(0, point / 2))
        whom = chance.choice(["leader", "worker", "nanny", "both"])
        if whom == "leader":
            process.kill()
            count["SIGKILL"] += 1
            count["leaders"] += 1
        else:
            count["SIGKILL"] += cluster.kill(chance.choice(WORKERS), whom)
        if process.poll() not in (None, 0):
            said_no_more_than_lost(process)
            process = start()
    while said_no_more_than_lost(process):
        process = start()


def said_no_more_than_lost(process: subprocess.Popen[str]) -> int:
    """Wait for a sweep and return its exit code. It may have lost an experiment whose worker died again and again."""
    code, printed = finish(process)
    assert {state for _, state in states(printed)} <= {"done", "known", "same bytes", "lost"}, printed
    return code
