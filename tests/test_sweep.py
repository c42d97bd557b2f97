"""What a sweep decides before it runs anything: points, names, what is refused. No test here needs Dask."""

import os
import socket
import subprocess
import sys

import pytest

from pipeline.program.errors import UserError
from tests.conftest import ROOT, Project
from tools.sweep import sweep_worker
from tools.sweep.leader import _shares
from tools.sweep.points import points

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


@pytest.mark.parametrize(
    ("axis", "words"),
    [
        ("train.seed", "expected SECTION.KEY=VALUE,VALUE"),
        ("train.sed=1,2", "did you mean train.seed?"),
        ("train.learning_rate=0.1,0", "train.learning_rate is 0; expected a finite number above 0"),
        ("train.seed=", "expected SECTION.KEY=VALUE,VALUE"),
        ("train.hidden_sizes=[50", "not YAML"),
    ],
)
def test_a_bad_axis_is_one_sentence(axis, words):
    with pytest.raises(UserError) as caught:
        changes("train.momentum=0,0.9", axis)
    assert words in str(caught.value)


# Workers


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
    assert list(_shares(cores, names).values()) == expected


def test_packages_that_differ_are_named():
    found = sweep_worker.installed(["numpy", "dvc"])
    assert sweep_worker.differing_packages(found) == ""
    said = sweep_worker.differing_packages(found | {"numpy": "0.1", "no-such-package": "2.0"})
    assert said == f"numpy {found['numpy']} for 0.1, no-such-package missing for 2.0"
    many = {f"no-such-package-{number}": "1" for number in range(5)}
    assert sweep_worker.differing_packages(many).endswith(" and 2 more")


def test_only_what_dead_workers_left_is_removed(tmp_path):
    host = socket.gethostname()
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    kept = [f"{host}-{os.getpid()}-a", f"other-host-{dead.pid}-b", "something"]
    for name in [*kept, f"{host}-{dead.pid}-c"]:
        (tmp_path / name / "data").mkdir(parents=True)
    (tmp_path / f"{host}-{dead.pid}-c.log").write_text("")
    sweep_worker.remove_leftovers(tmp_path, host)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_the_end_of_a_log(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"first\n\n10 %\r20 %\rlast \xff\n\n")
    assert sweep_worker.tail(log, 1) == "last \ufffd"
    assert sweep_worker.tail(log, 3) == "10 %\n20 %\nlast \ufffd"


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


def test_changes_that_are_not_committed_are_refused(repository):
    (repository.folder / "params.yaml").write_text("train: 1\n")
    assert "uncommitted changes in params.yaml" in refusal(repository)


def test_a_commit_that_the_remote_lacks_is_refused(repository):
    (repository.folder / "new").write_text("")
    repository.commit("More")
    assert "git push" in refusal(repository, "--scheduler", "tls://host:1", *TLS)


def test_workers_elsewhere_need_remotes(repository):
    assert "dvc remote add" in refusal(repository, "--scheduler", "tls://host:1", *TLS)
    repository.run("git", "remote", "remove", "origin")
    assert "No such remote 'origin'" in refusal(repository, "--scheduler", "tls://host:1", *TLS)


def test_a_scheduler_elsewhere_needs_certificates(repository):
    assert "who reaches it runs code" in refusal(repository, "--scheduler", "tcp://host:1")
    assert "needs --tls-ca" in refusal(repository, "--scheduler", "tls://host:1", "--tls-ca", "ca")
    assert "belong to --scheduler" in refusal(repository, "--tls-ca", "ca")


def test_bad_values_are_refused_before_anything_runs(repository):
    assert "train.momentum is 1.5" in refusal(repository, "-S", "train.momentum=0,1.5")
