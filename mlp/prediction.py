"""What a trained network says of images: logits, probabilities, and how often it is right."""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from mlp.layers import cross_entropy, loss_terms, softmax
from mlp.protocol import Network, Split, check_images, check_split

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
    chunks = [images[i : i + CHUNK] for i in range(0, max(len(images), 1), CHUNK)]
    forward = quiet()(network.logits)  # a thread has its own setting of warnings
    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(forward, chunks)))


def predict(
    network: Network, images: np.ndarray, threads: int = 1
) -> tuple[np.ndarray, np.ndarray]:
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
    z = logits(network, split.images, threads)
    return score_of(network, *terms_of(network, z, split.labels))


def terms_of(network: Network, z: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the terms of the loss, (2, n), and whether each image is classified correctly.

    `z` has the images' logits, (n, classes), and `labels` their one-hot labels.
    """
    _, shifted, total = softmax(network.arithmetic, z)
    right = z.argmax(axis=1) == labels.argmax(axis=1)
    return loss_terms(shifted, total, labels), right


def score_of(network: Network, terms: np.ndarray, right: np.ndarray) -> Score:
    """Return the score that belongs to the arrays of `terms_of`."""
    accuracy = int(np.count_nonzero(right)) / len(right)
    return Score(cross_entropy(network.arithmetic, terms), accuracy)
