"""The two tables: each number to its last bit, a bounded number of rows, classes of any name."""

import csv

import numpy as np
import pytest

from mlp.training import Epoch, Score
from pipeline.store.tables import write_confusion, write_history


def epoch(number, iteration, loss, train_accuracy, validation_loss, validation_accuracy):
    scores = (Score(0.0, train_accuracy), Score(validation_loss, validation_accuracy))
    return Epoch(number, iteration, loss, scores, f"{number:016x}")


def read(path):
    assert b"\r" not in path.read_bytes()
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_history_has_each_number_to_its_last_bit(tmp_path):
    epochs = [epoch(1, 550, 0.1 + 0.2, 1 / 3, 1e-320, 1.0), epoch(2, 1100, 5e22, 0.0, 123456789.123, 2 / 3)]
    write_history(tmp_path / "history.csv", epochs, kept=2)
    assert read(tmp_path / "history.csv") == [
        ["epoch", "iteration", "loss", "train_accuracy", "validation_loss", "validation_accuracy", "state", "kept"],
        ["1", "550", "0.30000000000000004", "0.3333333333333333", "1e-320", "1.0", "0000000000000001", "0"],
        ["2", "1100", "5e+22", "0.0", "123456789.123", "0.6666666666666666", "0000000000000002", "1"],
    ]


@pytest.mark.parametrize(("total", "kept", "every"), [(1, 0, 1), (500, 500, 1), (501, 7, 2), (16_667, 5, 34)])
def test_history_has_rows_at_equal_distances_the_last_epoch_and_the_one_that_is_kept(tmp_path, total, kept, every):
    third = 1 / 3  # 18 characters
    path = tmp_path / "history.csv"
    write_history(path, [epoch(number, 3 * number, *[third] * 4) for number in range(1, total + 1)], kept)
    _, *rows = read(path)
    assert [int(row[0]) for row in rows] == sorted({*range(every, total, every), kept, total} - {0})
    assert [int(row[0]) for row in rows if row[-1] == "1"] == [kept] * (kept > 0)
    assert path.stat().st_size < 60_000  # it is in Git, and drawn on a page


def test_confusion_has_the_classes_whatever_they_are_called(tmp_path):
    classes = ("T-shirt/top", "a, b", 'the "c"', "é")
    write_confusion(tmp_path / "confusion.csv", classes, np.array([0, 1, 2]), np.array([1, 3, 2]))
    expected = [["actual", "predicted"], ["T-shirt/top", "a, b"], ["a, b", "é"], ['the "c"', 'the "c"']]
    assert read(tmp_path / "confusion.csv") == expected
