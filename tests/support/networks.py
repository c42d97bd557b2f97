"""What the tests of the network share: real digits, small networks, training them."""

import gzip
import hashlib
from dataclasses import replace
from functools import cache

import numpy as np

from mlp.arithmetic import ARITHMETICS, Arithmetic
from mlp.layers import ACTIVATIONS, cross_entropy
from mlp.network import Network, Preparation, Split, init_network, step
from mlp.optimizers import Optimizer, Schedule
from mlp.training import Method, new_state, train
from pipeline.images.prepare import one_hot
from tests.support.project import SAMPLE

MINMAX = Preparation(0.0, 1 / 255, (28, 28), tuple("0123456789"))
ZSCORE = MINMAX._replace(shift=33.25, scale=1 / 80)


class Float64(Arithmetic):
    """Plain float64, without grids: the formulas as they stand, for comparison."""

    name = "float64"
    dtype = np.float64


@cache
def digits(part: str) -> Split:
    """Return the 600 training ("train") or 200 test ("test") images of the sample, with their
    labels.
    """
    name = {"train": "train", "test": "t10k"}[part]
    images = gzip.decompress((SAMPLE / f"{name}-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((SAMPLE / f"{name}-labels-idx1-ubyte.gz").read_bytes())[8:]
    return Split(
        np.frombuffer(images, np.uint8).reshape(-1, 784),
        one_hot(np.frombuffer(labels, np.uint8), 10),
    )


def some_digits(first: int, last: int) -> Split:
    """Return some of the training images of the sample."""
    return Split(*(array[first:last] for array in digits("train")))


def new_network(
    arithmetic: str | Arithmetic = "exact",
    hidden=(50,),
    activation="sigmoid",
    std=0.01,
    preparation=MINMAX,
    seed=0,
) -> Network:
    """Return a network for the sample; without arguments the project's default one, 784-50-10."""
    if isinstance(arithmetic, str):
        arithmetic = ARITHMETICS[arithmetic]
    return init_network(tuple(hidden), ACTIVATIONS[activation], std, arithmetic, preparation, seed)


def descent(learning_rate: float, **others) -> Optimizer:
    """Return plain gradient descent at one rate, unless `others` say more."""
    return Optimizer(Schedule(learning_rate), **others)


def method(iterations, batch_size=50, learning_rate=1.0, seed=0, **others) -> Method:
    """Return plain gradient descent as a method, unless `others` say more."""
    return Method(
        iterations, batch_size, seed, others.pop("optimizer", descent(learning_rate)), **others
    )


def run(
    network,
    iterations,
    batch_size=50,
    learning_rate=1.0,
    seed=0,
    training=None,
    watched=(),
    processes=1,
    **more,
):
    """Train, on 500 real digits unless told otherwise; return the epochs."""
    how = method(iterations, batch_size, learning_rate, seed, **more)
    return list(
        train(new_state(network, how), training or some_digits(0, 500), how, watched, processes)
    )


def take_step(network: Network, X: np.ndarray, t: np.ndarray, learning_rate: float) -> float:
    """Take one plain step; return the loss before it."""
    optimizer = descent(learning_rate)
    memory = optimizer.new_memory(network.weights + network.biases)
    return cross_entropy(network.arithmetic, step(network, X, t, optimizer, memory, 0))


def bits(network: Network) -> str:
    """Return a hash of all parameters."""
    return hashlib.sha256(
        b"".join(array.tobytes() for array in network.weights + network.biases)
    ).hexdigest()


def copy_of(network: Network) -> Network:
    """Return a network with parameters of its own."""
    weights, biases = (
        [array.copy() for array in arrays] for arrays in (network.weights, network.biases)
    )
    return replace(network, weights=weights, biases=biases)
