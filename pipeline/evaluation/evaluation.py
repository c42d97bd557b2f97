"""The evaluation of a network, or of a committee of networks, on the test images, and its files."""

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlp.layers import cross_entropy, loss_terms
from mlp.network import Network, Split, predict
from pipeline.program.files import write_json
from pipeline.store.artifacts import Misclassified, save_misclassified
from pipeline.store.tables import write_confusion


class Evaluation(NamedTuple):
    """The results of a network, or of a committee, on some images.

    Attributes:
        loss: the mean cross-entropy, in nats per image.
        actual: the index of each image's class, (n,) integers.
        predicted: the index of the class with the highest probability, (n,) integers.
        mistakes: the misclassified images, the most confident mistake first.
    """

    loss: float
    actual: np.ndarray
    predicted: np.ndarray
    mistakes: Misclassified


def evaluate(networks: Sequence[Network], split: Split) -> Evaluation:
    """Measure a network, or a committee of networks, on the images of `split`.

    A committee's probabilities are the mean of its networks' probabilities.

    Args:
        networks: one network or more, all of one preparation and one arithmetic.
        split: the images, and their labels.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    images, labels = split
    A = networks[0].arithmetic
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        probabilities, logarithms = zip(*(predict(network, images) for network in networks), strict=True)
        y = _mean(probabilities)
        # Not ln y: a probability can be too small for a number, and its logarithm is not
        largest = functools.reduce(np.maximum, logarithms)
        log_y = largest + A.log(_mean([A.exp(log - largest) for log in logarithms]))
        loss = cross_entropy(A, loss_terms(log_y, np.ones((len(y), 1), A.dtype), labels))  # ln y − ln 1
    # int64 on every machine: NumPy's own choice has 32 bits on some
    actual, predicted = labels.argmax(axis=1).astype(np.int64), y.argmax(axis=1).astype(np.int64)
    wrong = np.flatnonzero(actual != predicted).astype(np.int64)
    probability = y[wrong, predicted[wrong]].astype(np.float64)
    order = np.argsort(-probability, kind="stable")
    wrong, probability = wrong[order], probability[order]
    preparation = networks[0].preparation
    image_shape, classes = preparation.image_shape, preparation.classes
    mistakes = Misclassified(images[wrong], actual[wrong], predicted[wrong], probability, wrong, image_shape, classes)
    return Evaluation(loss, actual, predicted, mistakes)


def _mean(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean of arrays, element by element, added in their order."""
    return functools.reduce(np.add, arrays) / len(arrays)


def save_evaluation(evaluation: Evaluation, misclassified: Path, metrics: Path, classes: Path, confusion: Path) -> None:
    """Write the files of an evaluation.

    Args:
        evaluation: the results.
        misclassified: the `.npz` file with the misclassified images.
        metrics: the JSON file with accuracy, loss and mean F1.
        classes: the JSON file with precision, recall and F1 of each class.
        confusion: the CSV file with each image's actual and predicted class.
    """
    loss, actual, predicted, mistakes = evaluation
    accuracy = np.count_nonzero(actual == predicted) / len(actual)
    names = mistakes.classes
    report = classification_report(actual, predicted, len(names))
    # Every class counts the same, however many images it has
    macro_f1 = math.fsum(scores["f1"] for scores in report) / len(report)
    save_misclassified(misclassified, mistakes)
    write_json(metrics, {"accuracy": accuracy, "loss": loss, "macro_f1": macro_f1})
    write_json(classes, [{"class": name} | scores for name, scores in zip(names, report, strict=True)])
    write_confusion(confusion, names, actual, predicted)


def classification_report(actual: np.ndarray, predicted: np.ndarray, classes: int) -> list[dict[str, float]]:
    """Return the precision, recall, F1 and number of images of each class.

    Precision is the share of correct predictions among the images predicted as the class. Recall is their share among
    the images of the class. F1 = 2 · correct / (predicted + actual) is the harmonic mean. A share of no images is 0.
    """
    # Row i, column j counts the images of class i predicted as class j
    matrix = np.bincount(actual * classes + predicted, minlength=classes * classes).reshape(classes, classes)
    report = []
    for right, n_predicted, n_actual in zip(
        matrix.diagonal().tolist(), matrix.sum(axis=0).tolist(), matrix.sum(axis=1).tolist(), strict=True
    ):
        report.append(
            {
                "precision": right / n_predicted if n_predicted else 0.0,
                "recall": right / n_actual if n_actual else 0.0,
                "f1": 2 * right / (n_predicted + n_actual) if right else 0.0,
                "images": n_actual,
            }
        )
    return report
