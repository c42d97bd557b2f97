"""What a sweep decides before it runs anything: points, names, what is refused. No test here needs Dask."""

import importlib.metadata
import io
import itertools
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from pipeline.program.errors import UserError
from pipeline.settings.params import load_params
from records.ledger import RECORDS
from tests.conftest import ROOT, Project
from tools.sweep.board import Board
from tools.sweep.cluster import shares
from tools.sweep.points import points
from tools.sweep.repository import pinned_packages
from tools.sweep.worker.clone import Clone, LostError, StageError, StoppedError, tail
from tools.sweep.worker.machine import differing_packages, remove_leftovers

PARAMS = ROOT / "params.yaml"

# Points


def changes(*axes: str) -> list[list[str]]:
    return [point.changes for point in points("x", list(axes), PARAMS, "0" * 40)]


def test_every_combination_is_a_point():
    assert changes("train.seed=0,1", "train.activation=relu,tanh") == [
        ["train.seed=0", "train.activation=relu"],
        ["train.seed=0", "train.activation=tanh"],
        ["train.seed=1", "train.activation=relu"],
        ["train.seed=1", "train.activation=tanh"],
    ]


def test_commas_in_brackets_belong_to_the_value():
    assert changes("train.hidden_sizes=[50, 20],[100],[]") == [
        ["train.hidden_sizes=[50, 20]"],
        ["train.hidden_sizes=[100]"],
        ["train.hidden_sizes=[]"],
    ]


def test_a_name_belongs_to_the_commit_and_to_all_parameters():
    def names(*axes: str, prefix="x", rev="0" * 40) -> list[str]:
        return [point.name for point in points(prefix, list(axes), PARAMS, rev)]

    (first, second) = names("train.seed=1,2")
    assert first != second
    assert first.startswith("x-")
    assert names("train.seed=2,1") == [second, first]
    assert names("train.seed=1", "train.activation=sigmoid") == [first], "the file's own value changes nothing"
    assert names("train.seed=1", rev="1" * 40) != [first]
    assert names("train.seed=1", prefix="y") == [first.replace("x-", "y-")]


def test_the_same_parameters_are_one_point():
    assert len(changes("train.learning_rate=0.1,1e-1,.1")) == 1


def test_the_records_are_one_sweep():
    """Their parameters, and so their models' bytes, are those of records/."""
    recipes = [ROOT / "records" / f"{record}.yaml" for record in RECORDS]
    found = points("ledger", ["train.seed=3,4"], PARAMS, "0" * 40, recipes)
    assert len({point.name for point in found}) == 2 * len(RECORDS)
    for (recipe, seed), point in zip(itertools.product(recipes, [3, 4]), found, strict=True):
        expected = load_params(recipe, [f"train.seed={seed}"])
        assert load_params(PARAMS, point.changes) == expected.model_copy(update={"record": None})


def test_values_are_used_in_place_of_a_recipe_s():
    recipe = ROOT / "records" / "simard-none.yaml"
    (point,) = points("x", ["train.iterations=300", "train.hidden_sizes=[7]"], PARAMS, "0" * 40, [recipe])
    expected = load_params(recipe, ["train.iterations=300", "train.hidden_sizes=[7]"])
    assert load_params(PARAMS, point.changes).train == expected.train
    assert len({change.partition("=")[0] for change in point.changes}) == len(point.changes)


def test_a_mistake_in_params_yaml_is_one_sentence_with_a_recipe_too(tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text(PARAMS.read_text().replace("keep:", "kept:"))
    with pytest.raises(UserError, match=r"did you mean train\.keep"):
        points("x", ["train.seed=0"], params, "0" * 40, [ROOT / "records" / "nielsen.yaml"])


def test_a_recipe_that_is_no_parameter_file_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="no-such"):
        points("x", ["train.seed=0"], PARAMS, "0" * 40, [tmp_path / "no-such.yaml"])


