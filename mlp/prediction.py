"""What a trained network says of images: logits, probabilities, and how often it is right."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from mlp.layers import cross_entropy, loss_terms, softmax
from mlp.protocol import Network, Split, check_images, check_split

Pair = tuple[np.ndarray, np.ndarray]
CHUNK = 500  # images in a forward pass: their activations fit into the processor's cache


class Score(NamedTuple):
    """The mean loss over some images, and the accuracy: the share that is classified correctly."""

    loss: float
    accuracy: float


def quiet() -> np.errstate:
    """Stop NumPy's warnings of numbers that are not finite. The functions here notice them."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")


def logits(network: Network, images: np.ndarray, threads: int = 1) -> np.ndarray:
    """Return the logits, (n, classes), of images, (n, features) uint8, in chunks.

    More threads help where the BLAS has one. Errors are those of `Network.logits`, and a ValueError
    for images of another type or shape.
    """
    check_images(network.preparation, images)
    parts = in_chunks(lambda rows: network.logits(images[rows]), len(images), threads)
    return np.concatenate(parts)


def in_chunks(function: Callable[[slice], Any], n: int, threads: int) -> list[Any]:
    """Return what a function says of the rows of each chunk of n images, one chunk or more."""
    chunks = [slice(i, i + CHUNK) for i in range(0, max(n, 1), CHUNK)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(quiet()(function), chunks))  # a thread has its own warnings


def predict(network: Network, images: np.ndarray, threads: int = 1) -> Pair:
    """Return the probability of each class and its logarithm, (n, classes) each, for images.

    Images are (n, features) uint8. Threads and errors are those of `logits`.
    """
    y, shifted, total = softmax(network.arithmetic, logits(network, images, threads))
    return y, shifted - network.arithmetic.log(total)


@quiet()
def measure(network: Network, split: Split, threads: int = 1) -> Score:
    """Return the loss and accuracy of `network` on images and their labels.

    A FloatingPointError says that a number is not finite. A ValueError is that of `check_split`.
    """
    check_split(network.preparation, split)
    images, labels = split
    n = len(images)
    parts = in_chunks(lambda rows: terms_of(network, images[rows], labels[rows]), n, threads)
    terms, right = (np.concatenate(arrays, axis=-1) for arrays in zip(*parts, strict=True))
    return score_of(network, terms, right)


def terms_of(network: Network, images: np.ndarray, labels: np.ndarray) -> Pair:
    """Return the terms of the loss, (2, n), and whether each image is classified correctly."""
    z = network.logits(images)
    _, shifted, total = softmax(network.arithmetic, z)
    right = z.argmax(axis=1) == labels.argmax(axis=1)
    return loss_terms(shifted, total, labels), right


def score_of(network: Network, terms: np.ndarray, right: np.ndarray) -> Score:
    """Return the score that belongs to the arrays of `terms_of`."""
    accuracy = int(np.count_nonzero(right)) / len(right)
    return Score(cross_entropy(network.arithmetic, terms), accuracy)
