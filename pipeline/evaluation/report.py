"""How many images of each class were taken for which: counts, and the measures that follow from them."""

import numpy as np


def confusion_matrix(actual: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return (classes, classes) counts: row i, column j has the images of class i that were predicted as j."""
    return np.bincount(actual * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def classification_report(actual: np.ndarray, predicted: np.ndarray, classes: int) -> list[dict[str, float]]:
    """Return of each class its precision, recall, F1 and number of images.

    Precision is the share of right ones among the images predicted as the class, recall among the images of the class,
    and F1 = 2 · right / (predicted + actual) is their harmonic mean. A share of no images is 0.
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
