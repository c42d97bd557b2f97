"""The evaluation of a network on the test images, and its files."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlp.layers import cross_entropy, loss_terms
from mlp.prediction import predict, quiet
from mlp.protocol import Network, Split
from pipeline.program.files import write_json
from pipeline.store.artifacts import Misclassified, save_misclassified
from pipeline.store.tables import write_confusion


class Evaluation(NamedTuple):
    """The results of a network on some images."""

    loss: float  # mean cross-entropy, in nats per image
    actual: np.ndarray  # index of each image's class, (n,) int64
    predicted: np.ndarray  # index of the class with the highest probability, (n,) int64
    mistakes: Misclassified  # the misclassified images, the most confident mistake first


@quiet()
def evaluate(network: Network, split: Split) -> Evaluation:
    """Measure a network on a split. A FloatingPointError says that the loss is not finite."""
    images, labels = split
    y, log_y = predict(network, images)
    A, preparation = network.arithmetic, network.preparation
    # Of the logarithms, since a probability can underflow to 0: ln y − ln 1
    loss = cross_entropy(A, loss_terms(log_y, np.ones((len(y), 1), A.dtype), labels))
    # int64 on every machine: NumPy's own choice has 32 bits on some
    actual, predicted = labels.argmax(axis=1).astype(np.int64), y.argmax(axis=1).astype(np.int64)
    wrong = np.flatnonzero(actual != predicted).astype(np.int64)
    wrong = wrong[np.argsort(-y[wrong, predicted[wrong]], kind="stable")]
    probability = y[wrong, predicted[wrong]].astype(np.float64)
    columns = images[wrong], actual[wrong], predicted[wrong], probability, wrong
    mistakes = Misclassified(*columns, preparation.image_shape, preparation.classes)
    return Evaluation(loss, actual, predicted, mistakes)


def save_evaluation(
    evaluation: Evaluation, misclassified: Path, metrics: Path, classes: Path, confusion: Path
) -> None:
    """Write the files of an evaluation: the arguments of the evaluate stage say what is in each."""
    loss, actual, predicted, mistakes = evaluation
    accuracy = np.count_nonzero(actual == predicted) / len(actual)
    names = mistakes.classes
    report = classification_report(actual, predicted, len(names))
    macro_f1 = mean_f1(report)
    save_misclassified(misclassified, mistakes)
    write_json(metrics, {"accuracy": accuracy, "loss": loss, "macro_f1": macro_f1})
    rows = [{"class": name} | scores for name, scores in zip(names, report, strict=True)]
    write_json(classes, rows)
    write_confusion(confusion, names, actual, predicted)


def mean_f1(report: list[dict[str, float]]) -> float:
    """Return the mean F1 of a `classification_report`: every class counts the same."""
    return math.fsum(scores["f1"] for scores in report) / len(report)


def is_hardly_better_than_guessing(accuracy: float, labels: np.ndarray) -> bool:
    """Return whether an accuracy is near that of naming the most frequent class each time.

    `labels` are one-hot, (n, classes).
    """
    share = float(np.bincount(labels.argmax(axis=1)).max()) / len(labels)
    return accuracy < min(2 * share, (1 + share) / 2)


def classification_report(
    actual: np.ndarray, predicted: np.ndarray, classes: int
) -> list[dict[str, float]]:
    """Return the precision, recall, F1 and number of images of each class.

    `actual` and `predicted` are indices of classes, (n,). Precision is the share of correct
    predictions among the images predicted as the class. Recall is their share among the images of
    the class. F1 = 2 · correct / (predicted + actual) is the harmonic mean. A share of no images
    is 0.
    """
    # Row i, column j counts the images of class i predicted as class j
    counts = np.bincount(actual * classes + predicted, minlength=classes * classes)
    matrix = counts.reshape(classes, classes)
    columns = np.stack([matrix.diagonal(), matrix.sum(axis=0), matrix.sum(axis=1)], axis=1)
    return [
        {
            "precision": right / n_predicted if n_predicted else 0.0,
            "recall": right / n_actual if n_actual else 0.0,
            "f1": 2 * right / (n_predicted + n_actual) if right else 0.0,
            "images": n_actual,
        }
        for right, n_predicted, n_actual in columns.tolist()
    ]
