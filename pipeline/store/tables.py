"""The two CSV tables that DVC plots: the history of training, and the actual and predicted class of each test image."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mlp.training import Epoch
from pipeline.program.errors import UserError, clip
from pipeline.program.files import write_text

# A row of the history: the results of one epoch
HISTORY_COLUMNS = (
    "epoch",  # number of the epoch, from 1
    "iteration",  # number of steps taken so far
    "loss",  # mean over the epoch's mini-batches, each measured before its step
    "train_accuracy",  # on a fixed sample of the training images, as many as there are validation images
    "validation_loss",  # on all validation images
    "validation_accuracy",
    "kept",  # 1 for the epoch whose network is kept, 0 for the others
)
MOST_ROWS = 500  # rows of a history, which is in Git and is drawn on a page
CONFUSION_COLUMNS = ("actual", "predicted")


def write_history(path: Path, epochs: Sequence[Epoch], kept: int = 0) -> None:
    """Write the results of each epoch, one row each; floats by `repr`.

    Up to `MOST_ROWS` epochs all have a row. Otherwise every k-th does, and the last, and the one that is kept.

    Args:
        path: the CSV file.
        epochs: the epochs. Their scores are those of training images and of the validation images.
        kept: the number of the epoch whose network is kept; 0, if that is not known yet.
    """
    every = -(-len(epochs) // MOST_ROWS)
    rows = [
        (number, iteration, loss, seen.accuracy, unseen.loss, unseen.accuracy, int(number == kept))
        for number, iteration, loss, (seen, unseen) in epochs
        if number % every == 0 or number in (kept, epochs[-1].epoch)
    ]
    _write(path, HISTORY_COLUMNS, (map(repr, row) for row in rows))


def read_history(path: Path) -> dict[str, np.ndarray]:
    """Read the history of training. Return one array of finite floats for each column.

    Raises:
        UserError: the file is missing or is not such a table.
    """
    history = {}
    for name, *column in zip(HISTORY_COLUMNS, *_read(path, HISTORY_COLUMNS), strict=True):
        try:
            history[name] = np.array(column, float)
        except ValueError as error:
            raise _unusable(
                path, name, f"its column {name} has a value that is not a number ({clip(str(error))})"
            ) from None
        if not np.isfinite(history[name]).all():
            raise _unusable(path, name, f"its column {name} has a number that is not finite")
    return history


def write_confusion(path: Path, classes: Sequence[str], actual: np.ndarray, predicted: np.ndarray) -> None:
    """Write the names of each image's actual and predicted class, given as indices of `classes`."""
    _write(path, CONFUSION_COLUMNS, ((classes[a], classes[p]) for a, p in zip(actual, predicted, strict=True)))


def read_confusion(path: Path, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Read each image's actual and predicted class, as indices of `classes`.

    Raises:
        UserError: the file is missing, is not such a table, or names another class.
    """
    index = {name: number for number, name in enumerate(classes)}
    rows = _read(path, CONFUSION_COLUMNS)
    for row in rows:
        for column, name in zip(CONFUSION_COLUMNS, row, strict=True):
            if name not in index:
                raise _unusable(path, column, f"the model has no class {clip(name)!r}")
    actual, predicted = np.array([[index[name] for name in row] for row in rows]).T
    return actual, predicted


def _write(path: Path, columns: Sequence[str], rows: Iterable[Iterable[str]]) -> None:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(path, table.getvalue())


def _read(path: Path, columns: Sequence[str]) -> list[list[str]]:
    """Read the rows below the header. The header must be `columns`, and there must be a row."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file, strict=True))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run `dvc repro`, if a stage makes it.", path=path) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise _unusable(path, "", clip(str(error))) from None
    if lines[:1] != [list(columns)]:
        raise _unusable(path, "header", f"expected the columns {', '.join(columns)}")
    rows = lines[1:]
    if not rows:
        raise _unusable(path, "length", "it has no rows")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(columns):
            raise _unusable(path, f"line {number}", f"line {number} has {len(row)} values, not {len(columns)}")
    return rows


def _unusable(path: Path, about: str, reason: str) -> UserError:
    return UserError(f"{path}: {reason}; run `dvc repro` to make it again.", path=path, about=about)
