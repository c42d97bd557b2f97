"""Sweeps on this machine's cores."""

import sys
import time

import pytest

from faults.sweeps import (
    AXES,
    POINTS,
    Sweeps,
    finish,
    left_behind,
    rows,
    states,
    stop_within_10_seconds,
    trees,
    wait_for_log,
    working_below,
)

pytestmark = pytest.mark.slow
pytest.importorskip("distributed", reason="make slow and make faults install it")


def test_a_sweep_makes_ordinary_experiments(sweeps, undisturbed):
    names = [f"local-{name}" for name in undisturbed]
    run = sweeps.project.run
    assert set(names) <= set(run("dvc", "exp", "list", "--name-only").stdout.split())
    assert "train.activation=tanh" in run(sys.executable, "-m", "tools.compare", "local-*").stdout
    run("dvc", "exp", "apply", "--quiet", names[0])
    assert run("dvc", "status").stdout.strip() == "Data and pipelines are up to date."
    run("git", "restore", ".")
    run("dvc", "checkout", "--quiet")
    assert sweeps.sweep("local", *AXES) == (0, f"{POINTS} experiments, {POINTS} of them known.\n")


def test_a_stage_that_fails_fails_the_sweep(sweeps, undisturbed):
    code, printed = sweeps.sweep("bad", "-S", "train.learning_rate=0.5,1e300")
    assert code == 1
    assert [row[1:3] for row in rows(printed)] == [
        ["train.learning_rate=0.5", "done"],
        ["train.learning_rate=1e+300", "failed"],
    ]
    assert "train.learning_rate=1e+300: failed\n" in printed
    assert "error: training diverged" in printed
    assert not left_behind(sweeps.project.folder)


def test_a_recipe_makes_the_model_of_its_parameter_file(sweeps, tmp_path):
    changes = ["-S", "train.iterations=20", "-S", "preprocess.validation_size=100", "-S", "plot.dpi=50"]
    code, printed = sweeps.sweep("recipe", *changes, "--recipe", "records/dropout.yaml")
    assert code == 0, printed
    ((name, parameters, state, *_),) = rows(printed)
    assert (parameters.split(", ")[0], state) == ("records/dropout.yaml", "done")
    run = sweeps.project.run
    run("dvc", "exp", "apply", "--quiet", name)
    swept = (sweeps.project.folder / "models" / "mlp.npz").read_bytes()
    run("git", "restore", ".")
    run("dvc", "checkout", "--quiet")
    paths = ["data/prepared/train.npz", "data/prepared/validation.npz", tmp_path / "mlp.npz", tmp_path / "training"]
    words = [*map(str, paths), "--params", "records/dropout.yaml", *changes[:2]]
    run(sys.executable, "-m", "stages.train", *words)
    assert (tmp_path / "mlp.npz").read_bytes() == swept


def test_controls_run_on_another_worker(sweeps):
    code, printed = sweeps.sweep("control", "-S", "train.seed=5,6,7", "--workers", "2", "--control", "0.7")
    assert code == 0, printed
    assert [state for _, state in states(printed)] == ["done"] * 3 + ["same bytes"] * 3
    assert len({(name, worker) for name, _, _, worker, *_ in rows(printed)}) == 6, printed
    code, printed = sweeps.sweep("alone", "-S", "train.seed=5", "--workers", "1", "--control", "0.1")
    assert (code, "there is only one" in printed) == (1, True)


def test_missing_data_are_named_before_anything_runs(sweeps):
    cache = sweeps.project.folder / ".dvc" / "cache"
    cache.rename(cache.with_name("away"))
    try:
        code, printed = sweeps.sweep("nothing", "-S", "train.seed=8")
    finally:
        cache.with_name("away").rename(cache)
    assert (code, printed.splitlines()[1][:25]) == (1, "error: DVC's cache lacks ")


def test_a_folder_may_have_any_name(tmp_path):
    sweeps = Sweeps(tmp_path / "a, b #1")
    code, printed = sweeps.sweep("named", "-S", "train.seed=1")
    assert (code, [state for _, state in states(printed)]) == (0, ["done"]), printed


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
        code, printed = sweeps.sweep("local", *AXES, "--again")
    finally:
        run("git", "update-ref", ref, rev)
    assert code == 1
    assert (name, "OTHER BYTES") in states(printed)
    assert "other bytes in metrics/test.json" in printed
    assert [state for _, state in states(printed)].count("same bytes") == POINTS - 1


def test_two_sweeps_at_once_have_one_result_for_each_point(sweeps, undisturbed):
    both = [sweeps.start("twins", *AXES) for _ in range(2)]
    found: dict[str, set[str]] = {}
    for process in both:
        code, printed = finish(process)
        assert code == 0, printed
        for name, tree in trees(printed).items():
            found.setdefault(name, set()).add(tree)
    assert found == {name: {tree} for name, tree in undisturbed.items()}
    assert not left_behind(sweeps.project.folder)


@pytest.mark.parametrize("seconds", [3, 7])  # while workers start, and while they work
def test_ctrl_c_stops_a_sweep_and_leaves_nothing(sweeps, undisturbed, seconds):
    process = sweeps.start("stopped", "-S", "train.seed=0,1,2,3", "-S", "train.iterations=200000")
    time.sleep(seconds)
    stop_within_10_seconds(process)
    assert left_behind(sweeps.project.folder) == []


def test_a_killed_sweep_leaves_no_process(sweeps):
    process = sweeps.start("killed", "-S", "train.seed=0,1", "-S", "train.iterations=200000")
    wait_for_log(process, sweeps.project.folder, "Training: epoch")
    process.kill()
    process.communicate()
    ends = time.monotonic() + 60
    while (processes := working_below(sweeps.project.folder)) and time.monotonic() < ends:
        time.sleep(0.1)
    assert processes == []
    code, printed = sweeps.sweep("killed", "-S", "train.seed=0")
    assert code == 0, printed
    assert left_behind(sweeps.project.folder) == [], "the next sweep removes the clones"
