"""A multi-layer perceptron in NumPy, with the same bits on every machine.

These names are enough to train and to use a network. docs/mathematics.md has a program of a few lines.
"""

from mlp.network import Network as Network
from mlp.network import Preparation as Preparation
from mlp.network import Split as Split
from mlp.network import init_network as init_network
from mlp.network import predict as predict
from mlp.optimizers import SGD as SGD
from mlp.optimizers import Adam as Adam
from mlp.optimizers import Optimizer as Optimizer
from mlp.optimizers import Schedule as Schedule
from mlp.training import Method as Method
from mlp.training import measure as measure
from mlp.training import new_state as new_state
from mlp.training import train as train
