"""Which class a network predicts, without computing all logits to the last bit.

float32 is twice as fast as exact arithmetic, and wrong in the seventh digit, in a way that depends on the machine. But
how wrong it can be is known. Where the largest logit leads by more than that, exact arithmetic finds the same class;
the few images left are computed exactly.
"""

import math
from dataclasses import replace

import numpy as np

from mlp.network import Network, logits

UNIT = 2.0**-24  # of rounding to float32, relative
GRID = 2.0**-21  # of rounding to a grid of 21 bits, relative to the largest element
LOST = (
    2.0**-100
)  # above what float32 loses of a number at its lower end, whether it is rounded there or flushed to zero
OVERFLOW = 2.0**127  # below where float32 ends
LONGEST = 2**22  # sum that the bound is good for
# Of each activation f: the largest |f′|; the largest |f(x)| for |x| ≤ a; how far float32 may be from f, with an `exp`
# that is good to 8 units in the last place.
ACTIVATION_BOUNDS = {
    "sigmoid": (0.25, lambda a: 1.0, 2.0**-20),
    "tanh": (1.0, lambda a: 1.0, 2.0**-19),
    "relu": (1.0, lambda a: a, 0.0),
}


def classify(network: Network, images: np.ndarray) -> np.ndarray:
    """Return the class with the largest logit for each image, (n,) integers; as `logits` would give it.

    `images` is (n, features) uint8.
    """
    if network.arithmetic == "float32":
        return logits(network, images).argmax(axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        rough = replace(
            network,
            weights=[W.astype(np.float32) for W in network.weights],
            biases=[b.astype(np.float32) for b in network.biases],
            arithmetic="float32",
        )
        scores = logits(rough, images)
        second, first = np.partition(scores, -2, axis=1)[:, -2:].T
        # Each of two logits may be off by the error in float32, and by as much again in exact arithmetic.
        certain = first - second > 4.0 * logit_error(network)  # not so where a number is not finite: the bound is not
    predicted = scores.argmax(axis=1)
    doubtful = np.flatnonzero(~certain)
    if len(doubtful):
        predicted[doubtful] = logits(network, images[doubtful]).argmax(axis=1)
    return predicted


def logit_error(network: Network) -> float:
    """Return how far a logit can be from what real numbers would give, in exact arithmetic and in float32.

    The classical forward error analysis (N. J. Higham, *Accuracy and Stability of Numerical Algorithms*, chapter 3): a
    sum of n products is off by at most γ = n u / (1 − n u) times the sum of their absolute values, in any order. For
    n ≤ 2²² twice (n + 8) u is above γ, with room for the roundings of scale and bias, and for those of this bound. It
    takes a float32 product for what it says, a sum of products in some order, and is infinite where one might overflow.
    """
    steepness, largest_output, activation_error = ACTIVATION_BOUNDS[network.activation]
    largest, error, scale = 255.0, 0.0, network.scale  # of a layer's inputs: magnitude, error, and what scales them
    for layer, (W, b) in enumerate(zip(network.weights, network.biases, strict=True)):
        if layer > 0:
            error = steepness * error + activation_error + GRID * largest_output(largest)
            largest, scale = largest_output(largest), 1.0
        n = len(W)
        magnitudes = np.abs(W)
        column = float(np.add.reduce(magnitudes, 0).max())
        weight_error = n * (GRID * float(magnitudes.max()) + LOST)  # of a column
        bias = float(np.abs(b).max())
        off = column * error + weight_error * (largest + error) + n * LOST
        total = scale * (column + weight_error) * (largest + error) + bias
        if n > LONGEST or not max(total, total / scale) < OVERFLOW:
            return math.inf
        error = scale * off + 2.0 * (n + 8) * UNIT * total + LOST
        largest = scale * column * largest + bias
    return error
