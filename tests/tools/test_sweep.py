"""What a sweep decides before it runs anything: experiments, names, what is refused."""

import importlib.metadata
import re
import shutil
import socket
import threading
from contextlib import suppress
from itertools import product
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from typer.testing import CliRunner

from pipeline.program.errors import UserError
from pipeline.settings.params import load_params
from tests.support.project import ROOT, Project, changed_params
from tests.support.refusals import refusal, refused
from tools.sweep import cluster
from tools.sweep.__main__ import main, pinned_packages
from tools.sweep.combinations import combinations, load_changed
from tools.sweep.worker import LostError, prepare

PARAMS = Path("params.yaml")
PINNED = {"train.seed": 0, "train.hidden_sizes": [50], "train.activation": "sigmoid"}
PINNED |= {"train.learning_rate": 0.5, "train.optimizer": "sgd"}
PINNED |= {"train.nesterov": False, "train.momentum": 0}
RECIPES = [ROOT / "records" / name for name in ("simard-none.yaml", "dropout.yaml")]


@pytest.fixture(autouse=True)
def params(tmp_path, monkeypatch) -> None:
    """A params.yaml in the current folder."""
    monkeypatch.chdir(tmp_path)
    PARAMS.write_text(yaml.safe_dump(changed_params(PINNED), sort_keys=False))


def made(*axes: str, rev: str = "0" * 40, recipes: list[Path] | None = None) -> list[dict]:
    return combinations("x", list(axes), PARAMS, rev, recipes or [])


def test_every_combination_is_an_experiment():
    sizes = "train.hidden_sizes=[50, 20],[100],[]"
    experiments = made("train.seed=0,1", sizes, "train.activation=relu")
    pairs = product((0, 1), ("[50, 20]", "[100]", "[]"))
    expected = [f"train.seed={seed}, train.hidden_sizes={sizes}" for seed, sizes in pairs]
    assert [experiment["parameters"] for experiment in experiments] == expected
    changes = ["train.hidden_sizes=[100]", 'train.activation="relu"', "train.seed=1"]
    assert experiments[4]["changes"] == changes


def test_a_name_belongs_to_the_commit_and_to_all_parameters():
    def names(*axes: str, **how: str) -> list[str]:
        return [experiment["name"] for experiment in made(*axes, **how)]

    (first, second) = names("train.seed=1,2")
    assert first != second
    assert names("train.seed=2", "train.seed=1") == [second, first]
    own = "train.activation=sigmoid"  # the file's own value changes nothing
    assert names("train.seed=1", own) == [first]
    assert names("train.seed=1", rev="1" * 40) != [first]
    assert len(names("train.learning_rate=0.1,1e-1,.1")) == 1


def test_dvc_makes_a_recipe_of_the_changes(tmp_path):
    """Values that are given are used in place of the recipe's."""
    values = ["train.iterations=300", "train.hidden_sizes=[]"]
    values += ["train.learning_rate=1e-5", "train.weight_init_std=he"]
    for recipe in RECIPES:
        (experiment,) = made(*values, recipes=[recipe])
        changed = tmp_path / "changed.yaml"
        shutil.copy(PARAMS, changed)
        apply_overrides(changed, experiment["changes"])
        assert load_params(changed) == load_changed(recipe, values)
    shown = [experiment["parameters"] for experiment in made("train.seed=3,4", recipes=RECIPES)]
    assert shown == [f"{recipe}, train.seed={seed}" for recipe in RECIPES for seed in (3, 4)]


@pytest.mark.parametrize(
    ("axis", "words"),
    [
        ("train.seed", "expected SECTION.KEY=VALUE,VALUE"),
        ("train.seed=0,,1", "expected SECTION.KEY=VALUE,VALUE"),
        ("seed=1", "expected SECTION.KEY=VALUE"),
        ("train.sed=1", "train.seed?"),
        ("trian.seed=1", "train?"),
        ("train.seed=x", "a whole number"),
        ("train.learning_rate=0.1,0", "train.learning_rate is 0; expected a finite number above 0"),
        ("train.nesterov=true", "train.momentum above 0"),
        ("train.hidden_sizes=[50", "line 1"),
    ],
)
def test_a_bad_axis_is_one_sentence(axis, words):
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        made("train.momentum=0,0.9", axis)
    assert re.fullmatch(r'-S is "\S+".*[.?]', str(caught.value))


@pytest.mark.parametrize("name", ["", "a/b", "a..b", "-a", "x" * 101])
def test_a_bad_name_is_refused(name):
    with pytest.raises(UserError, match="100 letters, digits"):
        combinations(name, ["train.seed=0"], PARAMS, "0" * 40)


def test_a_mistake_of_the_file_is_not_one_of_a_change():
    for text in ("train: 5", "- train", "plot: {dpi: 1}"):
        PARAMS.write_text(text)
        refused(load_changed, PARAMS, ["train.seed=1"])


def test_packages_that_differ_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = pinned_packages()
    assert len(found) > 50
    absent = "no-such-package==2.0 ; python_full_version"
    prepare({"home": str(tmp_path), "packages": [*found, f"{absent} < '3'"]})
    with pytest.raises(LostError) as caught:
        prepare({"home": str(tmp_path), "packages": ["numpy==0.1", f"{absent} > '3'"]})
    assert f"numpy {importlib.metadata.version('numpy')} for 0.1, " in str(caught.value)
    assert "no-such-package missing for 2.0" in str(caught.value)


@pytest.fixture
def repository(tmp_path, monkeypatch, quick_dvc) -> Project:
    """A Git repository with parameters, one commit, and a remote; it is the current folder."""
    project = Project(tmp_path / "project")
    project.folder.mkdir()
    (project.folder / "params.yaml").write_bytes(PARAMS.read_bytes())
    project.run("git", "init", "-q")
    project.commit("Begin")
    project.run("git", "clone", "-q", "--bare", ".", "../origin")
    project.run("git", "remote", "add", "origin", "../origin")
    monkeypatch.chdir(project.folder)
    return project


def test_mistakes_are_refused_before_anything_runs(repository):
    def mistake(*words: str) -> str:
        return refusal(CliRunner().invoke(main, ["x", "-S", "train.seed=0,1", *words]))

    assert "train.momentum is 1.5" in mistake("-S", "train.momentum=0,1.5")
    assert "no-such.yaml: No such file" in mistake("--recipe", "no-such.yaml")
    assert "who reaches it runs code" in mistake("--scheduler", "tcp://host:1")
    elsewhere = ["--scheduler", "tls://host:1"]
    assert "dvc remote add" in mistake(*elsewhere)
    (repository.folder / "new").write_text("")
    repository.commit("More")
    assert "git push" in mistake(*elsewhere)
    repository.run("git", "remote", "remove", "origin")
    assert "No such remote 'origin'" in mistake(*elsewhere)
    (repository.folder / "params.yaml").write_text("train: 1\n")
    assert "uncommitted changes in params.yaml" in mistake()


@pytest.mark.parametrize(
    ("answer", "words"), [(b"", "no answer"), (b"HTTP/1.1 200 OK\r\n\r\n" * 9, "no scheduler")]
)
def test_what_is_no_scheduler_is_one_sentence_after_a_while(monkeypatch, answer, words):
    """It accepts, and says nothing or something else."""
    pytest.importorskip("distributed")
    monkeypatch.setattr(cluster, "TIMEOUT", 0.3)
    accepted = []

    def accept():
        with suppress(OSError):  # closed
            while True:
                accepted.append(server.accept()[0])
                accepted[-1].sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UserError, match=words) as caught, cluster.connect(address, 0):
            pass
    assert address in str(caught.value)
