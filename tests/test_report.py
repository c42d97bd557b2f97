"""`tools.report`, between the commits of a small DVC project: what it says changed, and what it refuses."""

import shutil
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

import pytest

from tests.conftest import ROOT, Project

STAGE = """\
import json, pathlib, yaml
params = yaml.safe_load(open('params.yaml'))['train']
for folder in ('models', 'metrics/figures'):
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
accuracy = params['rate'] / 8 + params['seed'] / 64
for part in ('validation', 'test'):
    metrics = {'accuracy': accuracy, 'loss': 0.5, 'macro_f1': 0.25}
    pathlib.Path(f'metrics/{part}.json').write_text(json.dumps(metrics))
pathlib.Path('models/fitted').write_text(str(accuracy))
pathlib.Path('models/constant').write_text('the same')
pathlib.Path('metrics/figures/curve.png').write_text(str(params['rate']))
pathlib.Path('metrics/figures/still.png').write_text('the same')
"""
PIPELINE = """\
stages:
  make:
    cmd: python stage.py
    params: [train]
    outs: [models/fitted, models/constant]
    metrics: [metrics/validation.json: {cache: false}, metrics/test.json: {cache: false}]
    plots: [metrics/figures: {cache: false}]
"""


def with_rate(project: Project, rate: int) -> None:
    (project.folder / "params.yaml").write_text(f"train: {{rate: {rate}, seed: 0}}\n")
    project.run("dvc", "repro", "-q")
    project.commit(f"Rate {rate}")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Three commits: no results, results at rate 1, results at rate 2."""
    project = Project(tmp_path_factory.mktemp("made") / "project")
    project.folder.mkdir()
    (project.folder / "stage.py").write_text(STAGE)
    (project.folder / "dvc.yaml").write_text(PIPELINE)
    (project.folder / "params.yaml").write_text("train: {rate: 1, seed: 0}\n")
    project.run("git", "init", "-q", "-b", "main")
    project.run("dvc", "init", "-q")
    project.commit("Begin")
    with_rate(project, 1)
    with_rate(project, 2)
    return project.folder


@pytest.fixture
def small(made, tmp_path) -> Project:
    """A copy of that project, for one test."""
    shutil.copytree(made, tmp_path / "project")
    return Project(tmp_path / "project")


def report(project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    project.environment["PYTHONPATH"] = str(ROOT)
    return project.run(sys.executable, "-m", "tools.report", *words, check=False)


def rows(result: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """Return the cells of all tables, without their heads."""
    assert result.returncode == 0, result.stderr
    lines = [line.strip("|").split("|") for line in result.stdout.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines]


def short(project: Project, revision: str) -> str:
    return project.run("git", "rev-parse", revision).stdout[:7]


def test_report_shows_what_changed_and_what_did_not(small):
    result = report(small, "HEAD~1")
    found = rows(result)
    assert ["metrics/test.json", "accuracy", "0.125", "0.25", "0.125"] in found
    assert ["params.yaml", "train.rate", "1", "2"] in found
    assert "train.seed" not in result.stdout
    answers = {row[0]: row[-1] for row in found if row[-1] in ("yes", "no")}
    assert answers["`models/fitted`"] == answers["`metrics/figures`"] == "no"
    assert answers["`models/constant`"] == "yes"
    assert "1 of 5 outputs have the same bytes." in result.stdout
    assert ["`metrics/figures/curve.png`", "in Git", "in Git"] in found
    assert "still.png" not in result.stdout
    assert "Experiments" not in result.stdout


def test_report_of_a_commit_against_itself_has_no_changes(small):
    result = report(small, "HEAD")
    assert result.stdout.count("No changes.") == 3  # metrics, parameters, figures
    assert "5 of 5 outputs have the same bytes." in result.stdout
    assert {row[-1] for row in rows(result)[2:]} == {"yes"}


def test_report_compares_with_the_commit_where_the_branch_left_main(small):
    on_main = report(small).stdout
    assert on_main.startswith(f"## {short(small, 'HEAD')} compared with {short(small, 'HEAD~1')}\n")
    small.run("git", "checkout", "-q", "-b", "mine", "HEAD~1")
    for rate in (3, 4):
        with_rate(small, rate)
    assert ["params.yaml", "train.rate", "1", "4"] in rows(report(small))
    assert ["params.yaml", "train.rate", "4", "2"] in rows(report(small, "mine", "main")), "any two commits"


def test_records_are_summarised(small):
    (small.folder / "records").mkdir()
    lock = "stages: {a: {outs: [{path: x, md5: '11'}, {path: y, md5: '22'}, {path: z, md5: '33'}]}}"
    for text in (lock, lock.replace("22", "44").replace("z", "new")):
        (small.folder / "records" / "dvc.lock").write_text(text)
        small.commit("Record")
    result = report(small, "HEAD~1")
    assert "1 of 4 outputs have the same bytes." in result.stdout
    changed = [["`y`", "22", "44", "no"], ["`new`", "-", "33", "no"], ["`z`", "33", "-", "no"]]
    found = rows(result)
    assert all(row in found for row in changed)
    assert "`x`" not in result.stdout


@pytest.mark.parametrize(
    "remote",
    ["https://name:secret@example.com/you/mine.git", "git@example.com:you/mine.git", "https://example.com/you/mine"],
)
def test_figures_are_images_where_the_remote_has_a_web_address(small, remote):
    (small.folder / "metrics" / "figures" / "added.png").write_text("new")
    (small.folder / "metrics" / "figures" / "still.png").unlink()
    small.commit("Add and remove")
    small.run("git", "remote", "add", "origin", remote)
    result = report(small, "HEAD~2")
    hashes = [small.run("git", "rev-parse", revision).stdout.strip() for revision in ("HEAD~2", "HEAD")]
    images = [f"![](https://example.com/you/mine/raw/{revision}/metrics/figures/{{}})" for revision in hashes]
    found = rows(result)
    assert ["`metrics/figures/curve.png`", *(image.format("curve.png") for image in images)] in found
    assert ["`metrics/figures/added.png`", "-", images[1].format("added.png")] in found
    assert ["`metrics/figures/still.png`", images[0].format("still.png"), "-"] in found
    assert "secret" not in result.stdout


def test_experiments_with_several_seeds_are_summarised(small):
    for seed in (0, 2, 5):
        small.run("dvc", "exp", "run", "-q", "-S", f"train.seed={seed}", "-S", "train.rate=1")
    small.run("dvc", "exp", "run", "-q", "-S", "train.seed=0", "-S", "train.rate=4")
    small.run("git", "checkout", "-q", "--force", "HEAD")
    accuracies = [1 / 8 + seed / 64 for seed in (0, 2, 5)]
    result = report(small)
    spread = f"{mean(accuracies):.4f} ± {stdev(accuracies):.4f}"
    expected = ["train.rate=1", "3", spread, "0.5000 ± 0.0000", spread, "0.5000 ± 0.0000", "0.2500 ± 0.0000"]
    found = rows(result)
    assert expected in found
    assert not any("train.rate=4" in row for row in found), "one seed has no spread"
    assert "Experiments" not in report(small, "HEAD", "HEAD~1").stdout, "they belong to HEAD"


def test_a_base_without_results_has_nothing_to_compare(small):
    result = report(small, "HEAD~2")
    assert f"{short(small, 'HEAD~2')} has no dvc.lock, so there is nothing to compare." in result.stdout
    assert ["metrics/test.json", "accuracy", "-", "0.25", "-"] in rows(result)


def test_an_unknown_revision_is_one_sentence(small):
    small.run("git", "clone", "-q", "--depth", "1", f"file://{small.folder}", str(small.folder / "shallow"))
    shallow = Project(small.folder / "shallow")
    for project, words, name in ((small, ["v9"], "v9"), (small, ["HEAD", "v9"], "v9"), (shallow, [], "HEAD~1")):
        result = report(project, *words)
        assert (result.returncode, result.stdout) == (1, "")
        (sentence,) = result.stderr.splitlines()
        assert sentence.startswith(f"error: Git knows no commit {name}; ")


def test_a_damaged_lock_of_the_base_is_named(small):
    (small.folder / "dvc.lock").write_text("stages: [")
    small.commit("Damage")
    (small.folder / "dvc.lock").write_text("stages: {}")
    small.commit("Mend")
    result = report(small, "HEAD~1")
    assert (result.returncode, result.stdout) == (1, "")
    assert f"error: {short(small, 'HEAD~1')}:dvc.lock is not valid" in result.stderr
