"""The whole pipeline by `dvc repro`, on a few hundred real digits."""

import csv
import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml

from tests.support.project import ROOT, Project, changed_params

FOLDERS = ["data", "models", "metrics"]
OUTPUTS = [
    "data/raw/train-images-idx3-ubyte",
    "data/raw/train-labels-idx1-ubyte",
    "data/raw/t10k-images-idx3-ubyte",
    "data/raw/t10k-labels-idx1-ubyte",
    "data/prepared/train.npz",
    "data/prepared/validation.npz",
    "data/prepared/test.npz",
    "models/mlp.npz",
    "models/training/train.json",
    "models/training/validation.json",
    "models/training/history.csv",
    "models/evaluation/test.json",
    "models/evaluation/classes.json",
    "models/evaluation/confusion.csv",
    "models/evaluation/misclassified.npz",
    "metrics/train.json",
    "metrics/validation.json",
    "metrics/history.csv",
    "metrics/test.json",
    "metrics/classes.json",
    "metrics/confusion.csv",
]


def test_repro_makes_everything_once(project):
    """One long test: each step needs the one before, and DVC takes a second or two to start."""
    project.run("dvc", "repro")
    for name in OUTPUTS:
        assert (project.folder / name).is_file(), name
    figures = sorted((project.folder / "metrics" / "figures").iterdir())
    assert figures
    for figure in figures:
        assert figure.read_bytes().startswith(b"\x89PNG"), figure

    metrics = json.loads((project.folder / "metrics" / "test.json").read_text())
    assert 0.5 < metrics["accuracy"] <= 1, "chance is 0.1"
    history = list(csv.DictReader((project.folder / "metrics" / "history.csv").open()))
    assert len(history) > 10
    confusion = list(csv.reader((project.folder / "metrics" / "confusion.csv").open()))
    assert len(confusion) == 1 + 200, "one line for each test image"

    # `dvc push` takes only what DVC caches, and finds it by its content
    files = [file for folder in ("models", "metrics") for file in (project.folder / folder).rglob("*.*")]
    cached = {file.read_bytes() for file in files if "models" in file.parts}
    assert [file for file in files if "metrics" in file.parts and file.read_bytes() not in cached] == []

    # Nothing changes without cause
    lock = (project.folder / "dvc.lock").read_bytes()
    again = project.run("dvc", "repro")
    assert again.stdout.count("didn't change, skipping") == 5
    assert "Running" not in again.stdout
    assert (project.folder / "dvc.lock").read_bytes() == lock
    assert "up to date" in project.run("dvc", "status").stdout

    assert "accuracy" in project.run("dvc", "metrics", "show").stdout
    dag = project.run("dvc", "dag", "--dot").stdout
    for arrow in ["download->preprocess", "preprocess->train", "train->evaluate", "evaluate->plot"]:
        assert arrow in dag.replace('"', "").replace(" ", "")

    # A knob turned: what reads it runs again, and only that
    project.set_params(project.small | {"train.hidden_sizes": [20]})
    changed = project.run("dvc", "repro").stdout
    for stage, runs in {"download": False, "preprocess": False, "train": True, "evaluate": True, "plot": True}.items():
        assert (f"Running stage '{stage}'" in changed) == runs, stage
    assert "hidden_sizes" in project.run("dvc", "params", "diff").stdout


def contents(project: Project) -> dict[str, bytes]:
    """Return the bytes of each file that the stages wrote, by path."""
    files = [file for folder in FOLDERS for file in (project.folder / folder).rglob("*") if file.is_file()]
    return {
        file.relative_to(project.folder).as_posix(): file.read_bytes() for file in files if file.name != ".gitignore"
    }


def test_same_parameters_again_run_no_stage(project):
    """DVC restores all outputs from its cache: after a change and back, in an experiment, after a deletion."""
    project.run("dvc", "repro")
    first = contents(project)
    assert first.keys() > set(OUTPUTS)
    project.commit("Results")

    project.run("dvc", "exp", "run", "--set-param", "preprocess.seed=1")
    second = contents(project)
    assert second["metrics/train.json"] != first["metrics/train.json"]

    project.set_params(project.small)
    assert "Running stage" not in project.run("dvc", "repro").stdout
    assert contents(project) == first

    again = project.run("dvc", "exp", "run", "--set-param", "preprocess.seed=1")
    assert "Running stage" not in again.stdout
    assert contents(project) == second

    for folder in FOLDERS:
        shutil.rmtree(project.folder / folder)
    assert "Running stage" not in project.run("dvc", "repro").stdout
    assert contents(project) == second


