"""`tools.report`, between the commits of a small DVC project: changes and refusals."""

from pathlib import Path
from statistics import fmean, stdev

import pytest
from typer.testing import CliRunner

from pipeline.program.errors import UserError
from tests.support.project import Project
from tests.support.tables import cells
from tools.lock import commit_of as commit
from tools.report import figures, main, outputs, usual_base

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


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Three commits: no results, results at rate 1, results at rate 2."""
    project = Project(tmp_path_factory.mktemp("made") / "project")
    project.folder.mkdir()
    (project.folder / "stage.py").write_text(STAGE)
    (project.folder / "dvc.yaml").write_text(PIPELINE)
    (project.folder / "params.yaml").write_text("train: {rate: 1, seed: 0}\n")
    project.run("git", "init", "-q", "-b", "main")
    project.dvc("init", "-q")
    project.commit("Begin")
    for rate in (1, 2):
        (project.folder / "params.yaml").write_text(f"train: {{rate: {rate}, seed: 0}}\n")
        project.dvc("repro", "-q")
        project.commit(f"Rate {rate}")
    return project.folder


def report(*words: str) -> str:
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_report_writes_into_its_folder_alone(small):
    """Whatever the settings of DVC say that came with a clone."""
    small.dvc("config", "-q", "core.site_cache_dir", "../victim")
    report()
    assert not Path("../victim").exists()


def test_a_report_shows_what_changed_and_what_did_not(small):
    """Experiments of HEAD with several seeds are in it, too."""
    for seed in (0, 2):
        small.dvc("exp", "run", "-q", "-S", f"train.seed={seed}", "-S", "train.rate=1")
    small.run("git", "checkout", "-q", "--force", "HEAD")
    text = report()
    now, then = commit("HEAD")[:7], commit("HEAD~1")[:7]
    assert text.startswith(f"## {now} compared with {then}\n")
    rows = cells(text)
    assert ["metrics/test.json", "accuracy", "0.125", "0.25", "0.125"] in rows
    assert ["params.yaml", "train.rate", "1", "2"] in rows
    assert "train.seed" not in text
    spread = f"{fmean([0.125, 0.15625]):.4f} ± {stdev([0.125, 0.15625]):.4f}"
    half, quarter = "0.5000 ± 0.0000", "0.2500 ± 0.0000"
    assert ["all", "2", spread, half, spread, half, quarter] in rows
    answers = {row[0]: row[-1] for row in rows if row[-1] in ("yes", "no")}
    assert answers["`models/fitted`"] == answers["`metrics/figures`"] == "no"
    assert answers["`models/constant`"] == "yes"
    assert "1 of the 5 outputs of both have the same bytes; 0 are new, 0 removed." in text
    assert ["`metrics/figures/curve.png`", "in Git", "in Git"] in rows
    assert "still.png" not in text


def test_a_report_says_why_experiments_cannot_be_compared(small):
    """Training may have diverged in one."""
    small.dvc("exp", "run", "-q", "--name", "bad", "-S", "train.rate=nan")
    small.run("git", "checkout", "-q", "--force", "HEAD")
    assert "the experiment bad lacks parameters, or finite metrics" in report()


def test_a_report_of_a_commit_that_has_no_results_before_it(small):
    text = report("HEAD~2", "HEAD~1")
    assert ["metrics/test.json", "accuracy", "-", "0.125", "-"] in cells(text)
    assert "### Parameters\n\nNo changes.\n" in text
    assert f"{commit('HEAD~2')[:7]} has no dvc.lock, so there is nothing to compare." in text
    assert "Experiments" not in text
    result = CliRunner().invoke(main, ["HEAD", "v9"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: there is no commit, tag or experiment v9 ")


def test_the_usual_base_is_where_the_branch_left_main(small):
    left = commit("HEAD~1")
    small.run("git", "checkout", "-q", "-b", "mine", "HEAD~1")
    for name in ("one", "two"):
        Path(name).touch()
        small.commit(name)
    assert usual_base() == left
    small.run("git", "update-ref", "refs/remotes/origin/main", "HEAD~1")
    assert usual_base() == commit("HEAD~1"), "a fork's own main may be old"
    small.run("git", "checkout", "-q", "main")
    small.run("git", "update-ref", "refs/remotes/origin/main", "HEAD")
    assert usual_base() == "HEAD~1"


def test_only_the_changed_outputs_of_the_records_are_shown(small):
    Path("records").mkdir()
    outs = "{path: x, md5: '11'}, {path: y, md5: '2222'}, {path: z, md5: '33'}"
    lock = f"stages: {{a: {{outs: [{outs}]}}}}"
    for text in (lock, lock.replace("2222", "2223").replace("z", "new"), f"{lock} # \udce9"):
        Path("records", "dvc.lock").write_text(text, errors="surrogateescape")  # a byte of Latin-1
        small.commit("Record")
    text = report("HEAD~2", "HEAD~1").partition("### Outputs in records/dvc.lock")[2]
    text = text.partition("###")[0]
    assert "1 of the 2 outputs of both have the same bytes; 1 are new, 1 removed." in text
    assert cells(text)[2:] == [["`y`", "2222", "2223", "no"]]
    rows = cells(outputs("records/dvc.lock", commit("HEAD~2"), commit("HEAD~1")))
    assert rows[-2:] == [["`new`", "-", "33", "new"], ["`z`", "33", "-", "removed"]]
    with pytest.raises(UserError, match=rf"{commit('HEAD')[:7]}:records.dvc\.lock is not valid\.$"):
        outputs("records/dvc.lock", commit("HEAD~1"), commit("HEAD"))


def test_figures_are_images_if_the_remote_has_a_web_address(small):
    Path("metrics", "figures", "added.png").write_text("new")
    Path("metrics", "figures", "still.png").unlink()
    small.commit("Add and remove")
    before, after = commit("HEAD~2"), commit("HEAD")
    raw = "![](https://example.com/you/mine/raw"
    then, now = (f"{raw}/{revision}/metrics/figures" for revision in (before, after))
    small.run("git", "remote", "add", "origin", "../elsewhere")
    for remote in ("https://name:secret@example.com/you/mine.git", "git@example.com:you/mine.git"):
        small.run("git", "remote", "set-url", "origin", remote)
        assert cells(figures(before, after))[2:] == [
            ["`metrics/figures/added.png`", "-", f"{now}/added.png)"],
            ["`metrics/figures/curve.png`", f"{then}/curve.png)", f"{now}/curve.png)"],
            ["`metrics/figures/still.png`", f"{then}/still.png)", "-"],
        ]
