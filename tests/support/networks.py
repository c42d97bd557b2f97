"""What the tests of the network share: real digits, small networks, training them."""

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np

import textbook
from mlp.arithmetic import Arithmetic, Float32, operand_bits
from mlp.divided import train as train_divided
from mlp.layers import cross_entropy
from mlp.network import MLP, init_network, step
from mlp.optimizers import Optimizer, Schedule
from mlp.protocol import Preparation, Split
from mlp.training import Epoch, Method, State, new_state, train
from pipeline.images.prepare import one_hot
from tests.support.project import SAMPLE

MINMAX = Preparation(0.0, 1 / 255, (28, 28), tuple("0123456789"))
ZSCORE = replace(MINMAX, shift=33.25, scale=1 / 80)


class Float64(Float32):
    """Plain float64, without grids: the formulas as they stand, for comparison."""

    name = "float64"
    dtype = np.float64


def dot(A: Arithmetic, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a b, (m, k) times (k, n), both rounded to their grids."""
    bits = operand_bits(a.shape[1])
    return A.matmul(A.grid_rows(a, bits), A.grid(b, bits))


@cache
def digits(part: str) -> Split:
    """Return the 600 "train" or 200 "test" images of the sample, with their labels."""
    name = {"train": "train", "test": "t10k"}[part]
    images = gzip.decompress((SAMPLE / f"{name}-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((SAMPLE / f"{name}-labels-idx1-ubyte.gz").read_bytes())[8:]
    labels = one_hot(np.frombuffer(labels, np.uint8), 10)
    return Split(np.frombuffer(images, np.uint8).reshape(-1, 784), labels)


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
) -> MLP:
    """Return a network for the sample; without arguments the project's default one, 784-50-10."""
    return init_network(tuple(hidden), activation, std, arithmetic, preparation, seed)


def descent(learning_rate: float, **others) -> Optimizer:
    """Return plain gradient descent at one rate, unless `others` say more."""
    return Optimizer(Schedule(learning_rate), **others)


def method(iterations, batch_size=50, learning_rate=1.0, seed=0, **others) -> Method:
    """Return plain gradient descent as a method, unless `others` say more."""
    others = {"optimizer": descent(learning_rate)} | others
    return Method(iterations=iterations, batch_size=batch_size, seed=seed, **others)


def train_by(
    processes: int, state: State, training: Split, how: Method, watched=()
) -> Iterator[Epoch]:
    """Train by the plain loop, or by the divided one with so many processes; 0: the plain one."""
    if processes:
        return train_divided(state, training, how, watched, processes)
    return train(state, training, how, watched)


def run(network, iterations, batch_size=50, learning_rate=1.0, seed=0, training=None, **more):
    """Train, on 500 real digits unless told otherwise; return the epochs."""
    watched, processes = more.pop("watched", ()), more.pop("processes", 0)
    how = method(iterations, batch_size, learning_rate, seed, **more)
    state, training = new_state(network, how), training or some_digits(0, 500)
    return list(train_by(processes, state, training, how, watched))


def take_step(network: MLP, X: np.ndarray, t: np.ndarray, learning_rate: float) -> float:
    """Take one plain step; return the loss before it."""
    optimizer = descent(learning_rate)
    opt_state = optimizer.new_state(network.arrays.values())
    return cross_entropy(network.arithmetic, step(network, X, t, optimizer, opt_state, 0))


def assert_slopes(network, X, t, masks, h: float, bound: float) -> None:
    """Fail unless each gradient is the slope of the loss, by differences of h, and is not 0."""
    found, _ = network.gradients(X, t, masks)

    def loss() -> float:
        return cross_entropy(network.arithmetic, network.gradients(X, t, masks)[1])

    for parameter, gradient in zip(network.arrays.values(), found, strict=True):
        slopes = textbook.numerical_gradient(loss, parameter, h)
        assert np.abs(gradient - slopes).max() < bound
        assert np.abs(gradient).max() > 1e-4


def bits(network: MLP) -> str:
    """Return a hash of all parameters."""
    arrays = network.weights + network.biases
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def copy_of(network: MLP) -> MLP:
    """Return a network with parameters of its own."""
    weights, biases = [W.copy() for W in network.weights], [b.copy() for b in network.biases]
    return replace(network, weights=weights, biases=biases)
