"""The benchmarks run on this code, and the costs in Git belong to these records."""

import json

import numpy as np
import pytest

from benchmarks import peers, records
from records.ledger import RECORDS
from tests.support.networks import digits


def test_both_arithmetics_learn_the_same():
    source = np.random.default_rng(0)
    W1, W2 = source.normal(0.0, 0.01, (784, 50)), source.normal(0.0, 0.01, (50, 10))
    task = peers.Task(*digits("train"), 1 / 255, W1, W2)
    runs = (peers.EXACT(task), peers.FLOAT32(task))
    exact, float32 = ([run()[0] for _ in range(8)] for run in runs)
    assert exact == pytest.approx(float32, rel=1e-4)
    assert exact[-1] < exact[0]


@pytest.mark.committed
def test_the_costs_in_git_are_those_of_these_parameters():
    costs = json.loads(records.COSTS.read_text())
    assert costs.keys() <= set(RECORDS)
    for record, entry in costs.items():
        assert entry["recipe"] == records.digest(records.params_of(record)), record
