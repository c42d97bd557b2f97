"""The whole pipeline by DVC, on a few hundred real digits."""

import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pipeline.store.arrays import load_arrays, save_arrays
from tests.support.flow import arguments, outs, refused, results, run_stage, written
from tests.support.project import ROOT, STAGES, Project

pytestmark = pytest.mark.usefixtures("dvc_streams")

REACHED = ["train", "evaluate", "plot"]  # by a change of train.seed


def ran(log: str) -> list[str]:
    """Return the stages of ours that DVC ran, by what it printed."""
    return [stage for stage in STAGES if f"Running stage '{stage}'" in log]


def test_repro_makes_every_output_and_nothing_again(project_with_results):
    """The results are those of `dvc repro`, which ran each stage's command. Run it once more."""
    project = project_with_results
    made, lock = results(project), (project.folder / "dvc.lock").read_bytes()
    for out in (out for stage in STAGES for out in outs(stage)):
        assert any(path == out or path.startswith(f"{out}/") for path in made), out
    figures = [content for path, content in made.items() if path.startswith("metrics/figures/")]
    assert {content[:4] for content in figures} == {b"\x89PNG"}
    assert 0.5 < json.loads(made["metrics/test.json"])["accuracy"] <= 1, "chance is 0.1"
    assert len(made["metrics/history.csv"].splitlines()) == 1 + 40, "one line for each epoch"
    assert len(made["metrics/confusion.csv"].splitlines()) == 1 + 200, "one for each test image"

    again = project.run("dvc", "repro").stdout
    assert all(f"Stage '{stage}' didn't change, skipping" in again for stage in STAGES)
    assert ran(again) == []
    assert results(project) == made
    assert (project.folder / "dvc.lock").read_bytes() == lock
    assert "up to date" in project.dvc("status")


def test_a_change_runs_what_it_reaches_and_known_parameters_run_nothing(project_with_results):
    """DVC restores all outputs. A clone gets the committed ones from the remote."""
    project = project_with_results
    first, changed = results(project), project.small | {"train.seed": 1}
    project.dvc("remote", "add", "--default", "storage", str(project.folder.parent / "storage"))
    project.set_params(changed)
    assert ran(project.dvc("repro")) == REACHED
    second = results(project)
    assert second["metrics/train.json"] != first["metrics/train.json"]
    assert "seed" in project.dvc("params", "diff")
    project.dvc("push", "--run-cache")

    project.set_params(project.small)
    assert ran(project.dvc("repro")) == []
    assert results(project) == first
    project.dvc("push", "--run-cache")

    for folder in ("data", "models", "metrics"):
        shutil.rmtree(project.folder / folder)
    assert ran(project.dvc("exp", "run", "--set-param", "train.seed=1")) == []
    assert results(project) == second

    clone = Project(project.folder.parent / "clone")
    project.run("git", "clone", "--quiet", ".", str(clone.folder))
    # The file names the remote
    shutil.copy(project.folder / ".dvc" / "config", clone.folder / ".dvc" / "config")
    assert results(clone) == {path: first[path] for path in first if path.startswith("metrics/")}
    assert ran(clone.dvc("repro", "--pull")) == []
    assert results(clone) == first
    clone.set_params(changed)
    # The remote lacks metrics: they are made again
    assert ran(clone.dvc("repro", "--pull")) == REACHED
    assert results(clone) == second


def test_dvc_shows_the_metrics_and_draws_each_chart_once(reproduced):
    drawn = json.loads(reproduced.dvc("plots", "show", "--json"))["data"]
    figures = sorted(path.name for path in (reproduced.folder / "metrics" / "figures").iterdir())
    names = ["history.csv", "confusion.csv", "classes.json"]
    names += [f"figures/{name}" for name in figures]
    assert {f"metrics/{name}" for name in names} <= set(drawn)
    assert all(len(charts) == 1 for charts in drawn.values())
    (shown,) = json.loads(reproduced.dvc("metrics", "show", "--json")).values()
    expected = {f"metrics/{name}.json" for name in ("train", "validation", "test")}
    assert expected <= set(shown["data"])
    dag = reproduced.dvc("dag", "--dot").replace('"', "").replace(" ", "")
    assert all(f"{before}->{after}" in dag for before, after in itertools.pairwise(STAGES))


@pytest.mark.parametrize("stage", ["train", "evaluate", "plot"])
def test_files_that_cannot_be_had_or_do_not_belong_together_are_refused(
    stage, project_with_results, monkeypatch
):
    monkeypatch.chdir(project_with_results.folder)
    files = [Path(path) for path in arguments(stage) if path not in outs(stage)]
    files = [path for path in files if path.suffix == ".npz"]
    for path in written(stage):
        Path(path).unlink()
    for path in files:
        content = path.read_bytes()
        path.unlink()
        refused(stage, run_stage(stage), path, "dvc repro")
        path.write_bytes(content)
    save_arrays(files[1], **(load_arrays(files[1]) | {"classes": np.array(list("abcdefghij"))}))
    refused(stage, run_stage(stage), files[0], str(files[1]), "dvc repro")


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_archive_without_git_is_told_what_to_do_before_anything_is_installed(tmp_path):
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    environment = dict(os.environ)
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):  # of a make that runs this test
        environment.pop(name, None)
    for role in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{role}_NAME": "a", f"GIT_{role}_EMAIL": "a@b"}
    environment["GIT_CEILING_DIRECTORIES"] = str(tmp_path.parent)

    def shell(command):
        options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
        return subprocess.run(command, shell=True, **options).stderr

    make = "make repro PYTHON='touch installed; false'"
    refused = shell(make).splitlines()[0]
    assert refused.startswith("error: this folder is not a Git repository")
    assert not (tmp_path / "installed").exists()
    shell(f"{refused.partition('make it one: ')[2]}; {make}")
    assert (tmp_path / "installed").exists()
