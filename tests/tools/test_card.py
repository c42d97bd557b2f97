"""The model card has the numbers of dvc.lock and metrics/, and Hugging Face finds them."""

import hashlib
import json
import shutil

import pytest
import yaml
from typer.testing import CliRunner

from tests.support.project import ROOT
from tests.support.refusals import refusal
from tools.card import CARD, main

MODEL = yaml.safe_load((ROOT / "dvc.lock").read_bytes())["stages"]["train"]["outs"][0]["md5"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A copy of the card and of what it is made from; it is the current folder."""
    shutil.copytree(ROOT / "metrics", tmp_path / "metrics")
    (tmp_path / CARD.parent).mkdir()
    for path in ("dvc.lock", CARD):
        shutil.copy(ROOT / path, tmp_path / path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edit(path, *changes: tuple[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def test_committed_card_has_the_committed_results(project):
    assert CliRunner().invoke(main, []).exit_code == 0
    assert (project / CARD).read_bytes() == (ROOT / CARD).read_bytes(), "run `python -m tools.card`"


@pytest.mark.parametrize(
    ("dataset", "on_hub"), [("fashion-mnist", "zalando-datasets/fashion_mnist"), ("flowers", "flowers")]
)
def test_another_model_has_another_card(project, dataset, on_hub):
    row = {"class": "Coat", "precision": 0.1, "recall": 0.1, "f1": 0.125, "images": 50}
    changes = [("dataset: mnist", f"dataset: {dataset}"), ("        - 50", "        - 60"), (MODEL, 32 * "a")]
    for name, content in {
        "test": {"accuracy": 0.5, "loss": 2, "macro_f1": 0.25},
        "classes": [row | {"class": "Bag", "f1": 0.5}, row],
    }.items():
        path = project / "metrics" / f"{name}.json"
        before, after = path.read_bytes(), json.dumps(content).encode()
        path.write_bytes(after)
        changes.append((hashlib.md5(before).hexdigest(), hashlib.md5(after).hexdigest()))
    edit(project / "dvc.lock", *changes)

    assert CliRunner().invoke(main, []).exit_code == 0
    start, first, text = (project / CARD).read_text(encoding="utf-8").split("---\n", 2)
    assert start == ""
    values = yaml.safe_load(first)
    ((result,),) = [model["results"] for model in values["model-index"]]
    assert values["datasets"] == [on_hub]
    assert result["dataset"] == {"type": on_hub, "name": dataset, "split": "test"}
    assert {metric["type"]: metric["value"] for metric in result["metrics"]} == {
        "accuracy": 0.5,
        "loss": 2,
        "macro_f1": 0.25,
    }
    for words in (dataset, "Bag, Coat.", "hidden_sizes: [60]", 32 * "a", "| test | 0.50000 | 2.00000 | 0.25000 |"):
        assert words in text
    assert "Coat has the lowest F1 of the test images, 0.12500" in text


@pytest.mark.parametrize(
    ("name", "old", "new", "cure"),
    [
        *[(f"metrics/{name}.json", "0.9", "0.8", "dvc repro") for name in ("train", "validation", "test", "classes")],
        (
            "dvc.lock",
            f"outs:\n    - path: models/mlp.npz\n      hash: md5\n      md5: {MODEL}",
            f"outs:\n    - path: models/mlp.npz\n      md5: {32 * 'a'}",
            "dvc repro",
        ),
        (str(CARD), "<!-- end -->", "", "git checkout"),
    ],
)
def test_files_of_different_runs_and_a_lost_mark_are_refused(project, name, old, new, cure):
    edit(project / name, (old, new))
    before = (project / CARD).read_bytes()
    refusal(CliRunner().invoke(main, []), "", cure)
    assert (project / CARD).read_bytes() == before
