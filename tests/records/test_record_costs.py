"""The benchmark of the records measures what the ledger says, and keeps its results."""

import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from benchmarks import records as measured
from pipeline.settings.params import load_params
from records.ledger import RECORDS
from tests.support.files import save_mistakes
from tests.support.refusals import refusal

DATA = Path("records", "prepared", "mnist")


def test_the_costs_in_git_are_those_of_these_parameters():
    costs = json.loads(measured.COSTS.read_text())
    assert costs.keys() == set(RECORDS)
    for record, entry in costs.items():
        assert entry["recipe"] == measured.digest(measured.params_of(record)), record


@pytest.fixture
def costs(tmp_path, monkeypatch):
    """A function that runs the benchmark, with stages that end at once. It returns the entry of nielsen.

    `costs.commands` are the command lines. A training in exact arithmetic takes 3 seconds for each step, in float32 1;
    each takes 100 more for its start. A network of seed n gets 2 + n images wrong.
    """
    path = tmp_path / "costs.json"
    monkeypatch.setattr(measured, "COSTS", path)
    monkeypatch.setattr(measured, "check_data", lambda name: None)
    monkeypatch.setattr(
        measured, "load_prepared", lambda path: SimpleNamespace(split=SimpleNamespace(images=range(50_000)))
    )
    commands = []

    def seconds(command):
        commands.append(command)
        changes = changes_of(command)
        if "stages.train" in command:
            Path(command[5]).write_text(changes.get("train.seed", ""))
            return (
                100 + int(changes.get("train.iterations", 0)) * {"exact": 3, "float32": 1}[changes["train.arithmetic"]]
            )
        wrong = range(2 + int(Path(command[3]).read_text()))
        save_mistakes(Path(command[-1]), wrong, [1 for _ in wrong], [2 for _ in wrong])
        return 1

    monkeypatch.setattr(measured, "seconds", seconds)

    def run(*words):
        ran = CliRunner().invoke(measured.main, words)
        assert ran.exit_code == 0, ran.output
        run.output = ran.stdout
        return json.loads(path.read_text())["nielsen"]

    run.commands = commands
    return run


def changes_of(command: list[str]) -> dict[str, str]:
    """Return what a command line changes by -S."""
    return dict(change.split("=") for before, change in pairwise(command) if before == "-S")


def test_the_times_are_those_of_a_whole_training(costs):
    """Nielsen's network learns in batches of 10."""
    steps = load_params(measured.ROOT / "records" / "nielsen.yaml").train.iterations
    found = costs("nielsen")
    assert found["seconds"] == {"exact": 3.0 * steps, "float32": 1.0 * steps}
    assert "float32_errors" not in found
    for command in costs.commands:
        assert command[1:5] == ["-m", "stages.train", str(DATA / "train.npz"), str(DATA / "validation.npz")]
        assert command[command.index("--params") + 1] == "records/nielsen.yaml"
        assert changes_of(command)["train.iterations"] in ("5000", "20000")  # whole epochs; the start counts twice
    costs("nielsen")
    assert len(costs.commands) == 8  # it measured again


def test_the_errors_are_those_of_float32_on_the_test_images(costs):
    assert costs("nielsen", "--seeds", "3")["float32_errors"] == [2, 3, 4]
    assert costs.output.splitlines()[:3] == [f"nielsen, seed {seed}: {2 + seed} errors in float32" for seed in range(3)]
    assert costs.output.endswith("errors in float32: 2, 3, 4\n")
    commands = costs.commands[4:]  # after those that measure the times
    assert [command[2] for command in commands] == ["stages.train", "stages.evaluate"] * 3
    changes = [{"train.arithmetic": "float32", "train.seed": str(seed)} for seed in range(3)]
    assert list(map(changes_of, commands[::2])) == changes
    assert [command[4] for command in commands[1::2]] == [str(DATA / "test.npz")] * 3


def test_the_benchmark_measures_each_record(costs):
    costs("nielsen", "simard-none")
    assert json.loads(measured.COSTS.read_text()).keys() == {"nielsen", "simard-none"}


def test_the_benchmark_trains_the_seeds_that_are_missing(costs):
    costs("nielsen", "--seeds", "2")
    written = json.loads(measured.COSTS.read_text())
    written["nielsen"]["float32_errors"] = [70, 80]
    measured.COSTS.write_text(json.dumps(written))
    assert costs("nielsen", "--seeds", "3")["float32_errors"] == [70, 80, 4]
    assert costs("nielsen")["float32_errors"] == [70, 80, 4]


def test_the_benchmark_forgets_what_has_other_parameters(costs):
    costs("nielsen", "--seeds", "2")
    text = measured.COSTS.read_text()
    measured.COSTS.write_text(text.replace(measured.digest(measured.params_of("nielsen")), "another"))
    assert costs("nielsen", "--seeds", "1")["float32_errors"] == [2]


def test_the_machine_is_that_of_the_seconds(costs, monkeypatch):
    first = costs("nielsen", "--seeds", "2")["machine"]
    monkeypatch.setattr(measured, "available_cores", lambda: 64)
    entry = costs("nielsen", "--seeds", "3")
    assert (entry["machine"], entry["float32_errors"]) == (first, [2, 3, 4])  # errors may come from any machine
    assert "64 cores" in costs("nielsen")["machine"]  # measured again, in both arithmetics


def test_the_benchmark_keeps_what_another_run_wrote(costs, monkeypatch):
    def errors(name, seed, folder):
        if seed == 0:
            written = json.loads(measured.COSTS.read_text()) | {"fashion": {"recipe": "of another run"}}
            measured.COSTS.write_text(json.dumps(written))
        return seed

    monkeypatch.setattr(measured, "errors", errors)
    assert costs("nielsen", "--seeds", "2")["float32_errors"] == [0, 1]
    assert json.loads(measured.COSTS.read_text())["fashion"] == {"recipe": "of another run"}


def test_the_benchmark_without_data_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(measured, "data_of", lambda name: tmp_path / "mnist")
    refusal(CliRunner().invoke(measured.main, ["nielsen", "--seeds", "5"]), "", "dvc repro prepare@mnist")
