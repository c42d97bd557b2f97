"""Sweeps on this machine's cores, and on workers elsewhere: over TLS, with two remotes."""

import os
import random
import re
import signal
import sys
import time
from collections.abc import Iterator

import pytest

from tests.support.cluster import Cluster
from tests.support.faults import SEED, times
from tests.support.project import Project
from tests.support.sweeps import (
    Sweeps,
    clones_below,
    ended,
    rows,
    states,
    trees,
    wait_for_log,
    wait_until_none_works,
)

pytestmark = pytest.mark.slow
pytest.importorskip("distributed", reason="make test-all installs it")

ONE, AXES = ["-S", "train.seed=0"], ["-S", "train.seed=0,1,2"]
POINTS = 3
LONG = [*AXES, "-S", "train.iterations=200000"]


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory) -> Sweeps:
    """A project with remotes, to start sweeps in. Its folder has a name that needs quotes."""
    return Sweeps(tmp_path_factory.mktemp("sweeps") / "a, b #1")


@pytest.fixture(scope="module")
def undisturbed(sweeps) -> dict[str, str]:
    """The files of each experiment of an undisturbed sweep on this machine. Two are controlled."""
    printed = sweeps.run("local", *AXES, "--workers", "2", "--control", "0.4")
    assert sorted(states(printed)) == ["done"] * POINTS + ["same bytes"] * 2
    places = {(name, worker) for name, _, _, worker, *_ in rows(printed)}
    assert len(places) == POINTS + 2, "controls are elsewhere"
    found = trees(printed)
    assert len(found) == len(set(found.values())) == POINTS
    return found


def test_a_sweep_makes_ordinary_experiments(sweeps, undisturbed):
    names = [f"local-{name}" for name in undisturbed]
    dvc = sweeps.project.dvc
    assert set(names) <= set(dvc("exp", "list", "--name-only").split())
    compared = sweeps.project.run(sys.executable, "-m", "tools.compare", "local-*")
    assert "validation accuracy" in compared.stdout
    dvc("exp", "apply", "--quiet", names[0])
    assert "Data and pipelines are up to date." in dvc("status")
    sweeps.project.run("git", "restore", ".")
    dvc("checkout", "--quiet")
    assert sweeps.run("local", *AXES) == f"{POINTS} experiments, {POINTS} of them known.\n"


def test_a_stage_that_fails_fails_the_sweep(sweeps):
    printed = sweeps.run("bad", "-S", "train.learning_rate=0.5,1e300", code=1)
    found = sorted(row[1:3] for row in rows(printed))
    assert found == [["train.learning_rate=0.5", "done"], ["train.learning_rate=1e+300", "failed"]]
    assert "error: training diverged" in printed
    assert clones_below(sweeps.project.folder) == []


def test_what_cannot_work_is_refused_before_anything_runs(sweeps):
    printed = sweeps.run("alone", *ONE, "--workers", "1", "--control", "0.1", code=1)
    assert "there is only one" in printed
    cache = sweeps.project.folder / ".dvc" / "cache"
    cache.rename(cache.with_name("away"))
    printed = sweeps.run("nothing", *ONE, code=1)
    cache.with_name("away").rename(cache)
    assert printed.splitlines()[1].startswith("error: DVC's cache lacks ")


def test_other_bytes_are_noticed(sweeps, undisturbed):
    """The known experiment gets other metrics, as if another machine had made it."""
    run = sweeps.project.run
    name = f"local-{next(iter(undisturbed))}"
    refs = [line.split()[-1] for line in run("git", "for-each-ref").stdout.splitlines()]
    (ref,) = (ref for ref in refs if ref.endswith(name))
    rev = run("git", "rev-parse", ref).stdout.strip()
    branch = run("git", "branch", "--show-current").stdout.strip()
    run("git", "checkout", "--quiet", "--force", "--detach", rev)
    metrics = sweeps.project.folder / "metrics" / "test.json"
    metrics.write_text(metrics.read_text().replace("0.", "0.0"))
    sweeps.project.commit("Tamper")
    run("git", "update-ref", ref, "HEAD")
    run("git", "checkout", "--quiet", branch)
    try:
        printed = sweeps.run("local", *AXES, "--again", code=1)
    finally:
        run("git", "update-ref", ref, rev)
    assert [name, "OTHER BYTES"] in [row[0:3:2] for row in rows(printed)]
    assert "other bytes in metrics/test.json" in printed
    assert states(printed).count("same bytes") == POINTS - 1


