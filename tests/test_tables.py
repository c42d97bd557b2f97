"""The two tables, read back as they were written; what is refused of them, test_plot.py has."""

import numpy as np

from pipeline.store.tables import EpochRow, read_confusion, read_history, write_confusion, write_history


def test_history_is_read_back_to_the_last_bit(tmp_path):
    epochs = [EpochRow(1, 550, 0.1 + 0.2, 1 / 3, 1e-320, 1.0), EpochRow(2, 1100, 5e22, 0.0, 123456789.123, 2 / 3)]
    write_history(tmp_path / "history.csv", epochs)
    lines = (tmp_path / "history.csv").read_bytes().decode().split("\n")
    assert lines[:2] == [
        "epoch,iteration,loss,train_accuracy,validation_loss,validation_accuracy",
        "1,550,0.30000000000000004,0.3333333333333333,1e-320,1.0",
    ]
    history = read_history(tmp_path / "history.csv")
    assert list(history) == list(EpochRow._fields)
    assert list(zip(*(column.tolist() for column in history.values()), strict=True)) == epochs


def test_confusion_is_read_back_whatever_the_classes_are_called(tmp_path):
    path, classes = tmp_path / "confusion.csv", ("T-shirt/top", "a, b", 'the "c"', "two\nlines", "", "é")
    actual, predicted = np.array([0, 1, 2, 3, 4, 5, 0]), np.array([1, 2, 3, 4, 5, 0, 0])
    write_confusion(path, classes, actual, predicted)
    assert path.read_bytes().startswith(b'actual,predicted\nT-shirt/top,"a, b"\n"a, b","the ""c"""\n')
    for now, then in zip(read_confusion(path, classes), (actual, predicted), strict=True):
        np.testing.assert_array_equal(now, then)
