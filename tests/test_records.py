"""The records: each row belongs to the code and the parameters as they are, and the ledger says what the rows say."""

import hashlib
import json

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from benchmarks import records as measured
from benchmarks.records import digest
from pipeline.drawing.figures import draw_misclassified
from pipeline.settings.params import load_params
from pipeline.settings.plain_yaml import load_plain_yaml
from pipeline.store.artifacts import Misclassified, save_misclassified
from records.drawing import draw_ledger
from records.figures import main as figures
from records.ledger import COSTS, HERE, RECORDS, SEEDS, Row, rows, table
from records.result import main as result
from tests.conftest import ROOT
from tests.refusals import refusal
from tests.test_train import save_prepared

STAGES = yaml.safe_load((HERE / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
LOCK = load_plain_yaml(HERE / "dvc.lock")["stages"]  # PyYAML alone would read 5e-05 as text
TRAINED = [name for name in LOCK if name.startswith("train@")]
COMMITTEES = [name for name in RECORDS if load_params(HERE / f"{name}.yaml").record.committee]
MEMBERS = {f"committee@{name}": [name] for name in COMMITTEES} | {"committee-both": COMMITTEES}  # records, by stage


def md5s(stage: str, kind: str) -> dict[str, str]:
    """Return the MD5 of each of a stage's `deps` or `outs`, by path."""
    return {entry["path"]: entry["md5"] for entry in LOCK[stage][kind]}


def record_of(row: str) -> str:
    return row.rpartition("-")[0]


# dvc.yaml


def test_each_record_has_a_short_form_and_five_seeds():
    assert sorted(path.stem for path in HERE.glob("*.yaml")) == sorted([*RECORDS, "dvc"])
    assert list(STAGES["short"]["foreach"]) == list(RECORDS)
    expected = {f"{record}-{seed}": (record, seed) for record in RECORDS for seed in SEEDS}
    for stage in ("train", "evaluate"):
        found = {row: (values["record"], values["seed"]) for row, values in STAGES[stage]["foreach"].items()}
        assert found == expected
    assert sorted(STAGES["committee"]["foreach"]) == sorted(COMMITTEES)


def test_each_record_uses_the_data_of_its_dataset():
    made = {key: load_params(HERE / f"{record}.yaml") for key, record in STAGES["prepare"]["foreach"].items()}
    for record in RECORDS:
        params = load_params(HERE / f"{record}.yaml")
        dataset = params.download.dataset
        assert (made[dataset].download, made[dataset].preprocess) == (params.download, params.preprocess)
        expected = f"prepared/{dataset}"
        assert STAGES["short"]["foreach"][record]["data"] == expected
        for stage in ("train", "evaluate"):
            for seed in SEEDS:
                assert STAGES[stage]["foreach"][f"{record}-{seed}"]["data"] == expected
        assert params.train.arithmetic == "exact"


def test_a_short_form_has_more_than_an_epoch():
    for record in RECORDS:
        epoch = 55_000 // load_params(HERE / f"{record}.yaml").train.batch_size
        assert STAGES["short"]["foreach"][record]["steps"] > epoch


@pytest.mark.parametrize(
    ("found", "stages"),
    [(STAGES["short"]["do"], ["train", "evaluate"]), (STAGES["prepare"]["do"], ["download", "preprocess"])],
)
def test_a_stage_depends_on_the_code_of_the_main_stages(found, stages):
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    code = {path for stage in stages for path in pipeline[stage]["deps"]}
    code = {path for path in code if path.split("/")[0] in ("datasets.yaml", "mlp", "pipeline", "stages")}
    files = {file for path in code for file in (list((ROOT / path).glob("*.py")) or [ROOT / path])}
    expected = {f"../{file.relative_to(ROOT).as_posix()}" for file in files}
    assert {path for path in found["deps"] if "$" not in path} == expected


def test_no_stage_depends_on_a_folder_outside_the_records():
    """DVC would hash Python's bytecode in it, too: what it ignores is only inside its own project."""
    paths = {path for stage in STAGES.values() for path in stage.get("do", stage)["deps"] if path.startswith("../")}
    assert len(paths) > 20
    assert [path for path in sorted(paths) if not (HERE / path).is_file()] == []


# dvc.lock


@pytest.mark.parametrize("stage", TRAINED)
def test_a_row_was_trained_by_this_code_from_these_parameters(stage):
    row = stage.removeprefix("train@")
    record = record_of(row)
    short = md5s(f"short@{record}", "outs")
    assert {path: md5 for path, md5 in md5s(stage, "deps").items() if path in short} == {
        path: md5 for path, md5 in short.items() if not path.endswith("evaluation")
    }
    data = {path: md5 for path, md5 in md5s(stage, "deps").items() if "prepared" in path}
    assert len(data) == 2
    assert data.items() <= md5s(f"short@{record}", "deps").items()
    params = load_plain_yaml(HERE / f"{record}.yaml")
    for locked in (LOCK[stage], LOCK[f"short@{record}"]):
        assert locked["params"] == {f"{record}.yaml": {name: params[name] for name in ("distort", "train")}}
    assert f"-S train.seed={row.rpartition('-')[2]}" in LOCK[stage]["cmd"]


def test_a_result_is_that_of_its_network_and_of_this_code():
    for row in (stage.removeprefix("evaluate@") for stage in LOCK if stage.startswith("evaluate@")):
        deps = md5s(f"evaluate@{row}", "deps")
        record = record_of(row)
        assert deps[f"models/{row}.npz"] == md5s(f"train@{row}", "outs")[f"models/{row}.npz"]
        evaluation = f"short/{record}/evaluation"
        assert deps[evaluation] == md5s(f"short@{record}", "outs")[evaluation]
        (images,) = (path for path in deps if path.endswith("test.npz"))
        assert deps[images] == md5s(f"short@{record}", "deps")[images]
        _assert_in_git(f"evaluate@{row}", f"results/{row}.json")
    for stage, records in MEMBERS.items():
        deps = md5s(stage, "deps")
        members = [f"{record}-{seed}" for record in records for seed in SEEDS]
        assert {path for path in deps if path.startswith("models/")} == {f"models/{row}.npz" for row in members}
        for row in members:
            assert deps[f"models/{row}.npz"] == md5s(f"train@{row}", "outs")[f"models/{row}.npz"]
            assert LOCK[stage]["cmd"][0].count(f"records/models/{row}.npz") == 1
        assert deps["short/committee"] == md5s("short-committee", "outs")["short/committee"]
        _assert_in_git(stage, f"results/{stage.replace('@', '-')}.json")


def _assert_in_git(stage: str, path: str) -> None:
    """Fail unless the file has the bytes that the lock states."""
    assert hashlib.md5((HERE / path).read_bytes()).hexdigest() == md5s(stage, "outs")[path]


def test_no_result_is_there_without_its_row():
    there = {path.stem for path in (HERE / "results").iterdir()}
    rows = {stage.removeprefix("evaluate@") for stage in LOCK if stage.startswith("evaluate@")}
    assert there == rows | {stage.replace("@", "-") for stage in MEMBERS}


# The ledger


def test_the_ledger_is_what_the_results_say():
    assert (HERE / "ledger.md").read_text(encoding="utf-8") == table(rows())
    costs = json.loads(COSTS.read_text())
    for record in RECORDS:
        params = load_params(HERE / f"{record}.yaml")
        assert costs[record]["recipe"] == digest(params), "the benchmark measured other parameters"


def test_the_ledger_and_the_figures_were_made_from_what_is_in_git():
    for stage in ("ledger", "figures"):
        for path in md5s(stage, "outs"):
            _assert_in_git(stage, path)
        for path, md5 in md5s(stage, "deps").items():
            if (HERE / path).is_file() and "prepared" not in path:
                assert hashlib.md5((HERE / path).read_bytes()).hexdigest() == md5, f"{stage} depends on {path}"


def test_the_readme_shows_the_ledger():
    assert (HERE / "ledger.md").read_text(encoding="utf-8") in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_ledger_counts():
    published = load_params(HERE / "simard-elastic.yaml").record

    def line(*errors: int | None, **cost) -> str:
        return table([Row("a", "784-10", published, list(errors), cost)]).splitlines()[2]

    assert "| 0.7 | 0.60 ± 0.08 | 60, 50, 70, 55, 65 | yes |" in line(60, 50, 70, 55, 65)
    assert "| 0.7 | 0.74 ± 0.11 | 60, 70, 71, 80, 90 | no |" in line(60, 70, 71, 80, 90)
    assert "| 0.7 | 0.70 ± 0.04 | 77, 66, 70, 70, 67 | yes |" in line(77, 66, 70, 70, 67)
    assert "| 0.7 |  | –, 60, –, –, – | not complete |" in line(None, 60, None, None, None)
    assert "| 0.7 | 0.42 | 42 | yes |  |  |  |" in line(42)
    cost = {"seconds": {"exact": 90, "float32": 30}, "machine": "a machine"}
    assert line(60, 50, **cost, float32_errors=[61, 55]).endswith("| yes | 1.5 | 0.58 ± 0.04 | 0.5 |")
    assert line(60, 50, **cost, float32_errors=[61]).endswith("| yes | 1.5 | 0.61 (of 1) | 0.5 |")
    assert line(60, 50, **cost).endswith("| yes | 1.5 |  | 0.5 |")


def test_the_figure_shows_each_seed_and_the_mean_of_complete_rows():
    published = load_params(HERE / "simard-elastic.yaml").record
    errors = {"a": [60, 50], "b": [None, 55], "c": [None, None]}
    (axes,) = draw_ledger([Row(name, "784-10", published, found, {}) for name, found in errors.items()]).axes
    points = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert points["published"] == [[0.7, 2], [0.7, 1]]
    assert points["here, mean"] == [[0.55, 2]]
    assert points["here, each seed"] == [[0.6, 2], [0.5, 2], [0.55, 1]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]


# What the scripts write


def save_mistakes(folder, place, actual, predicted):
    """Write what the evaluate stage would write of these mistakes."""
    n = len(place)
    columns = (np.array(place), np.array(actual), np.array(predicted), np.linspace(0.9, 0.5, n))
    place, actual, predicted, probability = columns
    images = np.arange(n * 784, dtype=np.uint8).reshape(n, 784)
    classes = tuple("0123456789")
    mistakes = Misclassified(images, actual, predicted, probability, place, (28, 28), classes)
    folder.mkdir()
    save_misclassified(folder / "misclassified.npz", mistakes)
    (folder / "test.json").write_text('{"accuracy": 0.5, "loss": 0.125}')


def test_a_result_counts_the_mistakes(tmp_path):
    save_mistakes(tmp_path / "evaluation", [7, 3, 12], [1, 2, 3], [4, 5, 6])
    out = tmp_path / "new" / "row-0.json"
    ran = CliRunner().invoke(result, [str(tmp_path / "evaluation"), str(out)])
    assert ran.exit_code == 0, ran.output
    assert json.loads(out.read_text()) == {"errors": 3, "loss": 0.125, "wrong": [[3, 2, 5], [7, 1, 4], [12, 3, 6]]}


def test_a_network_without_mistakes_has_a_result(tmp_path):
    empty = np.empty(0, np.int64)
    save_mistakes(tmp_path / "evaluation", empty, empty, empty)
    ran = CliRunner().invoke(result, [str(tmp_path / "evaluation"), str(tmp_path / "row-0.json")])
    assert ran.exit_code == 0, ran.output
    assert json.loads((tmp_path / "row-0.json").read_text()) == {"errors": 0, "loss": 0.125, "wrong": []}


def test_the_figures_show_the_mistakes_of_all_networks(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 784), np.uint8)
    save_prepared(tmp_path / "train.npz", images, np.eye(10, dtype=np.uint8)[np.arange(20) % 10])
    sizes = []
    # One more mistake in common makes one more row of four pictures, if there were four; so do distortions
    for common, params in ((4, HERE / "simard-none.yaml"), (5, HERE / "simard-elastic.yaml")):
        save_mistakes(tmp_path / f"evaluation{common}", range(6), [1] * 6, [2] * 6)
        results = [tmp_path / f"{seed}.json" for seed in range(2)]
        results[0].write_text(json.dumps({"wrong": [[place, 1, 2] for place in range(common)]}))
        results[1].write_text(json.dumps({"wrong": [[place, 1, 3] for place in range(6)]}))
        words = [params, tmp_path / "train.npz", tmp_path / f"evaluation{common}", *results]
        words += ["--distorted", tmp_path / "distorted.png", "--mistakes", tmp_path / "mistakes.png"]
        ran = CliRunner().invoke(figures, list(map(str, words)))
        assert ran.exit_code == 0, ran.output
        sizes.append([Image.open(tmp_path / name).size[1] for name in ("mistakes.png", "distorted.png")])
    assert sizes[0][0] < sizes[1][0]
    assert sizes[0][1] < sizes[1][1]


def test_the_title_counts_the_mistakes_that_are_shown(tmp_path, monkeypatch):
    """All networks can be wrong, each in its way, where their mean is right."""
    drawn = []

    def draw(mistakes, most, title):
        drawn.append((mistakes.place.tolist(), most, title))
        return draw_misclassified(mistakes, most, title)

    monkeypatch.setattr("pipeline.drawing.figures.draw_misclassified", draw)
    save_prepared(tmp_path / "train.npz", np.zeros((20, 784), np.uint8), np.eye(10, dtype=np.uint8)[np.arange(20) % 10])
    save_mistakes(tmp_path / "evaluation", [0, 1, 5], [1] * 3, [2] * 3)
    (tmp_path / "0.json").write_text(json.dumps({"wrong": [[place, 1, 3] for place in (0, 1, 2)]}))
    words = [HERE / "simard-none.yaml", tmp_path / "train.npz", tmp_path / "evaluation", *[tmp_path / "0.json"] * 2]
    words += ["--distorted", tmp_path / "distorted.png", "--mistakes", tmp_path / "mistakes.png"]
    ran = CliRunner().invoke(figures, list(map(str, words)))
    assert ran.exit_code == 0, ran.output
    assert drawn == [([0, 1], 2, "The 2 mistakes that all 2 networks and their committee make")]


# The benchmark of float32 keeps its results


@pytest.fixture
def costs(tmp_path, monkeypatch):
    """A function that runs the benchmark, with networks that are trained at once. It returns what the file has."""
    path = tmp_path / "costs.json"
    monkeypatch.setattr(measured, "COSTS", path)
    monkeypatch.setattr(measured, "check_data", lambda name: None)
    monkeypatch.setattr(measured, "times", lambda name, folder: {"exact": 90.0, "float32": 30.0})
    monkeypatch.setattr(measured, "errors", lambda name, seed, folder: 100 + seed)

    def run(*words):
        ran = CliRunner().invoke(measured.main, words)
        assert ran.exit_code == 0, ran.output
        return json.loads(path.read_text())

    return run


def test_the_benchmark_trains_the_seeds_that_are_missing(costs, monkeypatch):
    found = costs("nielsen", "--seeds", "2")["nielsen"]
    assert (found["seconds"]["exact"], found["float32_errors"]) == (90.0, [100, 101])
    monkeypatch.setattr(measured, "errors", lambda name, seed, folder: 200 + seed)
    assert costs("nielsen", "--seeds", "3")["nielsen"]["float32_errors"] == [100, 101, 202]
    assert costs("nielsen")["nielsen"]["float32_errors"] == [100, 101, 202]


def test_the_benchmark_forgets_what_has_other_parameters(costs):
    costs("nielsen", "--seeds", "2")
    text = measured.COSTS.read_text()
    measured.COSTS.write_text(text.replace(digest(measured.params_of("nielsen")), "another"))
    assert costs("nielsen", "--seeds", "1")["nielsen"]["float32_errors"] == [100]


def test_the_benchmark_keeps_what_another_run_wrote(costs, monkeypatch):
    def errors(name, seed, folder):
        if seed == 0:
            written = json.loads(measured.COSTS.read_text()) | {"fashion": {"recipe": "of another run"}}
            measured.COSTS.write_text(json.dumps(written))
        return seed

    monkeypatch.setattr(measured, "errors", errors)
    found = costs("nielsen", "--seeds", "2")
    assert found["fashion"] == {"recipe": "of another run"}
    assert found["nielsen"]["float32_errors"] == [0, 1]


def test_the_benchmark_without_data_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(measured, "data_of", lambda name: tmp_path / "mnist")
    refusal(CliRunner().invoke(measured.main, ["nielsen", "--seeds", "5"]), "", "dvc repro prepare@mnist")
