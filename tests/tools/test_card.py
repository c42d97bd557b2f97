"""The model card has the numbers of dvc.lock and metrics/, and Hugging Face finds them."""

import hashlib
import json
import platform
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from tests.support.project import ROOT
from tests.support.refusals import refusal
from tools.card.__main__ import CARD, CURVES, main

LOCKED = "models/mlp.npz\n      hash: md5\n      md5: "


@pytest.mark.committed
def test_committed_card_has_the_committed_results(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "metrics", tmp_path / "metrics")
    (tmp_path / CARD.parent).mkdir()
    for path in ("dvc.lock", CARD):
        shutil.copy(ROOT / path, tmp_path / path)
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, []).exit_code == 0
    assert (tmp_path / CARD).read_bytes() == (ROOT / CARD).read_bytes(), "run `python -m tools.card`"
    if (sys.platform, platform.machine()) == ("linux", "x86_64"):  # another compiler may round coordinates differently
        assert (tmp_path / CURVES).read_bytes() == (ROOT / CURVES).read_bytes(), "run `python -m tools.card`"


def test_the_card_has_the_results(project_with_results, monkeypatch):
    monkeypatch.chdir(project_with_results.folder)
    CURVES.unlink()
    assert CliRunner().invoke(main, []).exit_code == 0
    assert CURVES.read_bytes().startswith(b"\x89PNG")
    first, text = CARD.read_text(encoding="utf-8").removeprefix("---\n").split("---\n", 1)
    card, test = yaml.safe_load(first), json.loads(Path("metrics/test.json").read_text())
    (result,) = card["model-index"][0]["results"]
    assert card["datasets"] == [result["dataset"]["type"]] == ["ylecun/mnist"]
    assert {metric["type"]: metric["value"] for metric in result["metrics"]} == {
        name: round(value, 5) for name, value in test.items()
    }
    f1 = {row["class"]: row["f1"] for row in json.loads(Path("metrics/classes.json").read_text())}
    model = hashlib.md5(Path("models/mlp.npz").read_bytes()).hexdigest()
    row = " | ".join(f"{test[name]:.5f}" for name in ("accuracy", "loss", "macro_f1"))
    for words in ("is mnist.", "hidden_sizes: [50]", model, f"| test | {row} |", f"{min(f1, key=f1.get)} has the low"):
        assert words in text


@pytest.mark.parametrize(
    ("name", "old", "new", "cure"),
    [
        ("metrics/classes.json", '"f1": 0', '"f1": 1', "dvc repro"),
        (
            "dvc.lock",
            "- path: models/mlp.npz\n      hash: md5\n      md5: ",
            "- path: models/mlp.npz\n      hash: md5\n      md5: 0",
            "dvc repro",
        ),
        (str(CARD), "<!-- end -->", "", "git checkout"),
    ],
)
def test_files_of_different_runs_and_a_lost_mark_are_refused(project_with_results, monkeypatch, name, old, new, cure):
    monkeypatch.chdir(project_with_results.folder)
    text = Path(name).read_text(encoding="utf-8")
    assert old in text
    Path(name).write_text(text.replace(old, new, 1), encoding="utf-8")
    before = CARD.read_bytes()
    refusal(CliRunner().invoke(main, []), "", cure)
    assert CARD.read_bytes() == before
