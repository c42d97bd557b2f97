"""The two tables: written and read back, a bounded number of rows, and damage."""

import numpy as np
import pytest

from mlp.training import Epoch, Score
from pipeline.store.tables import HISTORY_COLUMNS, read_history, write_confusion, write_history
from tests.support.refusals import refused


def epoch(number, iteration, loss, train_accuracy, validation_loss, validation_accuracy):
    return Epoch(number, iteration, loss, (Score(0.0, train_accuracy), Score(validation_loss, validation_accuracy)))


def test_history_is_read_back_to_the_last_bit(tmp_path):
    rows = [(1, 550, 0.1 + 0.2, 1 / 3, 1e-320, 1.0), (2, 1100, 5e22, 0.0, 123456789.123, 2 / 3)]
    write_history(tmp_path / "history.csv", [epoch(*row) for row in rows], kept=2)
    lines = (tmp_path / "history.csv").read_bytes().decode().split("\n")
    assert lines[:2] == [
        "epoch,iteration,loss,train_accuracy,validation_loss,validation_accuracy,kept",
        "1,550,0.30000000000000004,0.3333333333333333,1e-320,1.0,0",
    ]
    history = read_history(tmp_path / "history.csv")
    assert list(history) == list(HISTORY_COLUMNS)
    assert list(zip(*(column.tolist() for column in history.values()), strict=True)) == [(*rows[0], 0), (*rows[1], 1)]


def test_confusion_names_the_classes_whatever_they_are_called(tmp_path):
    path, classes = tmp_path / "confusion.csv", ("T-shirt/top", "a, b", 'the "c"', "é")
    write_confusion(path, classes, np.array([0, 1, 2, 3]), np.array([1, 2, 3, 3]))
    lines = ["actual,predicted", 'T-shirt/top,"a, b"', '"a, b","the ""c"""', '"the ""c""",é', "é,é", ""]
    assert path.read_bytes().decode() == "\n".join(lines)


@pytest.mark.parametrize(
    ("total", "kept", "every"), [(1, 1, 1), (499, 3, 1), (500, 500, 1), (501, 7, 2), (1000, 10, 2), (16_667, 5, 34)]
)
def test_a_history_has_rows_at_equal_distances_the_last_epoch_and_the_one_that_is_kept(tmp_path, total, kept, every):
    third = 1 / 3  # 18 characters
    epochs = [epoch(number, 3 * number, third, third, third, third) for number in range(1, total + 1)]
    write_history(tmp_path / "history.csv", epochs, kept)
    history = read_history(tmp_path / "history.csv")
    assert history["epoch"].tolist() == sorted({*range(every, total, every), kept, total})
    assert history["epoch"][history["kept"] == 1].tolist() == [kept]
    assert (tmp_path / "history.csv").stat().st_size < 50_000  # it is in Git, and drawn on a page


HEAD = ",".join(HISTORY_COLUMNS).encode()


@pytest.mark.parametrize(
    ("content", "about"),
    [
        (b"", "header"),
        (b"epoch,loss\n1,2\n", "header"),
        (HEAD + b"\n", "length"),
        (HEAD + b"\n1,2,3,4,5,6,0\n1,2,3\n", "line 3"),
        (HEAD + b"\n1,2,3,4,5,six,0\n", "validation_accuracy"),
        (HEAD + b"\n1,2,3,4,5,6,0\n1,2,nan,4,5,6,0\n", "loss"),
        (HEAD + b"\n1,2,inf,4,five,6,0\n", "loss"),
        (HEAD + b'\n1,2,3,4,5,6,"0\n', ""),
        (b"\xff", ""),
        (None, ""),
    ],
)
def test_damaged_history_is_refused(tmp_path, content, about):
    path = tmp_path / "history.csv"
    if content is not None:
        path.write_bytes(content)
    error = refused(read_history, path)
    assert error.about == about
    assert "`dvc repro`" in str(error)
