"""The benchmarks: their tables, what counts as a missed limit, and which records are measured again."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import growth, peers, records, speed
from benchmarks.speed import Measurement
from pipeline.images.idx import read_images, read_labels
from pipeline.program.errors import UserError
from records.ledger import RECORDS
from tests.support.files import save_mistakes
from tests.support.refusals import refusal


def measured(peer: str, times: list[float], threads: int = 1, losses: tuple[float, ...] = (0.9, 0.5)) -> Measurement:
    return Measurement(peer, threads, "1.0", 10, times, list(losses))


def steps(exact: float) -> list[Measurement]:
    """Two rounds; in the second everything takes twice as long."""
    times = {"pytorch": 40.0, "sklearn": 60.0, "jax": 20.0, "exact": exact, "float32": 10.0}
    times |= {"products64": 20.0, "products32": 10.0}
    slow = measured("pytorch", [80.0, 90.0], threads=2)
    return [slow, *(measured(peer, [time, 2 * time]) for peer, time in times.items())]


def cells(table: str, name: str) -> list[str]:
    """Return the cells of a table's last row of this name."""
    (*_, row) = [line for line in table.splitlines() if name in line]
    return [cell.strip() for cell in row.strip("|").split("|")][1:]


def test_a_step_is_compared_with_the_better_number_of_threads_and_judged_by_bare_products():
    most = speed.STEP_AT_MOST[50]["exact"]
    table = speed.steps_table(50, steps(exact=30.0))
    ratios = ["0.75 (0.75)", "0.50 (0.50)", "1.50 (1.50)", "1.50 (1.50)"]
    assert cells(table, "this project, exact") == ["1", "45", "30–60", *ratios, f"{most:.2f}", "met"]
    assert cells(table, "JAX")[-2:] == ["", ""]
    assert cells(speed.steps_table(50, steps(exact=21 * most)), "this project, exact")[-1] == "missed"


def test_a_training_is_judged_by_pytorch():
    trained = [measured("pytorch", [10e4, 10e4]), measured("exact", [19e4, 21e4]), measured("float32", [9e4, 12e4])]
    table = speed.trainings_table(trained)
    assert cells(table, "exact") == ["1", "8.0", "2.00 (1.90)", "2.00", "met", "0.5000"]
    assert cells(table, "float32")[-3:-1] == ["1.00", "missed"]
    assert speed.missed({50: steps(30.0), 800: steps(200.0)}, trained) == [
        "784-800-10, exact: 10.00 times the bare products; at most 1.80.",
        "whole training, float32: 1.05 times PyTorch; at most 1.00.",
    ]


@pytest.mark.parametrize("losses", [(0.9, 0.54), (0.4, 0.5)])
def test_a_peer_that_learns_something_else_is_an_error(losses):
    peers = [measured("exact", []), measured("jax", []), measured("products64", [], losses=())]
    speed.check_losses(peers)
    with pytest.raises(UserError, match="pytorch"):
        speed.check_losses([*peers, measured("pytorch", [], losses=losses)])


def test_both_arithmetics_learn_the_same(raw):
    images = read_images(raw / "train-images-idx3-ubyte")[:].reshape(-1, 784)
    labels = np.eye(10, dtype=np.uint8)[read_labels(raw / "train-labels-idx1-ubyte", 10)]
    source = np.random.default_rng(0)
    W1, W2 = source.normal(0.0, 0.01, (784, 50)), source.normal(0.0, 0.01, (50, 10))
    task = peers.Task(images, labels, 1 / 255, W1, W2)
    exact, float32 = ([run()[0] for _ in range(8)] for run in (peers.EXACT(task), peers.FLOAT32(task)))
    assert exact == pytest.approx(float32, rel=1e-4)
    assert exact[-1] < exact[0]


def test_a_training_set_is_repeated(raw, tmp_path):
    growth.repeat_images(raw, tmp_path, 3)
    once, thrice = (read_images(folder / "train-images-idx3-ubyte")[:] for folder in (raw, tmp_path))
    assert np.array_equal(thrice, np.concatenate([once, once, once]))
    assert len(read_labels(tmp_path / "train-labels-idx1-ubyte", 10)) == 3 * len(once)


# What records cost


@pytest.mark.committed
def test_the_costs_in_git_are_those_of_these_parameters():
    costs = json.loads(records.COSTS.read_text())
    assert costs.keys() == set(RECORDS)
    for record, entry in costs.items():
        assert entry["recipe"] == records.digest(records.params_of(record)), record


@pytest.fixture
def measure(tmp_path, monkeypatch):
    """A function that measures nielsen, whose stages end at once, and returns its entry.

    A training in exact arithmetic takes 3 seconds for each step, in float32 1, and 100 more for its start. A float32
    network of seed n gets 2 + n images wrong, another none. An epoch has 5,000 steps.
    """
    path = tmp_path / "costs.json"
    monkeypatch.setattr(records, "COSTS", path)
    monkeypatch.setattr(records, "check_data", lambda name: None)
    images = SimpleNamespace(split=SimpleNamespace(images=range(50_000)))
    monkeypatch.setattr(records, "load_prepared", lambda path: images)

    def seconds(command):
        changes = dict(word.split("=") for word in command if word.startswith("train."))
        float32 = changes.get("train.arithmetic") == "float32"
        if "stages.train" in command:
            Path(command[5]).write_text(changes["train.seed"] if float32 and "train.seed" in changes else "-2")
            return 100 + int(changes.get("train.iterations", 0)) * (1 if float32 else 3)
        wrong = range(2 + int(Path(command[3]).read_text()))
        save_mistakes(Path(command[5]).parent, wrong, [1 for _ in wrong], [2 for _ in wrong])
        return 1

    monkeypatch.setattr(records, "seconds", seconds)

    def run(*words):
        ran = CliRunner().invoke(records.main, ["nielsen", *words])
        assert ran.exit_code == 0, ran.output
        return json.loads(path.read_text())["nielsen"]

    return run


def test_a_records_time_is_that_of_a_whole_training_without_its_start(measure):
    iterations = records.params_of("nielsen").train.iterations
    assert measure()["seconds"] == {"exact": 3.0 * iterations, "float32": 1.0 * iterations}


def test_float32_seeds_that_are_missing_are_trained_and_those_of_other_parameters_forgotten(measure, monkeypatch):
    first = measure("--seeds", "2")
    assert first["float32_errors"] == [2, 3]
    written = {"nielsen": first | {"float32_errors": [70, 80]}, "fashion": {"recipe": "of another run"}}
    records.COSTS.write_text(json.dumps(written))
    monkeypatch.setattr(records, "available_cores", lambda: 64)
    entry = measure("--seeds", "3")
    assert entry["float32_errors"] == [70, 80, 4]
    assert entry["machine"] == first["machine"]  # of the seconds, which were not measured again
    assert "64 cores" in measure()["machine"]
    assert json.loads(records.COSTS.read_text())["fashion"] == written["fashion"]

    records.COSTS.write_text(json.dumps({"nielsen": entry | {"recipe": "another"}}))
    assert measure("--seeds", "1")["float32_errors"] == [2]


def test_a_record_without_data_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "data_of", lambda name: tmp_path / "mnist")
    refusal(CliRunner().invoke(records.main, ["nielsen", "--seeds", "5"]), "", "dvc repro prepare@mnist")
