"""The page to read: a multi-layer perceptron, its gradients by the chain rule, and one step of training.

The symbols are those of docs/mathematics.md. The affine layer h W + b gives a; a hidden layer's activation makes it the
next layer's h, and after the last layer it is the logits z. dx stands for ∂L/∂x, with L the mean loss of the batch.
At first reading take `A.dot(a, b)` and `A.matmul(a, b)` for a @ b. `A.grid` rounds an operand, so that sums are exact.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mlp.arithmetic import Arithmetic, operand_bits
from mlp.layers import Activation, loss_terms, softmax
from mlp.optimizers import GradientDescent
from mlp.random import WEIGHTS, normal_like, stream

CHUNK = 500  # images to a forward pass outside training: their activations stay in the processor's cache


class Preparation(NamedTuple):
    """How bytes became inputs, and what the classes are: the same for all images that a network is used with."""

    shift: float  # subtracted from every byte of an image; a multiple of 1/256
    scale: float  # factor of the difference: an input is (byte − shift) · scale
    image_shape: tuple[int, int]  # rows and columns of an image
    classes: tuple[str, ...]  # names, in the order of the labels


class Split(NamedTuple):
    """Images, (n, features) uint8, and their one-hot labels, (n, classes) uint8.

    The images may be any object with `len`, `shape` and rows by index: they need not all be in memory.
    """

    images: np.ndarray
    labels: np.ndarray


@dataclass
class Network:
    """A multi-layer perceptron."""

    weights: list[np.ndarray]  # one matrix per layer, shape (in, out)
    biases: list[np.ndarray]  # one vector per layer, shape (out,)
    activation: Activation  # of the hidden layers
    arithmetic: Arithmetic  # of all computations
    preparation: Preparation  # of the images


def forward(network: Network, X: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the logits z, (batch, classes), and the input h of each layer, (batch, in); of the first, byte − shift.

    Args:
        network: to apply.
        X: images, (batch, features) uint8.

    Raises:
        FloatingPointError: a number is not finite, or too large.
    """
    A, f, scale = network.arithmetic, network.activation, network.preparation.scale
    W, b = network.weights[0], network.biases[0]
    h = widen(network, X)
    inputs = [h]
    a = scale * A.matmul(h, A.grid(W, operand_bits(len(W)))) + b  # (scale X) W = scale (X W); bytes need no rounding
    for W, b in zip(network.weights[1:], network.biases[1:], strict=True):
        h = f.function(A, a)
        inputs.append(h)
        a = A.dot(h, W, f.exponent) + b
    return a, inputs


def gradients(network: Network, X: np.ndarray, t: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Return dW and db of each layer, the gradients of the batch's mean loss L; and L's terms, see `cross_entropy`.

    Args:
        network: to differentiate.
        X: images, (batch, features) uint8.
        t: their labels, one-hot, (batch, classes) uint8.

    Raises:
        FloatingPointError: a number is not finite, or too large.
    """
    A, f, scale = network.arithmetic, network.activation, network.preparation.scale
    z, inputs = forward(network, X)
    y, shifted, total = softmax(A, z)
    da = (y - t) / len(t)  # ∂L/∂z: softmax and cross-entropy together
    exponent: int | None = math.frexp(1 / len(t))[1]  # bounds da, as y and t are from 0 to 1; later there is no bound
    dWs: list[np.ndarray] = []
    dbs: list[np.ndarray] = []
    for h, W in zip(inputs[:0:-1], network.weights[:0:-1], strict=True):  # from the last layer to the second
        dWs.insert(0, A.dot(h.T, da, f.exponent))
        dbs.insert(0, A.column_sums(da))
        dh = A.dot(da, W.T, exponent)
        da, exponent = dh * f.gradient(h), None
    dWs.insert(0, scale * A.matmul(inputs[0].T, A.grid(da, operand_bits(len(t)))))
    dbs.insert(0, A.column_sums(da))
    return dWs, dbs, loss_terms(shifted, total, t)


def step(network: Network, X: np.ndarray, t: np.ndarray, optimizer: GradientDescent) -> np.ndarray:
    """Take one step of training: change the parameters of `network` in place. Return the terms of the loss before.

    Args:
        network: to train.
        X: images, (batch, features) uint8.
        t: their labels, one-hot, (batch, classes) uint8.
        optimizer: makes a change of each gradient.

    Raises:
        FloatingPointError: a number is not finite, or too large.
    """
    dWs, dbs, loss = gradients(network, X, t)
    for parameter, gradient in zip(network.weights + network.biases, dWs + dbs, strict=True):
        optimizer.update(parameter, gradient)
    return loss


def widen(network: Network, X: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return byte − shift for images, (batch, features) uint8, in the arithmetic's type. It rounds nothing."""
    dtype = network.arithmetic.dtype
    if out is None:
        out = np.empty(X.shape, dtype)
    if network.preparation.shift == 0.0:
        np.copyto(out, X)
    else:
        np.subtract(X, dtype(network.preparation.shift), out=out)
    return out


def init_network(
    hidden: tuple[int, ...], activation: Activation, std: float, A: Arithmetic, preparation: Preparation, seed: int
) -> Network:
    """Return a network with zero biases, and almost normal random weights of standard deviation `std`.

    `hidden` are the numbers of neurons of the hidden layers, input side first; `seed` is 0 to 2³² − 1.
    """
    rows, columns = preparation.image_shape
    sizes = [rows * columns, *hidden, len(preparation.classes)]
    source = stream(seed, WEIGHTS)
    with np.errstate(over="ignore"):  # training notices, and names, what is not finite
        # + 0.0 turns a −0, from a product that underflows, into 0: exact sums leave only the sign of a zero open
        weights: list[np.ndarray] = [
            (std * normal_like(source, shape) + 0.0).astype(A.dtype) for shape in pairwise(sizes)
        ]
    return Network(weights, [np.zeros(n, A.dtype) for n in sizes[1:]], activation, A, preparation)


def logits(network: Network, images: np.ndarray) -> np.ndarray:
    """Return the logits, (n, classes), of images, (n, features) uint8. Those of an image depend on no other image.

    Raises:
        FloatingPointError: a number is not finite, or too large.
    """
    chunks = [images[start : start + CHUNK] for start in range(0, max(len(images), 1), CHUNK)]
    return np.concatenate([forward(network, chunk)[0] for chunk in chunks])


def predict(network: Network, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of each class, and its logarithm, for images, (n, features) uint8; (n, classes) each.

    Raises:
        FloatingPointError: a number is not finite, or too large.
    """
    y, shifted, total = softmax(network.arithmetic, logits(network, images))
    return y, shifted - network.arithmetic.log(total)
