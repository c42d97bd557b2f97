"""The evaluation of a network on the test images, and its files."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlp.layers import cross_entropy, loss_terms, softmax
from mlp.network import Network, Split, logits
from pipeline.evaluation.report import classification_report
from pipeline.program.files import write_json
from pipeline.store.artifacts import Misclassified, save_misclassified
from pipeline.store.tables import write_confusion


class Evaluation(NamedTuple):
    """The results of a network on some images.

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


def evaluate(network: Network, split: Split) -> Evaluation:
    """Measure `network` on the images of `split`.

    Raises:
        FloatingPointError: its loss is not finite.
    """
    images, labels = split
    with np.errstate(over="ignore", invalid="ignore"):
        z = logits(network, images)
        y, shifted, total = softmax(network.arithmetic, z)
        loss = cross_entropy(network.arithmetic, loss_terms(shifted, total, labels))
    actual, predicted = labels.argmax(axis=1), z.argmax(axis=1)
    wrong = np.flatnonzero(actual != predicted)
    probability = y[wrong, predicted[wrong]].astype(np.float64)
    order = np.argsort(-probability, kind="stable")
    wrong, probability = wrong[order], probability[order]
    _, _, image_shape, classes = network.preparation
    mistakes = Misclassified(images[wrong], actual[wrong], predicted[wrong], probability, wrong, image_shape, classes)
    return Evaluation(loss, actual, predicted, mistakes)


def save_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write test.json, classes.json, confusion.csv and misclassified.npz into `folder`."""
    loss, actual, predicted, mistakes = evaluation
    accuracy = np.count_nonzero(actual == predicted) / len(actual)
    write_json(folder / "test.json", {"accuracy": accuracy, "loss": loss})
    classes = mistakes.classes
    report = zip(classes, classification_report(actual, predicted, len(classes)), strict=True)
    write_json(folder / "classes.json", [{"class": name, **scores} for name, scores in report])
    write_confusion(folder / "confusion.csv", classes, actual, predicted)
    save_misclassified(folder / "misclassified.npz", mistakes)
