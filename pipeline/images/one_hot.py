"""Labels as rows with a single 1."""

import numpy as np


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return (n, classes) uint8: row i has a 1 in column `labels[i]` and 0 elsewhere. `labels` is (n,) integers."""
    return (labels[:, np.newaxis] == np.arange(classes)).view(np.uint8)
