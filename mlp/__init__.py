"""A multi-layer perceptron in NumPy, with the same bits on every machine.

The names below are enough to train and to use a network; docs/mathematics.md has a program of a few lines.
"""

from mlp.network import Network, Preparation, Split, forward, gradients, init_network, predict, step
from mlp.optimizers import SGD, Adam, Optimizer, Schedule
from mlp.training import Method, measure, new_state, train

__all__ = [
    *("Network", "Preparation", "Split", "forward", "gradients", "init_network", "predict", "step"),
    *("SGD", "Adam", "Optimizer", "Schedule"),
    *("Method", "measure", "new_state", "train"),
]
