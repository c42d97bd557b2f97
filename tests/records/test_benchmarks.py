"""The benchmarks: their tables, and what counts as a missed limit."""

import json

import numpy as np
import pytest

from benchmarks import peers, records, speed
from benchmarks.speed import Measurement
from records.ledger import RECORDS
from tests.support.networks import digits


def measured(peer: str, times: list[float], threads: int = 1) -> Measurement:
    return Measurement(peer, threads, "1.0", 10, times, [0.9, 0.5])


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


def test_both_arithmetics_learn_the_same():
    source = np.random.default_rng(0)
    W1, W2 = source.normal(0.0, 0.01, (784, 50)), source.normal(0.0, 0.01, (50, 10))
    task = peers.Task(*digits("train"), 1 / 255, W1, W2)
    exact, float32 = ([run()[0] for _ in range(8)] for run in (peers.EXACT(task), peers.FLOAT32(task)))
    assert exact == pytest.approx(float32, rel=1e-4)
    assert exact[-1] < exact[0]


@pytest.mark.committed
def test_the_costs_in_git_are_those_of_these_parameters():
    costs = json.loads(records.COSTS.read_text())
    assert costs.keys() == set(RECORDS)
    for record, entry in costs.items():
        assert entry["recipe"] == records.digest(records.params_of(record)), record
