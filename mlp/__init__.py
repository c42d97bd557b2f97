"""A multi-layer perceptron in NumPy, with the same bits on every machine.

`Classifier` trains and uses a network in two lines. Other names: docs/mathematics.md
"""

from mlp.classifier import Classifier
from mlp.network import MLP, init_network
from mlp.optimizers import SGD, Adam, Optimizer, RMSprop, Schedule
from mlp.prediction import measure, predict
from mlp.protocol import Network, Preparation, Split
from mlp.training import Method, new_state, train, trained_network

__all__ = ["MLP", "SGD", "Adam", "Classifier", "Method", "Network", "Optimizer", "Preparation"]
__all__ += ["RMSprop", "Schedule", "Split", "init_network", "measure", "new_state", "predict"]
__all__ += ["train", "trained_network"]
