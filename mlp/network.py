"""A multi-layer perceptron: affine layers with an activation between them, and softmax at the end."""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mlp.arithmetic import ARITHMETICS
from mlp.layers import ACTIVATIONS, Arithmetic, affine_backward, affine_forward, softmax
from mlp.random import normal_like

CHUNK = 500  # images to a forward pass outside training: their activations stay in the processor's cache


class Split(NamedTuple):
    """Images, (n, features) uint8, and their one-hot labels, (n, classes) uint8."""

    images: np.ndarray
    labels: np.ndarray


@dataclass
class Network:
    """The parameters, and all that is needed to apply them.

    Attributes:
        weights: of each layer, (in, out).
        biases: of each layer, (out,).
        activation: of the hidden layers: a name from `ACTIVATIONS`.
        shift: taken from every byte of an image, a multiple of 1/256.
        scale: what the difference is then multiplied by: the network's input is (byte − shift) · scale.
        arithmetic: what to compute in: a name from `ARITHMETICS`.
    """

    weights: list[np.ndarray]
    biases: list[np.ndarray]
    activation: str
    shift: float
    scale: float
    arithmetic: str


def init_network(
    layer_sizes: list[int],
    activation: str,
    weight_init_std: float,
    shift: float,
    scale: float,
    arithmetic: str,
    source: np.random.PCG64,
) -> Network:
    """Return a network with almost normal random weights and zero biases; `layer_sizes` from input to output."""
    dtype = ARITHMETICS[arithmetic].dtype
    shapes = list(pairwise(layer_sizes))
    with np.errstate(over="ignore"):  # training notices, and names, what is not finite
        # + 0.0 makes a −0 of a product that underflows a 0: of a zero, exact sums determine all but the sign
        weights = [(weight_init_std * normal_like(source, shape) + 0.0).astype(dtype) for shape in shapes]
    return Network(
        weights=weights,
        biases=[np.zeros(n_out, dtype) for _, n_out in shapes],
        activation=activation,
        shift=shift,
        scale=scale,
        arithmetic=arithmetic,
    )


def widen(network: Network, images: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return byte − shift for `images`, (batch, features) uint8, in the arithmetic's type. It rounds nothing."""
    dtype = ARITHMETICS[network.arithmetic].dtype
    if out is None:
        out = np.empty(images.shape, dtype)
    if network.shift == 0.0:
        np.copyto(out, images)
    else:
        np.subtract(images, dtype(network.shift), out=out)
    return out


def forward(network: Network, product: np.ndarray, weights: list[np.ndarray], alone: bool = False):
    """Return the logits, (batch, classes), and the input of each layer but the first, (batch, in) on a grid.

    Args:
        network: whose biases, activation and scale are applied.
        product: (batch, out), of widened images and the first layer's weights.
        weights: those of the layers after the first, on grids.
        alone: whether an image's result must not depend on the others of its batch: `backward` has no use for it then.
    """
    arithmetic: Arithmetic = ARITHMETICS[network.arithmetic]
    activate, _, exponent = ACTIVATIONS[network.activation]
    # (scale X) W = scale (X W), and the product is smaller than X
    y = network.scale * product
    y += network.biases[0]
    inputs = []
    for W, b in zip(weights, network.biases[1:], strict=True):
        h = activate(arithmetic, y)
        h = arithmetic.grid_rows(h) if alone and exponent is None else arithmetic.grid(h, exponent=exponent)
        inputs.append(h)
        y = affine_forward(arithmetic, h, W, b)
    return y, inputs


def backward(network: Network, dlogits: np.ndarray, inputs: list[np.ndarray], weights: list[np.ndarray]):
    """Return by the chain rule, from the last layer to the first, the gradients of what `forward` was given.

    Args:
        network: that `forward` was called with.
        dlogits: (batch, classes), the gradient of the loss with respect to the logits.
        inputs: of the layers after the first, which `forward` returned.
        weights: of the layers after the first, as `forward` had them.

    Returns:
        dproduct, (batch, out); dW and db of each layer but the first.
    """
    arithmetic: Arithmetic = ARITHMETICS[network.arithmetic]
    _, gradient, _ = ACTIVATIONS[network.activation]
    dWs, dbs = [], []
    dy = dlogits
    for h, W in zip(reversed(inputs), reversed(weights), strict=True):
        dh, dW, db = affine_backward(arithmetic, arithmetic.grid(dy), h, W)
        dWs.insert(0, dW)
        dbs.insert(0, db)
        dy = dh * gradient(h)  # h is the output of the activation before it
    return network.scale * dy, dWs, dbs


def logits(network: Network, images: np.ndarray) -> np.ndarray:
    """Return the logits, (n, classes), of `images`, (n, features) uint8."""
    arithmetic: Arithmetic = ARITHMETICS[network.arithmetic]
    first, *others = [arithmetic.grid(W) for W in network.weights]

    chunks = [images[start : start + CHUNK] for start in range(0, max(len(images), 1), CHUNK)]
    products = (arithmetic.matmul(widen(network, chunk), first) for chunk in chunks)
    return np.concatenate([forward(network, product, others, alone=True)[0] for product in products])


def predict(network: Network, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of each class, and its logarithm, for `images`, (n, features) uint8; (n, classes) each."""
    return softmax(ARITHMETICS[network.arithmetic], logits(network, images))


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of images that were predicted right.

    Args:
        predicted: (n,) class indices.
        labels: (n, classes), one-hot.
    """
    return int(np.count_nonzero(predicted == labels.argmax(axis=1))) / len(labels)