@pytest.mark.parametrize(
    ("axis", "words"),
    [
        ("train.seed", "expected SECTION.KEY=VALUE,VALUE"),
        ("train.sed=1,2", "did you mean train.seed?"),
        ("train.learning_rate=0.1,0", "train.learning_rate is 0; expected a finite number above 0"),
        ("train.seed=", "expected SECTION.KEY=VALUE,VALUE"),
        ("train.seed=0,", "expected SECTION.KEY=VALUE,VALUE"),
        ("train.seed=0,,1", "expected SECTION.KEY=VALUE,VALUE"),
        ("train.hidden_sizes=[50", "not YAML"),
        ("train.momentum=0.5", "has train.momentum twice"),
        ("train.seed=007", 'where DVC reads "007"'),
        ("train.hidden_sizes=[50,]", "which DVC cannot read"),
    ],
)
def test_a_bad_axis_is_one_sentence(axis, words):
    with pytest.raises(UserError) as caught:
        changes("train.momentum=0,0.9", axis)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["", "a/b", "a b", "..", "a..b", "-a", "a~1", "a:b", "a*", ".a", "a\n", "a\\b"])
def test_a_bad_name_is_one_sentence(name):
    with pytest.raises(UserError, match="expected letters, digits"):
        points(name, ["train.seed=0"], PARAMS, "0" * 40)


# Workers

not_on_windows = pytest.mark.skipif(sys.platform == "win32", reason="sweeps need Linux or macOS")


@pytest.mark.parametrize(
    ("cores", "workers", "expected"),
    [
        ([0, 1], 2, [[0], [1]]),
        ([0, 1, 2, 3], 2, [[0, 1], [2, 3]]),
        ([2, 5, 7], 2, [[2], [5]]),
        ([4], 3, [[4], [4], [4]]),
    ],
)
def test_each_worker_has_its_cores(cores, workers, expected):
    names = [str(number) for number in range(workers)]
    assert list(shares(cores, names).values()) == expected


def test_packages_that_differ_are_named():
    numpy = f"numpy=={importlib.metadata.version('numpy')}"
    assert differing_packages([numpy, "no-such-package==2.0 ; python_full_version < '3'"]) == ""
    said = differing_packages(["numpy==0.1", "no-such-package==2.0 ; python_full_version > '3'"])
    assert said == f"{numpy.replace('==', ' ')} for 0.1, no-such-package missing for 2.0"
    assert differing_packages([f"no-such-package-{number}==1" for number in range(5)]).endswith(" and 2 more")


def test_this_environment_has_the_packages_of_requirements_txt(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert len(pinned_packages()) > 50
    assert differing_packages(pinned_packages()) == ""


@not_on_windows
def test_only_what_dead_workers_left_is_removed(tmp_path):
    host = socket.gethostname()
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    kept = [f"{host}-{os.getpid()}-a", f"other-host-{dead.pid}-b", "something"]
    for name in [*kept, f"{host}-{dead.pid}-c"]:
        (tmp_path / "clones" / name / "data").mkdir(parents=True)
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in (tmp_path / "clones").iterdir()) == sorted(kept)


def new_clone(folder: Path, stopped: Callable[[], bool] = lambda: False) -> Clone:
    return Clone(folder, dict(os.environ), [], report=lambda line: None, stopped=stopped)


@not_on_windows
def test_a_command_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr("tools.sweep.worker.clone.WAITS", (0, 0))
    clone = new_clone(tmp_path)
    third_time = "echo >> tries; echo no; [ $(wc -l < tries) = 3 ] && echo yes"
    assert clone.text("sh", "-c", third_time) == "no\nyes"
    with pytest.raises(LostError, match=r"`sh -c echo broken.*` failed: broken"):
        clone.surely("sh", "-c", "echo broken >&2; exit 3")


@not_on_windows
def test_a_stage_that_fails_is_not_tried_again(tmp_path, monkeypatch):
    """What fails otherwise is."""
    monkeypatch.setattr("tools.sweep.worker.clone.WAITS", (0,))
    program = tmp_path / "dvc"
    program.write_text("#!/bin/sh\necho >> tries; echo $1\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    clone = new_clone(tmp_path)
    for said, error, tries in (("no remote", LostError, 2), ("failed to run: python", StageError, 3)):
        with pytest.raises(error, match=said):
            clone.reproduce(said)
        assert (clone.path / "tries").read_text().count("\n") == tries


@not_on_windows
def test_a_command_ends_with_its_children_when_the_sweep_is_stopped(tmp_path):
    pid = tmp_path / "project" / "pid"
    clone = new_clone(tmp_path, stopped=pid.exists)
    with pytest.raises(StoppedError):
        clone.run("sh", "-c", "sleep 1000 & echo $! > new; mv new pid; wait")
    child = int(pid.read_text())
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.1)


