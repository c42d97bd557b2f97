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

from pipeline.store.tables import HISTORY_COLUMNS
from tests.support.project import ROOT
from tests.support.refusals import refusal
from tools.card.__main__ import CARD, CURVES, main

SCORES = {"accuracy": 0.5, "loss": 2, "macro_f1": 0.25}
CLASSES = [{"class": "Bag", "f1": 0.5}, {"class": "Coat", "f1": 0.125}]
METRICS = {"train": SCORES, "validation": SCORES, "test": SCORES, "classes": CLASSES}
FOR_HUB = {"license": "mit", "model-index": [{"name": "mlp", "results": [{"dataset": {"split": "test"}}]}]}
HISTORY = f"{','.join(HISTORY_COLUMNS)}\n1,10,1.5,0.25,1.25,0.5,a1,0\n2,20,0.5,0.75,0.625,0.625,b2,1\n"
TEXT = f"---\n{yaml.safe_dump(FOR_HUB)}---\nBefore\n<!-- python -m tools.card -->\nold\n<!-- end -->\nAfter\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A function that writes a card, metrics, and a dvc.lock that agrees with them, into the current folder."""
    monkeypatch.chdir(tmp_path)

    def made(dataset="flowers"):
        CARD.parent.mkdir(exist_ok=True)
        CARD.write_text(TEXT)
        outs = [{"path": "models/mlp.npz", "md5": 32 * "a"}]
        Path("metrics").mkdir(exist_ok=True)
        for name, content in METRICS.items():
            path = Path("metrics", f"{name}.json")
            path.write_text(json.dumps(content))
            outs.append({"path": path.as_posix(), "md5": hashlib.md5(path.read_bytes()).hexdigest()})
        Path("metrics/history.csv").write_text(HISTORY)
        params = {"download": {"dataset": dataset}, "preprocess": {"seed": 3}}
        stages = {
            "preprocess": {"deps": [], "params": {"params.yaml": params}, "outs": []},
            "train": {"deps": [], "params": {"params.yaml": {"train": {"hidden_sizes": [60]}}}, "outs": outs},
            "evaluate": {"deps": [{"path": "models/mlp.npz", "md5": 32 * "a"}], "outs": []},
        }
        Path("dvc.lock").write_text(yaml.safe_dump({"stages": stages}))

    return made


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


@pytest.mark.parametrize(
    ("dataset", "on_hub"), [("fashion-mnist", "zalando-datasets/fashion_mnist"), ("flowers", "flowers")]
)
def test_the_card_has_the_results(write, dataset, on_hub):
    write(dataset)
    assert CliRunner().invoke(main, []).exit_code == 0
    assert CURVES.read_bytes().startswith(b"\x89PNG")
    start, first, text = CARD.read_text(encoding="utf-8").split("---\n", 2)
    values = yaml.safe_load(first)
    (result,) = values["model-index"][0]["results"]
    assert (start, values["license"], values["datasets"]) == ("", "mit", [on_hub])
    assert result["dataset"] == {"type": on_hub, "name": dataset, "split": "test"}
    assert {metric["type"]: metric["value"] for metric in result["metrics"]} == SCORES
    assert text.startswith("Before\n<!-- python -m tools.card -->\n")
    assert text.endswith("<!-- end -->\nAfter\n")
    assert "old" not in text
    for words in (dataset, "Bag, Coat.", "seed: 3", "hidden_sizes: [60]", 32 * "a", "Coat has the lowest F1"):
        assert words in text
    rows = [line for line in text.splitlines() if line.endswith("| 0.50000 | 2.00000 | 0.25000 |")]
    assert [row.split()[1] for row in rows] == ["train", "validation", "test"]


@pytest.mark.parametrize(
    ("name", "old", "new", "cure"),
    [
        ("metrics/classes.json", "0.5", "0.8", "dvc repro"),
        ("dvc.lock", f"deps:\n    - md5: {32 * 'a'}", f"deps:\n    - md5: {32 * 'b'}", "dvc repro"),
        (str(CARD), "<!-- end -->", "", "git checkout"),
    ],
)
def test_files_of_different_runs_and_a_lost_mark_are_refused(write, name, old, new, cure):
    write()
    text = Path(name).read_text()
    assert old in text
    Path(name).write_text(text.replace(old, new))
    before = CARD.read_bytes()
    refusal(CliRunner().invoke(main, []), "", cure)
    assert CARD.read_bytes() == before
