"""The two CSV tables that DVC plots: the history, and the class of each test image."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mlp.training import Epoch
from pipeline.program.files import write_text

# A row of the history: the results of one epoch
HISTORY_COLUMNS = (
    "epoch",  # number of the epoch, from 1
    "iteration",  # number of steps taken so far
    "loss",  # mean over the epoch's mini-batches, each measured before its step
    "train_accuracy",  # on as many training images, always the same, as there are for validation
    "validation_loss",  # on all validation images
    "validation_accuracy",
    "state",  # fingerprint: trainings with equal states were the same until here
    "kept",  # 1 for the epoch whose network is kept, 0 for the others
)
MOST_ROWS = 500  # rows of a history, which is in Git and is drawn on a page


def write_history(path: Path, epochs: Sequence[Epoch], best: int = 0) -> None:
    """Write the results of each epoch, one row each; floats with all their digits.

    Up to `MOST_ROWS` epochs all have a row. Otherwise every k-th does, and the last, and the epoch
    `best`, whose network is kept, if it is known.
    """
    every = -(-len(epochs) // MOST_ROWS)
    rows = []
    for epoch in epochs:
        number, (sample, validation) = epoch.epoch, epoch.scores
        if number % every == 0 or number in (best, epochs[-1].epoch):
            scores = sample.accuracy, validation.loss, validation.accuracy
            ends = epoch.fingerprint, int(number == best)
            rows.append((number, epoch.iteration, epoch.loss, *scores, *ends))
    _write(path, HISTORY_COLUMNS, rows)


def write_confusion(
    path: Path, classes: Sequence[str], actual: np.ndarray, predicted: np.ndarray
) -> None:
    """Write the names of each image's actual and predicted class, given as indices of `classes`."""
    rows = ((classes[a], classes[p]) for a, p in zip(actual, predicted, strict=True))
    _write(path, ("actual", "predicted"), rows)


def _write(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(path, table.getvalue())
