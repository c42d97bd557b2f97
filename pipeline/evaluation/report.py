"""The confusion matrix, and precision, recall and F1 of each class."""

import numpy as np


def confusion_matrix(actual: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return the counts, (classes, classes). Row i, column j counts the images of class i predicted as class j."""
    return np.bincount(actual * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def classification_report(actual: np.ndarray, predicted: np.ndarray, classes: int) -> list[dict[str, float]]:
    """Return the precision, recall, F1 and number of images of each class.

    Precision is the share of correct predictions among the images predicted as the class. Recall is their share among
    the images of the class. F1 = 2 · correct / (predicted + actual) is the harmonic mean. A share of no images is 0.
    """
    matrix = confusion_matrix(actual, predicted, classes)
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
