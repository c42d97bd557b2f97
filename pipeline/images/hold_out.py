"""Which images are held out of training."""

import numpy as np

from mlp.random import permutation


def hold_out(n: int, validation_size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to train on and the rows held out for validation, of n images: two sorted arrays of integers.

    `validation_size` is less than n; `seed` decides which images are held out. Training shuffles the images anyway, so
    they keep their order here.
    """
    order = permutation(np.random.PCG64(seed), n)
    return np.sort(order[validation_size:]), np.sort(order[:validation_size])
