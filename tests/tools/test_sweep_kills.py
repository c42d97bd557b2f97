"""A sweep whose leader, nannies and workers are killed at random moments."""

import random
import subprocess
import time
from collections import Counter

import pytest

from tests.support.cluster import Cluster
from tests.support.faults import SEED, times
from tests.support.sweeps import AXES, Sweeps, clones_below, finish, states, wait_until_none_works_below

pytestmark = pytest.mark.slow
pytest.importorskip("distributed", reason="make test-all installs it")

KILLS = 6  # with FAULTS_SCALE=10, 60
WORKERS = ["one", "two"]


def test_workers_nannies_and_leader_killed_at_any_moment(sweeps, undisturbed, tmp_path, count):
    """Each point ends once, with the files of an undisturbed sweep, and nothing is left."""
    cluster = Cluster(tmp_path)
    try:
        for name in WORKERS:
            cluster.start_worker(name)
        cluster.ask(time.monotonic)  # once they have come
        chance = random.Random(SEED)
        expected = None
        while count["SIGKILL"] < times(KILLS):
            count["sweeps"] += 1
            prefix = f"killed{count['sweeps']}"
            disturb(sweeps, prefix, cluster, chance, count)
            found = sweeps.files(prefix)
            expected = expected or found
            assert found.keys() == undisturbed.keys()
            assert found == expected

        # When a sweep starts, workers remove what dead ones have left
        wait_until_none_works_below(tmp_path)
        printed = sweeps.run(prefix, *AXES, "--again", on=cluster)
        assert states(printed) == ["same bytes"] * len(undisturbed)
        assert clones_below(tmp_path) == []
    finally:
        cluster.stop()


def disturb(sweeps: Sweeps, prefix: str, cluster: Cluster, chance: random.Random, count: Counter[str]) -> None:
    """Kill something at random moments, and start the sweep until it ends well."""
    process = sweeps.start(prefix, *AXES, on=cluster)
    while count["SIGKILL"] < times(KILLS) and process.poll() != 0:
        time.sleep(chance.uniform(0, 4))  # an experiment takes some seconds
        whom = chance.choice(["leader", "worker", "nanny", "both"])
        if whom == "leader":
            process.kill()
            count["SIGKILL"] += 1
        else:
            count["SIGKILL"] += cluster.kill(chance.choice(WORKERS), whom)
        if process.poll() not in (None, 0):
            said_no_more_than_lost(process)
            process = sweeps.start(prefix, *AXES, on=cluster)
    while said_no_more_than_lost(process):
        process = sweeps.start(prefix, *AXES, on=cluster)


def said_no_more_than_lost(process: subprocess.Popen[str]) -> int:
    """Wait for a sweep and return its exit code. It may have lost an experiment whose worker died again and again."""
    code, printed = finish(process)
    assert set(states(printed)) <= {"done", "known", "same bytes", "lost"}, printed
    return code