def test_the_end_of_a_log(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"first\n\n10 %\r20 %\rlast \xff\n\n")
    assert tail(log, 1) == "last \ufffd"
    assert tail(log, 3) == "10 %\n20 %\nlast \ufffd"


# The command


@pytest.fixture
def repository(tmp_path) -> Project:
    """A Git repository with parameters, one commit, and a remote that has it."""
    project = Project(tmp_path / "project")
    project.folder.mkdir()
    (project.folder / "params.yaml").write_bytes(PARAMS.read_bytes())
    project.run("git", "init", "-q")
    project.commit("Begin")
    project.run("git", "clone", "-q", "--bare", ".", "../origin")
    project.run("git", "remote", "add", "origin", "../origin")
    project.environment["PYTHONPATH"] = str(ROOT)
    return project


def refusal(project: Project, *words: str) -> str:
    """Return the one sentence with which a sweep of two seeds ends."""
    command = [sys.executable, "-m", "tools.sweep", "x", "-S", "train.seed=0,1", *words]
    result = project.run(*command, check=False)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ")
    return result.stderr


TLS = ["--tls-ca", "ca", "--tls-cert", "cert", "--tls-key", "key"]


def add_certificates(project: Project) -> None:
    for name in TLS[1::2]:
        (project.folder / name).touch()


def test_changes_that_are_not_committed_are_refused(repository):
    (repository.folder / "params.yaml").write_text("train: 1\n")
    assert "uncommitted changes in params.yaml" in refusal(repository)


def test_a_commit_that_the_remote_lacks_is_refused(repository):
    add_certificates(repository)
    (repository.folder / "new").write_text("")
    repository.commit("More")
    assert "git push" in refusal(repository, "--scheduler", "tls://host:1", *TLS)


def test_workers_elsewhere_need_remotes(repository):
    add_certificates(repository)
    assert "dvc remote add" in refusal(repository, "--scheduler", "tls://host:1", *TLS)
    repository.run("git", "remote", "remove", "origin")
    assert "`git remote` failed: error: No such remote 'origin'" in refusal(
        repository, "--scheduler", "tls://host:1", *TLS
    )


def test_a_scheduler_elsewhere_needs_certificates(repository):
    assert "who reaches it runs code" in refusal(repository, "--scheduler", "tcp://host:1")
    assert "needs --tls-ca" in refusal(repository, "--scheduler", "tls://host:1", "--tls-ca", "ca")
    assert "belong to --scheduler" in refusal(repository, "--tls-ca", "ca")
    assert "ca: No such file or directory." in refusal(repository, "--scheduler", "tls://host:1", *TLS)


def test_bad_values_are_refused_before_anything_runs(repository):
    assert "train.momentum is 1.5" in refusal(repository, "-S", "train.momentum=0,1.5")


# What is shown


def test_the_live_table_fits_a_terminal_of_80_columns():
    console = Console(width=80, height=24, file=io.StringIO(), force_terminal=True)
    names = [f"learning-rates-{number:08x}" for number in range(200)]
    board = Board(names, console)
    for name in names[:60]:
        worker = {"name": name, "again": False, "where": "node-0123.cluster.example.org-SLURMCluster-17"}
        board.hear(worker | {"line": "Training: epoch 683 of 800, loss 0.0016, validation accuracy 0.9100, 12 s left"})
    with board:
        shown = console.file.getvalue()
    lines = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", shown).splitlines()
    assert len(lines) == 24, "as many as the terminal has"
    assert max(map(len, lines)) <= 80
    assert "0 of 200 finished, 140 wait" in lines[0]
    rows = [line for line in lines if line.startswith("learning-rates-")]
    assert [row.split()[0] for row in rows] == names[: len(rows)], "the names are whole"
    assert all("node-0123" in row and "Training: epoch" in row for row in rows)
