"""What the tests of the network share: real digits, small networks, one step of training."""

import copy
import gzip
from functools import cache

import numpy as np

from mlp.arithmetic import Float32
from mlp.network import Network, init_network
from mlp.one_hot import one_hot
from mlp.training import Split, train
from tests.conftest import SAMPLE

FILES = {"train": "train", "test": "t10k"}


class Float64(Float32):
    """Plain float64, without grids: the formulas as they stand, for comparison."""

    dtype = np.float64


@cache
def digits(part: str) -> Split:
    """Return the 600 training ("train") or 200 test ("test") images of the sample, with their labels."""
    images = gzip.decompress((SAMPLE / f"{FILES[part]}-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((SAMPLE / f"{FILES[part]}-labels-idx1-ubyte.gz").read_bytes())[8:]
    return Split(np.frombuffer(images, np.uint8).reshape(-1, 784), one_hot(np.frombuffer(labels, np.uint8), 10))


def default_network(arithmetic: str = "exact", seed: int = 0, hidden=(50,), activation: str = "sigmoid") -> Network:
    """Return the project's default network: 784-50-10, sigmoid, pixels from 0 to 1."""
    source = np.random.PCG64(seed)
    return init_network([784, *hidden, 10], activation, 0.01, 0.0, 1 / 255, arithmetic, source)


def step(network: Network, images: np.ndarray, labels: np.ndarray, learning_rate: float) -> float:
    """Take one step of training, as the loop takes it; return the loss before it."""
    batch, watched = Split(images, labels), Split(images[:1], labels[:1])
    return next(train(network, batch, watched, 1, len(images), learning_rate, np.random.PCG64(0))).loss


def gradients(network: Network, images: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """Return the gradients of all weights, then of all biases, as training sees them: what a step of length 1 takes.

    `network` is left alone.
    """
    after = copy.deepcopy(network)
    step(after, images, labels, 1.0)
    before_and_after = zip(network.weights + network.biases, after.weights + after.biases, strict=True)
    return [before - now for before, now in before_and_after]


def loss(network: Network, images: np.ndarray, labels: np.ndarray) -> float:
    """Return the loss that training sees; `network` is left alone."""
    return step(copy.deepcopy(network), images, labels, 0.0)