@pytest.mark.parametrize("killed", [False, True], ids=["Ctrl-C", "killed"])
def test_a_sweep_that_is_stopped_leaves_no_process_and_no_clone(sweeps, killed):
    """Ctrl-C goes to all processes. What a killed sweep leaves, the next one removes."""
    process, folder = sweeps.start("stopped", *LONG), sweeps.project.folder
    wait_for_log(process, folder, "Running stage 'train'")
    if killed:
        process.kill()
        process.communicate()
    else:
        os.killpg(process.pid, signal.SIGINT)
        ended(process, 130)
    wait_until_none_works(folder)
    if killed:
        sweeps.run("stopped", *ONE)
    assert clones_below(folder) == []


# Workers elsewhere


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    """A scheduler with two workers."""
    found = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        found.start_workers("one", "two")
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
    printed = sweeps.run("foreign", *ONE, on=cluster, code=1)
    cluster.config = certified
    assert "cannot be reached" in printed


def test_two_leaders_at_once_and_a_git_remote_that_refuses_pushes_for_a_while(
    sweeps, undisturbed, cluster
):
    """There is one result."""
    hook = sweeps.origin / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\ntouch refused; exit 1\n")
    hook.chmod(0o755)
    both = [sweeps.start("leaders", *ONE, on=cluster) for _ in range(2)]
    while not (sweeps.origin / "refused").exists():
        assert both[0].poll() is None
        time.sleep(0.1)
    assert sweeps.files("leaders") == {}
    hook.unlink()
    for process in both:
        assert trees(ended(process, 0)).items() <= undisturbed.items()
    assert len(sweeps.files("leaders")) == 1


# Changes the metrics of every second result, the first included
TAMPER = """
import atexit, sys
from pathlib import Path
def tamper():
    count = Path(__file__).with_name("count")
    count.write_text(count.read_text() + "x")
    if len(count.read_text()) % 2:
        metrics = Path("metrics/test.json")
        metrics.write_text(metrics.read_text().replace("0.", "0.0"))
if "stages.evaluate" in sys.orig_argv:
    atexit.register(tamper)
"""


def test_a_worker_that_makes_other_bytes_gets_no_more_work(sweeps, cluster, printed, tmp_path):
    """Nothing that it made becomes an experiment. The next sweep makes what is missing."""
    (tmp_path / "sitecustomize.py").write_text(TAMPER)
    (tmp_path / "count").touch()
    cluster.start_workers("bad", PYTHONPATH=str(tmp_path))
    words = ["trust", *AXES, "--control", "1"]
    said = sweeps.run(*words, on=cluster, code=1)
    (other,) = [row for row in rows(said) if row[2] == "OTHER BYTES"]
    assert re.search("^bad@.*made other bytes", said, re.MULTILINE)
    assert other[0] not in sweeps.project.dvc("exp", "list", "--name-only")
    found, count = sweeps.files(words[0]), (tmp_path / "count").read_text()
    assert found.items() < sweeps.files("tls").items()
    assert set(states(sweeps.run(*words, on=cluster))) == {"done", "same bytes"}
    assert sweeps.files(words[0]) == sweeps.files("tls")
    assert (tmp_path / "count").read_text() == count
    sweeps.project.run(sys.executable, "-m", "tools.compare", f"{words[0]}-*")


def test_workers_nannies_and_leader_killed_at_any_moment(sweeps, cluster, printed):
    """Each point ends once, with the files of an undisturbed sweep, and nothing is left."""
    chance, number = random.Random(SEED), 0
    victims = ["leader", "worker", "nanny", "both"] * times(1)
    chance.shuffle(victims)
    while victims:
        number += 1
        words, process = [f"killed{number}", *AXES], None
        while process is None or process.returncode != 0:
            process = sweeps.start(*words, on=cluster)
            while victims and process.poll() is None:
                time.sleep(chance.uniform(0, 4))  # an experiment takes some seconds
                whom = victims.pop()
                if whom == "leader":
                    process.kill()
                else:
                    cluster.kill(chance.choice(["one", "two"]), whom)
            said = ended(process)  # an experiment may be lost if its worker dies again and again
            assert set(states(said)) <= {"done", "known", "same bytes", "lost"}, said
        assert sweeps.files(words[0]) == sweeps.files("tls")
    # When a sweep starts, workers remove what dead ones have left
    wait_until_none_works(cluster.folder)
    assert states(sweeps.run("tls", *ONE, "--again", on=cluster)) == ["same bytes"]
    assert clones_below(cluster.folder) == []


def test_a_scheduler_that_dies_ends_the_sweep(sweeps, cluster):
    """The last test: the cluster is of no use then."""
    process = sweeps.start("orphans", *LONG, on=cluster)
    wait_for_log(process, cluster.folder, "Running stage 'train'")
    cluster.stop("scheduler")
    printed = ended(process, 1)
    assert states(printed) == ["lost"] * 3
    assert "the scheduler has gone" in printed
    wait_until_none_works(cluster.folder)
