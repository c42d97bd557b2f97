"""Sweeps on workers elsewhere: over TLS, with a Git remote and a DVC remote."""

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.faults import SEED, times
from tests.support.project import Project
from tests.support.sweeps import (
    AXES,
    LONG,
    POINTS,
    clones_below,
    ended,
    finish,
    rows,
    states,
    stop_within_10_seconds,
    trees,
    wait_for_log,
    wait_until_none_works_below,
)

pytestmark = pytest.mark.slow
pytest.importorskip("distributed", reason="make test-all installs it")

KILLS = 6  # with FAULTS_SCALE=10, 60


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    """A scheduler with two workers."""
    found = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        found.start_worker("one")
        found.start_worker("two")
        found.ask(os.getpid)  # once they have come
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def printed(sweeps, cluster) -> str:
    """What a sweep on the cluster prints that nothing disturbs."""
    return sweeps.run("tls", *AXES, on=cluster)


def test_workers_elsewhere_make_the_same_files(sweeps, undisturbed, cluster, printed, tmp_path):
    assert states(printed) == ["done"] * POINTS
    assert trees(printed) == undisturbed
    assert sweeps.files("tls").keys() == undisturbed.keys()
    assert clones_below(cluster.folder) == []
    # The two remotes are enough to get a model
    sweeps.project.run("git", "clone", "-q", str(sweeps.origin), str(tmp_path / "elsewhere"))
    there = Project(tmp_path / "elsewhere")
    name = rows(printed)[0][0]
    there.dvc("exp", "pull", "--quiet", "origin", name)
    there.dvc("exp", "apply", "--quiet", name)
    assert (there.folder / "models" / "mlp.npz").exists()


def test_who_has_no_certificate_is_refused(sweeps, cluster, tmp_path):
    certified, cluster.config = cluster.config, tmp_path / "none.yaml"
    cluster.config.touch()
    printed = sweeps.run("foreign", "-S", "train.seed=0", on=cluster, code=1)
    cluster.config = certified
    assert "cannot be reached" in printed


def test_ctrl_c_stops_workers_elsewhere(sweeps, cluster):
    process = sweeps.start("interrupted", *LONG, on=cluster)
    wait_for_log(process, cluster.folder, "Training: epoch")
    stop_within_10_seconds(process, cluster.folder)
    assert sweeps.files("interrupted") == {}


def test_two_leaders_at_once_and_a_git_remote_that_refuses_pushes_for_a_while(sweeps, undisturbed, cluster):
    """There is one result for each point."""
    with sweeps.refusing_pushes():
        both = [sweeps.start("leaders", *AXES, on=cluster) for _ in range(2)]
        wait_for_log(both[0], cluster.folder, "not now")
        assert sweeps.files("leaders") == {}
    for process in both:
        assert trees(ended(process)).items() <= undisturbed.items()
    assert sweeps.files("leaders").keys() == undisturbed.keys()
    printed = sweeps.run("leaders", *AXES, "--again", on=cluster)
    assert (states(printed), trees(printed)) == (["same bytes"] * POINTS, undisturbed)


def test_a_killed_training_goes_on_on_another_worker(sweeps, cluster, tmp_path):
    """The workers share a folder for checkpoints."""
    words = ["moved", "-S", "train.iterations=8000", "--home", str(tmp_path)]
    process = sweeps.start(*words, on=cluster)
    log = wait_for_log(process, tmp_path, "Running stage 'train'")
    while not list(tmp_path.glob("checkpoints/*")):
        assert log.exists(), "the training is too short"
        time.sleep(0.1)
    victim, other = ("one", "two") if cluster.owns("one", log.parent) else ("two", "one")
    cluster.kill(victim, "both", again=False)
    wait_for_log(process, tmp_path, "Training continues after epoch")
    cluster.start_worker(victim)
    ((_, _, state, worker, *_),) = rows(ended(process))
    assert (state, worker.endswith(f"-{other}")) == ("done", True)
    assert states(sweeps.run(*words, "--again", on=cluster)) == ["same bytes"]
    assert clones_below(tmp_path) == []


def test_workers_nannies_and_leader_killed_at_any_moment(sweeps, cluster, printed):
    """Each point ends once, with the files of an undisturbed sweep, and nothing is left."""
    chance, count = random.Random(SEED), Counter[str]()
    while count["SIGKILL"] < times(KILLS):
        count["sweeps"] += 1
        words = [f"killed{count['sweeps']}", *AXES]
        code = None
        while code != 0:
            process = sweeps.start(*words, on=cluster)
            while count["SIGKILL"] < times(KILLS) and process.poll() is None:
                time.sleep(chance.uniform(0, 4))  # an experiment takes some seconds
                whom = chance.choice(["leader", "worker", "nanny", "both"])
                if whom == "leader":
                    process.kill()
                    count["SIGKILL"] += 1
                else:
                    count["SIGKILL"] += cluster.kill(chance.choice(["one", "two"]), whom)
            code, said = finish(process)  # an experiment may be lost if its worker dies again and again
            assert set(states(said)) <= {"done", "known", "same bytes", "lost"}, said
        assert sweeps.files(words[0]) == sweeps.files("tls")
    # When a sweep starts, workers remove what dead ones have left
    wait_until_none_works_below(cluster.folder)
    assert states(sweeps.run(*words, "--again", on=cluster)) == ["same bytes"] * POINTS
    assert clones_below(cluster.folder) == []


def test_a_scheduler_that_dies_ends_the_sweep(sweeps, tmp_path: Path):
    cluster = Cluster(tmp_path)
    try:
        cluster.start_worker("one")
        cluster.ask(os.getpid)
        process = sweeps.start("orphans", *LONG, on=cluster)
        wait_for_log(process, tmp_path, "Training: epoch")
        cluster.stop("scheduler")
        printed = ended(process, 1)
        assert states(printed) == ["lost"] * 3
        assert "the scheduler has gone" in printed
        wait_until_none_works_below(tmp_path)
    finally:
        cluster.stop()
