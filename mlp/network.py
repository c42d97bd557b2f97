"""The page to read: a multi-layer perceptron, its gradients by the chain rule, and one step of
training.

The symbols are those of docs/mathematics.md. An affine layer computes a = h W + b. A hidden layer's
activation turns a into the next layer's h. After the last layer a is the logits z. dx means ∂L/∂x;
L is the mean loss of the batch. At first, read `A.dot(a, b)` and `A.matmul(a, b)` as a @ b, and
leave out the masks: without dropout they change nothing. `A.grid` rounds an operand, so that sums
are exact.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mlp.arithmetic import ARITHMETICS, Arithmetic, operand_bits
from mlp.layers import ACTIVATIONS, Activation, loss_terms, softmax
from mlp.optimizers import Memory, Optimizer
from mlp.random import WEIGHTS, normal_like, stream
from mlp.regularization import KEEP_ALL, Mask, limit_norms

# Images in a forward pass outside training: their activations fit into the processor's cache
CHUNK = 500


class Preparation(NamedTuple):
    """How bytes become inputs, and the names of the classes.

    It is the same for all images of a network.
    """

    shift: float  # number subtracted from every byte; a multiple of 1/256
    scale: float  # factor: an input is (byte − shift) · scale
    image_shape: tuple[int, int]  # rows and columns of an image
    classes: tuple[str, ...]  # names of the classes, in the order of the labels
    # Whether an image is a whole picture, made smaller, not a digit that was found on one
    fitted: bool = False
    inverted: bool = False  # whether an image is a picture whose light and dark were then exchanged


class Split(NamedTuple):
    """Images, (n, features) uint8, and their one-hot labels, (n, classes) uint8.

    The images may be a memory map: training does not read all of them at once.
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


