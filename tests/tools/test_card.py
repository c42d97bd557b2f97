"""The model card, kept by hand, has the numbers of dvc.lock, metrics/ and the history."""

import json
import platform
import re
import shutil
import sys

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.settings.checked import load_plain_yaml, parse_plain_yaml
from tests.support.project import ROOT
from tests.support.refusals import refusal
from tools.curves import CURVES, HISTORY, draw_curves, main
from tools.lock import locked_outputs

HERE = "linux", "x86_64"


@pytest.mark.committed
def test_the_card_has_the_committed_results():
    card = (ROOT / "docs" / "model-card.md").read_text(encoding="utf-8")
    first, text = card.removeprefix("---\n").split("---\n", 1)
    stages = load_plain_yaml(ROOT / "dvc.lock")["stages"]
    prepared, trained = (stages[name]["params"]["params.yaml"] for name in ("preprocess", "train"))
    params = prepared | trained
    dataset = params.pop("download")["dataset"]
    (shown,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert parse_plain_yaml(shown) == params

    def metrics(name):
        return json.loads((ROOT / "metrics" / f"{name}.json").read_text())

    for name in ("train", "validation", "test"):
        score = metrics(name)
        cells = [f"{score[key]:.5f}" for key in ("accuracy", "loss", "macro_f1") if key in score]
        cells += [""] * (3 - len(cells))
        assert f"| {name} | {' | '.join(cells)} |" in text
    classes = metrics("classes")
    lowest = min(classes, key=lambda row: row["f1"])
    for words in (
        f"The dataset is {dataset}. Its classes are {', '.join(row['class'] for row in classes)}.",
        f"The MD5 of `mlp.npz` is `{locked_outputs(ROOT / 'dvc.lock')['models/mlp.npz']}`.",
        f"The class {lowest['class']} has the lowest F1 of the test images, {lowest['f1']:.5f}.",
    ):
        assert words in text
    (result,) = yaml.safe_load(first)["model-index"][0]["results"]  # Hugging Face reads it
    assert result["dataset"]["name"] == dataset
    rounded = {name: round(value, 5) for name, value in metrics("test").items()}
    assert {one["type"]: one["value"] for one in result["metrics"]} == rounded


@pytest.mark.committed
@pytest.mark.skipif((sys.platform, platform.machine()) != HERE, reason="others may round otherwise")
def test_the_picture_is_that_of_the_committed_history(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "metrics", tmp_path / "metrics")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, []).exit_code == 0
    assert CURVES.read_bytes() == (ROOT / CURVES).read_bytes(), "run `python -m tools.curves`"


def test_a_history_without_a_kept_epoch_is_one_sentence(tmp_path, monkeypatch):
    """Training runs or broke off, or the file is damaged."""
    monkeypatch.chdir(tmp_path)
    HISTORY.parent.mkdir()
    text = (ROOT / HISTORY).read_text()
    head = text[: text.index("\n") + 1]
    end = f"1,2,nan,0.5,0.5,0.5,{'0' * 16},1\n"
    parts = ("", head, text[: text.index(",1\n") - 20], text[:300], "a,b\n1,2\n")
    for content in (*parts, head + end, head + end.replace("nan", "0" * 200_000), "\udce9"):
        HISTORY.write_text(content, errors="surrogateescape")
        refusal(CliRunner().invoke(main, []), HISTORY, "no epoch is kept yet")
    assert not CURVES.exists()


def test_the_picture_shows_accuracy_and_loss_of_each_epoch():
    columns = {"train_accuracy": [0.61, 0.9, 0.8], "validation_accuracy": [0.7, 0.8, 0.75]}
    columns |= {"loss": [2.0, 1.0, 0.5], "validation_loss": [4.0, 1.5, 1.25]}
    figure = draw_curves({"epoch": [1, 2, 3], "kept": [0, 1, 0]} | columns, 1000)
    lines = [line for axes in figure.axes for line in axes.lines]
    drawn = [line.get_xydata().T.tolist() for line in lines]
    assert drawn == [[[1, 2, 3], values] for values in columns.values()]
    # The legend has the numbers of the kept network
    kept = [line.get_label().rpartition(": ") for line in lines]
    assert [words for words, *_ in kept[:2]] == ["1,000 training images", "1,000 validation images"]
    assert kept[2][0] == "training images, while training"
    assert [number for *_, number in kept] == ["0.9000", "0.8000", "1.000", "1.500"]
    limits = [axes.get_ylim() for axes in figure.axes]
    assert limits == [pytest.approx((0.6, 1)), pytest.approx((0, 4.2))]
