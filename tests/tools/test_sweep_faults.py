"""Sweeps on this machine's cores."""

import sys

import pytest

from tests.support.sweeps import (
    AXES,
    LONG,
    POINTS,
    clones_below,
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
    dvc = sweeps.project.dvc
    assert set(names) <= set(dvc("exp", "list", "--name-only").split())
    assert "validation accuracy" in sweeps.project.run(sys.executable, "-m", "tools.compare", "local-*").stdout
    dvc("exp", "apply", "--quiet", names[0])
    assert "Data and pipelines are up to date." in dvc("status")
    sweeps.project.run("git", "restore", ".")
    dvc("checkout", "--quiet")
    assert sweeps.run("local", *AXES) == f"{POINTS} experiments, {POINTS} of them known.\n"


def test_a_stage_that_fails_fails_the_sweep(sweeps):
    printed = sweeps.run("bad", "-S", "train.learning_rate=0.5,1e300", code=1)
    found = [row[1:3] for row in rows(printed)]
    assert found == [["train.learning_rate=0.5", "done"], ["train.learning_rate=1e+300", "failed"]]
    assert "train.learning_rate=1e+300: failed\n" in printed
    assert "error: training diverged" in printed
    assert clones_below(sweeps.project.folder) == []


def test_what_cannot_work_is_refused_before_anything_runs(sweeps):
    alone = sweeps.run("alone", "-S", "train.seed=5", "--workers", "1", "--control", "0.1", code=1)
    assert "there is only one" in alone
    cache = sweeps.project.folder / ".dvc" / "cache"
    cache.rename(cache.with_name("away"))
    printed = sweeps.run("nothing", "-S", "train.seed=8", code=1)
    cache.with_name("away").rename(cache)
    assert printed.splitlines()[1].startswith("error: DVC's cache lacks ")


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
    assert [name, "OTHER BYTES"] in [row[0:3:2] for row in rows(printed)]
    assert "other bytes in metrics/test.json" in printed
    assert states(printed).count("same bytes") == POINTS - 1


def test_ctrl_c_stops_a_sweep_and_leaves_nothing(sweeps):
    process = sweeps.start("stopped", *LONG)
    wait_for_log(process, sweeps.project.folder, "Training: epoch")
    stop_within_10_seconds(process, sweeps.project.folder)


def test_a_killed_sweep_leaves_no_process(sweeps):
    folder = sweeps.project.folder
    process = sweeps.start("killed", *LONG)
    wait_for_log(process, folder, "Training: epoch")
    process.kill()
    process.communicate()
    wait_until_none_works_below(folder)
    sweeps.run("killed", "-S", "train.seed=0")
    assert clones_below(folder) == [], "the next sweep removes the clones"
