"""A multi-layer perceptron in NumPy, with the same bits on every machine.

These names are enough to train and to use a network. docs/mathematics.md has a program of a few
lines.
"""

from mlp.network import Network, Preparation, Split, init_network, predict
from mlp.optimizers import SGD, Adam, Optimizer, Schedule
from mlp.training import Method, measure, new_state, train

__all__ = [
    "SGD",
    "Adam",
    "Method",
    "Network",
    "Optimizer",
    "Preparation",
    "Schedule",
    "Split",
    "init_network",
]
__all__ += ["measure", "new_state", "predict", "train"]
