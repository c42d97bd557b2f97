"""Sweeps on workers elsewhere: over TLS, with a Git remote and a DVC remote."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, dask_config
from tests.support.project import ROOT, Project
from tests.support.sweeps import (
    AXES,
    POINTS,
    ended,
    left_behind,
    rows,
    states,
    stop_within_10_seconds,
    trees,
    wait_for_log,
    wait_until_none_works_below,
)
from tools.portable.environments import FOR_UV

pytestmark = pytest.mark.slow
pytest.importorskip("distributed", reason="make test-all installs it")

LONG = ["-S", "train.iterations=200000"]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler without workers."""
    found = Cluster(tmp_path)
    yield found
    found.stop()


@pytest.fixture
def two_workers(cluster: Cluster) -> Cluster:
    """A scheduler with two workers. A sweep that starts before they have come would refuse the scheduler."""
    cluster.start_worker("one")
    cluster.start_worker("two")
    cluster.ask(os.getpid)
    return cluster


@pytest.fixture(scope="session")
def other_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another version of Python, with all packages."""
    this = ".".join(platform.python_version_tuple()[:2])
    other = "3.12" if this == "3.13" else "3.13"
    folder = tmp_path_factory.mktemp("python")
    uv = [sys.executable, "-m", "uv", "--quiet"]
    python = folder / "bin" / "python"
    requirements = ["-r", str(ROOT / "requirements.txt"), "-r", str(ROOT / "tools" / "sweep" / "requirements.txt")]
    if subprocess.run([*uv, "venv", "--clear", "--python", other, str(folder)], env=os.environ | FOR_UV).returncode:
        pytest.skip(f"this machine has no Python {other}, and uv fetches none")
    subprocess.run([*uv, "pip", "install", "--python", str(python), *requirements], check=True)
    return python


def test_workers_elsewhere_make_the_same_files(sweeps, undisturbed, two_workers):
    printed = sweeps.run("tls", *AXES, on=two_workers)
    assert [state for _, state in states(printed)] == ["done"] * POINTS
    assert trees(printed) == undisturbed
    assert left_behind(two_workers.folder) == []
    # The two remotes are enough to get a model
    sweeps.project.run("git", "clone", "-q", str(sweeps.origin), "../elsewhere")
    there = Project(sweeps.folder / "elsewhere")
    name = states(printed)[0][0]
    there.run("dvc", "exp", "pull", "--quiet", "origin", name)
    there.run("dvc", "exp", "apply", "--quiet", name)
    assert (there.folder / "models" / "mlp.npz").exists()


def test_another_python_with_another_processors_kernels_makes_the_same_files(
    sweeps, undisturbed, cluster, other_python
):
    cluster.start_worker("other", str(other_python), OPENBLAS_CORETYPE="Prescott")
    assert cluster.ask(platform.python_version) != {"other": platform.python_version()}
    assert cluster.ask(os.getenv, "OPENBLAS_CORETYPE") == {"other": "Prescott"}
    assert trees(sweeps.run("python", *AXES, on=cluster)) == undisturbed


def test_a_client_without_certificate_is_refused(sweeps, cluster, tmp_path):
    cluster.config = dask_config(tmp_path / "others")
    assert "cannot be reached" in sweeps.run("foreign", "-S", "train.seed=0", on=cluster, code=1)


def test_a_worker_with_other_packages_is_refused(sweeps, cluster, tmp_path):
    other = tmp_path / "packages" / "numpy-0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Name: numpy\nVersion: 0.1\n")
    cluster.start_worker("other", PYTHONPATH=str(other.parent))
    cluster.ask(platform.python_version)
    printed = sweeps.run("packages", "-S", "train.seed=0", on=cluster, code=1)
    assert "has other packages than requirements.txt says: numpy 0.1 for " in printed


def test_ctrl_c_stops_workers_elsewhere(sweeps, two_workers):
    process = sweeps.start("interrupted", "-S", "train.seed=0,1,2", *LONG, on=two_workers)
    wait_for_log(process, two_workers.folder, "Training: epoch")
    stop_within_10_seconds(process)
    assert left_behind(two_workers.folder) == []
    assert sweeps.pushed("interrupted") == {}


def test_a_scheduler_that_dies_ends_the_sweep(sweeps, two_workers):
    process = sweeps.start("orphans", "-S", "train.seed=0,1,2", *LONG, on=two_workers)
    wait_for_log(process, two_workers.folder, "Training: epoch")
    two_workers.stop("scheduler")
    printed = ended(process, 1)
    assert [state for _, state in states(printed)] == ["lost"] * 3
    assert "the scheduler has gone" in printed
    wait_until_none_works_below(two_workers.folder)


def test_two_leaders_at_once_have_one_result_for_each_point(sweeps, undisturbed, two_workers):
    both = [sweeps.start("leaders", *AXES, on=two_workers) for _ in range(2)]
    for process in both:
        assert trees(ended(process)).items() <= undisturbed.items()
    assert sweeps.pushed("leaders").keys() == undisturbed.keys()
    assert trees(sweeps.run("leaders", *AXES, "--again", on=two_workers)) == undisturbed


def test_a_git_remote_that_refuses_pushes_for_a_while(sweeps, undisturbed, two_workers, tmp_path):
    refuse = tmp_path / "refuse"
    refuse.touch()
    hook = sweeps.origin / "hooks" / "pre-receive"
    hook.write_text(f"#!/bin/sh\n[ ! -e {refuse} ] || {{ echo not now >&2; exit 1; }}\n")
    hook.chmod(0o755)
    process = sweeps.start("refused", *AXES, on=two_workers)
    try:
        wait_for_log(process, two_workers.folder, "not now")
        assert sweeps.pushed("refused") == {}
        refuse.unlink()
        assert trees(ended(process)) == undisturbed
    finally:
        hook.unlink()
    assert sweeps.pushed("refused").keys() == undisturbed.keys()


@pytest.mark.parametrize(
    ("prefix", "axis", "reached"),
    [("pulling", "train.seed=2,3", ""), ("pushing", "train.iterations=4000,4001", "Running stage 'train'")],
)
def test_a_dvc_remote_that_fails_for_a_while(sweeps, two_workers, prefix, axis, reached):
    """It fails when a worker pulls from it, or when a worker pushes into it."""
    away = sweeps.storage.with_name("away")
    process = sweeps.start(prefix, "-S", axis, on=two_workers) if reached else None
    try:
        if process:
            wait_for_log(process, two_workers.folder, reached)
        sweeps.storage.rename(away)
        sweeps.storage.touch()
        process = process or sweeps.start(prefix, "-S", axis, on=two_workers)
        wait_for_log(process, two_workers.folder, "ERROR: ")
    finally:
        if away.exists():
            sweeps.storage.unlink()
            away.rename(sweeps.storage)
    assert [state for _, state in states(ended(process))] == ["done"] * 2
    assert len(sweeps.pushed(prefix)) == 2
    assert left_behind(two_workers.folder) == []


def test_a_killed_training_goes_on_on_another_worker(sweeps, two_workers, tmp_path):
    """The workers share a folder for checkpoints."""
    home = tmp_path / "shared"
    words = ["moved", "-S", "train.iterations=12000", "--home", str(home)]
    process = sweeps.start(*words, on=two_workers)
    log = wait_for_log(process, home, "Running stage 'train'")
    while not list(home.glob("checkpoints/*")):
        assert log.exists(), "the training is too short"
        time.sleep(0.1)
    victim, other = ("one", "two") if two_workers.owns("one", log.parent) else ("two", "one")
    two_workers.kill(victim, "both", again=False)
    wait_for_log(process, home, "Training continues after epoch")
    ((_, _, state, worker, *_),) = rows(ended(process))
    assert (state, worker.endswith(f"-{other}")) == ("done", True)
    assert [state for _, state in states(sweeps.run(*words, "--again", on=two_workers))] == ["same bytes"]
    assert left_behind(home) == []