def test_second_clone_runs_no_stage(project):
    """Over a remote, a clone gets the results of the committed parameters, and of others that were pushed."""
    folder = project.folder.parent
    project.run("dvc", "remote", "add", "--default", "storage", str(folder / "storage"))
    project.run("dvc", "repro")
    committed = contents(project)
    project.commit("Results")
    project.run("dvc", "push", "--run-cache")
    project.set_params(project.small | {"preprocess.seed": 1})
    project.run("dvc", "repro")
    others = contents(project)
    assert others["metrics/train.json"] != committed["metrics/train.json"]
    project.run("dvc", "push", "--run-cache")

    clone = Project(folder / "clone")
    project.run("git", "clone", "--quiet", ".", str(clone.folder))
    in_git = {path: content for path, content in committed.items() if path.startswith("metrics/")}
    assert contents(clone) == in_git
    assert "accuracy" in clone.run("dvc", "metrics", "show").stdout

    assert "Running stage" not in clone.run("dvc", "repro", "--pull").stdout
    assert contents(clone) == committed

    clone.set_params(project.small | {"preprocess.seed": 1})
    assert "Running stage" not in clone.run("dvc", "repro", "--pull").stdout
    assert contents(clone) == others


def test_dvc_shows_the_metrics_and_draws_each_chart_once(project):
    project.run("dvc", "repro")
    drawn = json.loads(project.run("dvc", "plots", "show", "--json").stdout)["data"]
    figures = sorted(path.name for path in (project.folder / "metrics" / "figures").iterdir())
    names = ["history.csv", "confusion.csv", "classes.json", *(f"figures/{name}" for name in figures)]
    assert sorted(drawn) == sorted(f"metrics/{name}" for name in names)
    assert all(len(charts) == 1 for charts in drawn.values())
    (shown,) = json.loads(project.run("dvc", "metrics", "show", "--json").stdout).values()
    assert list(shown["data"]) == ["metrics/train.json", "metrics/validation.json", "metrics/test.json"]


def test_bad_parameter_stops_with_one_sentence(project):
    project.set_params(project.small | {"download.dataset": "mnits"})
    result = project.run("dvc", "repro", check=False)
    assert result.returncode != 0
    assert "did you mean mnist?" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_a_list_of_params_yaml_can_be_set_and_emptied(project):
    """DVC's `-S` keeps the comments of params.yaml. One beside a list would break the file when the list is emptied."""
    committed = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (project.folder / "params.yaml").write_text(committed, encoding="utf-8")
    for value in ([100], [], [30, 20]):
        project.run("dvc", "exp", "run", "--set-param", f"train.hidden_sizes={value}", "download")
        text = (project.folder / "params.yaml").read_text(encoding="utf-8")
        assert yaml.safe_load(text) == changed_params({"train.hidden_sizes": value})
        assert text.count("#") == committed.count("#")


@pytest.mark.slow
def test_shallow_clone_loses_experiments_until_it_is_unshallowed(project):
    """The tour says so. If the first half fails, DVC has mended this and the tour need not say it."""
    project.run("git", "-c", "user.name=You", "-c", "user.email=a@example.com", "commit", "-qm", "2", "--allow-empty")
    clone = Project(project.folder.parent / "clone")
    project.run("git", "clone", "--quiet", "--depth", "1", project.folder.as_uri(), str(clone.folder))
    clone.run("dvc", "exp", "run", "--temp", "--name", "lost", "download")
    assert clone.run("dvc", "exp", "list", "--name-only").stdout == ""

    clone.run("git", "fetch", "--unshallow")
    clone.run("dvc", "exp", "run", "--temp", "--name", "kept", "download")
    assert clone.run("dvc", "exp", "list", "--name-only").stdout == "kept\n"


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_archive_without_git_is_told_what_to_do_before_anything_is_installed(tmp_path):
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    identity = {f"GIT_{role}_{key}": "a@b" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    outside = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }  # of `make test`
    environment = outside | identity | {"GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}

    def run(command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, shell=True, capture_output=True, text=True)
        return done.stdout + done.stderr

    refused = run("make repro PYTHON='touch installed; false'")
    assert refused.startswith("error: this folder is not a Git repository")
    assert not (tmp_path / "installed").exists()

    run(refused.splitlines()[0].partition("make it one: ")[2])
    assert "Git" not in run("make repro PYTHON='touch installed; false'")
    assert (tmp_path / "installed").exists()


@pytest.mark.parametrize("stage", ["download", "preprocess", "train", "evaluate", "plot"])
def test_python_of_another_environment_is_one_sentence(stage):
    done = subprocess.run([sys.executable, "-S", "-m", f"stages.{stage}"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {sys.executable} lacks the pipeline's packages; activate its environment")
    assert done.stderr.count("\n") == 1
