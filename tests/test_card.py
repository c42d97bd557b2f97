"""The model card says what dvc.lock and metrics/ say, and Hugging Face finds its numbers there."""

import hashlib
import json
import shutil

import pytest
import yaml
from typer.testing import CliRunner

from tests.conftest import ROOT
from tests.refusals import refusal
from tools.card import card, main

COMMITTED = ROOT / "docs" / "model-card.md"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A copy of what the card is made from; it is the current folder."""
    shutil.copy(ROOT / "dvc.lock", tmp_path)
    (tmp_path / "metrics").mkdir()
    for path in (ROOT / "metrics").glob("*.json"):
        shutil.copy(path, tmp_path / "metrics")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def front_matter(text: str) -> dict:
    start, head, _ = text.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(head)


def result(text: str) -> dict:
    """Return the one result that the front matter states."""
    ((result,),) = [model["results"] for model in front_matter(text)["model-index"]]
    return result


def test_committed_card_is_that_of_the_committed_results():
    assert COMMITTED.read_text(encoding="utf-8") == card(ROOT), "run `python -m tools.card`"


def test_numbers_are_those_of_the_test_images():
    test = json.loads((ROOT / "metrics" / "test.json").read_text())
    stated = {metric["type"]: metric["value"] for metric in result(COMMITTED.read_text(encoding="utf-8"))["metrics"]}
    assert stated == {name: pytest.approx(value, abs=5e-6) for name, value in test.items()}


def replace_metric(project, name: str, content: str) -> None:
    """Write a file of metrics/, and state it in dvc.lock."""
    path, lock = project / "metrics" / f"{name}.json", project / "dvc.lock"
    before = hashlib.md5(path.read_bytes()).hexdigest()
    path.write_text(content)
    lock.write_text(lock.read_text().replace(before, hashlib.md5(content.encode()).hexdigest()))


def test_another_model_has_another_card(project):
    lock = (project / "dvc.lock").read_text()
    changes = [("dataset: mnist", "dataset: fashion-mnist"), ("seed: 0", "seed: 7"), ("        - 50", "        - 60")]
    for old, new in [*changes, ("arithmetic: exact", "arithmetic: float32")]:
        assert old in lock
        lock = lock.replace(old, new)
    (project / "dvc.lock").write_text(lock)
    replace_metric(project, "test", '{"accuracy": 0.5, "loss": 2, "macro_f1": 0.25}')
    row = {"class": "Coat", "precision": 0.1, "recall": 0.1, "f1": 0.125, "images": 50}
    replace_metric(project, "classes", json.dumps([row | {"class": "Bag", "f1": 0.5}, row]))

    assert CliRunner().invoke(main, []).exit_code == 0
    text = (project / "docs" / "model-card.md").read_text(encoding="utf-8")
    assert result(text)["dataset"]["type"] == "zalando-datasets/fashion_mnist"
    for words in ("fashion-mnist: Bag, Coat.", "| test | 0.50000 | 2.00000 | 0.25000 |", "100 test images", "Coat has"):
        assert words in text
    assert "hidden_sizes: [60]" in text
    assert "seed: 7" in text
    assert "same bytes on every machine" not in text


def test_own_dataset_goes_by_its_own_name(project):
    lock = (project / "dvc.lock").read_text()
    (project / "dvc.lock").write_text(lock.replace("dataset: mnist", "dataset: flowers"))
    assert front_matter(card(project))["datasets"] == ["flowers"]


@pytest.mark.parametrize("name", ["dvc.lock", "metrics/test.json"])
def test_missing_file_is_named(project, name):
    (project / name).unlink()
    refusal(CliRunner().invoke(main, []), name)
    assert not (project / "docs").exists()


@pytest.mark.parametrize("name", ["train", "validation", "test", "classes"])
def test_metrics_that_dvc_lock_does_not_state_are_refused(project, name):
    path = project / "metrics" / f"{name}.json"
    path.write_text(path.read_text().replace("0.9", "0.99"))
    assert "dvc repro" in refusal(CliRunner().invoke(main, []), f"metrics/{name}.json")


def test_metrics_of_an_older_model_are_refused(project):
    lock = project / "dvc.lock"
    (md5,) = {out["md5"] for out in yaml.safe_load(lock.read_text())["stages"]["train"]["outs"] if "mlp" in out["path"]}
    head, tail = lock.read_text().split("\n  train:\n")
    lock.write_text(f"{head}\n  train:\n{tail.replace(md5, 32 * '0')}")
    assert "dvc repro" in refusal(CliRunner().invoke(main, []), "dvc.lock")


def test_project_without_a_model(project):
    (project / "dvc.lock").write_text("stages: {}")
    assert "dvc repro" in refusal(CliRunner().invoke(main, []), "dvc.lock")