def forward(
    network: Network, X: np.ndarray, masks: Sequence[Mask] = ()
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the logits z, (batch, classes), and the input h of each layer, (batch, in). The first
    h is byte − shift.

    `X` has images, (batch, features) uint8. `masks` are what dropout keeps of the inputs of each
    layer: without, all.

    Raises:
        FloatingPointError: a number is not finite, or too large. All functions below may raise it,
            too.
    """
    A, f, scale = network.arithmetic, network.activation, network.preparation.scale
    first, *later = masks or [KEEP_ALL] * len(network.weights)
    W, b = network.weights[0], network.biases[0]
    h = first.apply(widen(network, X))
    inputs = [h]
    # textbook.py: a = X @ W + b, with X = scale h. (scale h) W = scale (h W); bytes need no
    # rounding
    a = scale * first.gain * A.matmul(h, A.grid(W, operand_bits(len(W)))) + b
    for W, b, mask in zip(network.weights[1:], network.biases[1:], later, strict=True):
        h = mask.apply(f.function(A, a))  # textbook.py: h = sigmoid(a)
        inputs.append(h)
        a = mask.gain * A.dot(h, W, f.exponent) + b
    return a, inputs


def gradients(
    network: Network, X: np.ndarray, t: np.ndarray, masks: Sequence[Mask] = ()
) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Return dW and db of each layer, the gradients of the mean loss L, and the terms of L for
    `cross_entropy`.

    `t` has the one-hot labels of the images `X`, (batch, classes) uint8.
    """
    A, f, scale = network.arithmetic, network.activation, network.preparation.scale
    masks = masks or [KEEP_ALL] * len(network.weights)
    z, inputs = forward(network, X, masks)
    y, shifted, total = softmax(A, z)
    da = (y - t) / len(t)  # ∂L/∂z: softmax and cross-entropy together
    exponent: int | None = math.frexp(1 / len(t))[1]  # bounds da: y and t are from 0 to 1
    dWs: list[np.ndarray] = []
    dbs: list[np.ndarray] = []
    # From the last layer to the second
    for h, W, mask in zip(inputs[:0:-1], network.weights[:0:-1], masks[:0:-1], strict=True):
        dWs.insert(0, mask.gain * A.dot(h.T, da, f.exponent))  # textbook.py: dW = h.T @ da
        dbs.insert(0, A.column_sums(da))
        dh = mask.gain * mask.apply(A.dot(da, W.T, exponent))
        da, exponent = dh * f.gradient(h), None  # textbook.py: da = da @ W.T * h * (1 - h)
    dWs.insert(0, scale * masks[0].gain * A.matmul(inputs[0].T, A.grid(da, operand_bits(len(t)))))
    dbs.insert(0, A.column_sums(da))
    return dWs, dbs, loss_terms(shifted, total, t)


def step(
    network: Network,
    X: np.ndarray,
    t: np.ndarray,
    optimizer: Optimizer,
    memory: Memory,
    iteration: int,
    masks: Sequence[Mask] = (),
) -> np.ndarray:
    """Take one training step: change the parameters and the memory in place. Return the terms of
    the loss before it.

    `memory` is what the optimizer remembers of the weights, then of the biases. `iteration` is the
    number of steps before this one. The others are those of `gradients`.
    """
    dWs, dbs, loss = gradients(network, X, t, masks)
    for parameter, gradient, arrays in zip(
        network.weights + network.biases, dWs + dbs, memory, strict=True
    ):
        optimizer.update(parameter, gradient, arrays, iteration)
    for W in network.weights:
        limit_norms(network.arithmetic, W, optimizer.max_norm)
    return loss


def widen(network: Network, X: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return byte − shift, (batch, features), of images, in the arithmetic's type.

    The result is exact.
    """
    dtype, shift = network.arithmetic.dtype, network.preparation.shift
    out = np.empty(X.shape, dtype) if out is None else out
    if shift:
        return np.subtract(X, dtype(shift), out=out)
    np.copyto(out, X)
    return out


def initial_std(name: str, inputs: int, outputs: int) -> float:
    """Return the standard deviation of a layer's initial weights by its name in params.yaml: glorot
    or he.

    By Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks" (2010), and He, Zhang, Ren and Sun, "Delving deep into rectifiers" (2015).
    """
    return math.sqrt(2.0 / (inputs + outputs if name == "glorot" else inputs))


def init_network(
    hidden: Sequence[int],
    activation: str | Activation,
    std: float | str,
    arithmetic: str | Arithmetic,
    preparation: Preparation,
    seed: int = 0,
) -> Network:
    """Return a network with zero biases and random, almost normal weights.

    Args:
        hidden: the number of neurons of each hidden layer, input side first.
        activation: the activation of the hidden layers, or its name: sigmoid, tanh or relu.
        std: the standard deviation of the weights: a number, or a name for `initial_std`.
        arithmetic: the arithmetic to compute in, or its name: exact or float32.
        preparation: the preparation of the images.
        seed: from 0 to 2³² − 1.

    Raises:
        KeyError: there is no activation or arithmetic of this name.
    """
    f = ACTIVATIONS[activation] if isinstance(activation, str) else activation
    A = ARITHMETICS[arithmetic] if isinstance(arithmetic, str) else arithmetic
    rows, columns = preparation.image_shape
    sizes = [rows * columns, *hidden, len(preparation.classes)]
    source = stream(seed, WEIGHTS)
    weights: list[np.ndarray] = []
    for shape in pairwise(sizes):
        size = initial_std(std, *shape) if isinstance(std, str) else std
        with np.errstate(over="ignore"):  # training itself notices numbers that are not finite
            # A product that underflows can be −0. Adding 0.0 makes it +0: exact arithmetic needs
            # one kind of zero.
            weights.append((size * normal_like(source, shape)).astype(A.dtype) + 0.0)
    return Network(weights, [np.zeros(n, A.dtype) for n in sizes[1:]], f, A, preparation)


def check_split(network: Network, split: Split) -> None:
    """Raise a ValueError unless images and labels are of the types and shapes that the network
    needs.
    """
    rows, columns = network.preparation.image_shape
    widths = rows * columns, len(network.preparation.classes)
    for name, array, width in zip(split._fields, split, widths, strict=True):
        if array.dtype != np.uint8 or array.ndim != 2 or array.shape[1] != width:
            found = f"{array.dtype} of the shape {array.shape}"
            raise ValueError(f"the {name} are {found}; expected uint8 of the shape (n, {width})")
    if len(split.images) != len(split.labels):
        raise ValueError(f"there are {len(split.images)} images and {len(split.labels)} labels")
    if split.labels.max(initial=0) > 1 or (np.count_nonzero(split.labels, axis=1) != 1).any():
        raise ValueError("the labels are not one-hot: expected one 1 in each row, and else 0")


def logits(network: Network, images: np.ndarray) -> np.ndarray:
    """Return the logits, (n, classes), of images, (n, features) uint8.

    Exact ones depend on no other image.
    """
    chunks = [images[start : start + CHUNK] for start in range(0, max(len(images), 1), CHUNK)]
    return np.concatenate([forward(network, chunk)[0] for chunk in chunks])


def predict(network: Network, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of each class and its logarithm, (n, classes) each, for images, (n,
    features) uint8.
    """
    y, shifted, total = softmax(network.arithmetic, logits(network, images))
    return y, shifted - network.arithmetic.log(total)
