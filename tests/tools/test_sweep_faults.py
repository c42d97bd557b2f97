"""Sweeps on this machine's cores."""

import sys
import time

import pytest

from tests.support.sweeps import (
    AXES,
    POINTS,
    Sweeps,
    left_behind,
    rows,
    states,
    stop_within_10_seconds,
    wait_for_log,
    wait_until_none_works_below,
)

pytestmark = pytest.mark.slow
pytest.importorskip("distributed", reason="make test-all installs it")


def test_a_sweep_makes_ordinary_experiments(sweeps, undisturbed):
    names = [f"local-{name}" for name in undisturbed]
    run = sweeps.project.run
    assert set(names) <= set(run("dvc", "exp", "list", "--name-only").stdout.split())
    assert "train.activation=tanh" in run(sys.executable, "-m", "tools.compare", "local-*").stdout
    run("dvc", "exp", "apply", "--quiet", names[0])
    assert run("dvc", "status").stdout.strip() == "Data and pipelines are up to date."
    run("git", "restore", ".")
    run("dvc", "checkout", "--quiet")
    assert sweeps.run("local", *AXES) == f"{POINTS} experiments, {POINTS} of them known.\n"


def test_a_stage_that_fails_fails_the_sweep(sweeps):
    printed = sweeps.run("bad", "-S", "train.learning_rate=0.5,1e300", code=1)
    found = [row[1:3] for row in rows(printed)]
    assert found == [["train.learning_rate=0.5", "done"], ["train.learning_rate=1e+300", "failed"]]
    assert "train.learning_rate=1e+300: failed\n" in printed
    assert "error: training diverged" in printed
    assert not left_behind(sweeps.project.folder)


def test_controls_run_on_another_worker(sweeps):
    printed = sweeps.run("control", "-S", "train.seed=5,6,7", "--workers", "2", "--control", "0.7")
    assert [state for _, state in states(printed)] == ["done"] * 3 + ["same bytes"] * 3
    assert len({(name, worker) for name, _, _, worker, *_ in rows(printed)}) == 6, printed
    printed = sweeps.run("alone", "-S", "train.seed=5", "--workers", "1", "--control", "0.1", code=1)
    assert "there is only one" in printed


def test_missing_data_are_named_before_anything_runs(sweeps):
    cache = sweeps.project.folder / ".dvc" / "cache"
    cache.rename(cache.with_name("away"))
    try:
        printed = sweeps.run("nothing", "-S", "train.seed=8", code=1)
    finally:
        cache.with_name("away").rename(cache)
    assert printed.splitlines()[1].startswith("error: DVC's cache lacks ")


def test_a_folder_may_have_any_name(tmp_path):
    printed = Sweeps(tmp_path / "a, b #1").run("named", "-S", "train.seed=1")
    assert [state for _, state in states(printed)] == ["done"]


def test_other_bytes_are_noticed(sweeps, undisturbed):
    """The known experiment gets other metrics, as if another machine had made it."""
    run = sweeps.project.run
    name = f"local-{next(iter(undisturbed))}"
    (ref,) = (line.split()[-1] for line in run("git", "for-each-ref").stdout.splitlines() if line.endswith(name))
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
    assert (name, "OTHER BYTES") in states(printed)
    assert "other bytes in metrics/test.json" in printed
    assert [state for _, state in states(printed)].count("same bytes") == POINTS - 1


@pytest.mark.parametrize("seconds", [3, 7])  # while workers start, and while they work
def test_ctrl_c_stops_a_sweep_and_leaves_nothing(sweeps, seconds):
    process = sweeps.start("stopped", "-S", "train.seed=0,1,2,3", "-S", "train.iterations=200000")
    time.sleep(seconds)
    stop_within_10_seconds(process)
    assert left_behind(sweeps.project.folder) == []


def test_a_killed_sweep_leaves_no_process(sweeps):
    process = sweeps.start("killed", "-S", "train.seed=0,1", "-S", "train.iterations=200000")
    wait_for_log(process, sweeps.project.folder, "Training: epoch")
    process.kill()
    process.communicate()
    wait_until_none_works_below(sweeps.project.folder)
    sweeps.run("killed", "-S", "train.seed=0")
    assert left_behind(sweeps.project.folder) == [], "the next sweep removes the clones"
