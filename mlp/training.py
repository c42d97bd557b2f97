"""Mini-batch gradient descent."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mlp.arithmetic import ARITHMETICS
from mlp.classification import classify
from mlp.layers import cross_entropy, mean, of_true_class, softmax, softmax_parts
from mlp.network import Network, Split, accuracy, backward, forward, grid_weights, logits, widen
from mlp.random import permutation

# What is not finite is noticed and named; NumPy need not warn of it too.
quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")


class Epoch(NamedTuple):
    """How training stands after an epoch. `loss` is the mean of the losses of the epoch's mini-batches."""

    epoch: int
    iteration: int
    loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float


class DivergedError(Exception):
    """A number of the network is no longer finite.

    Attributes:
        iteration: the training step, from 1.
        layer: the first layer, from 1, with such a number in its weights or outputs; else the last.
    """

    def __init__(self, iteration: int, layer: int):
        super().__init__(f"layer {layer} is no longer finite at step {iteration}")
        self.iteration = iteration
        self.layer = layer


class Workspace:
    """The large arrays of a training step, allocated once: a batch as bytes and widened, weights, and gradients."""

    def __init__(self, network: Network, batch_size: int):
        features = len(network.weights[0])
        self.images = np.empty((batch_size, features), np.uint8)
        self.X = np.empty((batch_size, features), network.weights[0].dtype)
        self.weights = [np.empty_like(W) for W in network.weights]
        self.gradients = [np.empty_like(W) for W in network.weights]
        # When the first layer's gradient is formed, its gridded weights have served: no input's gradient needs them.
        self.gradients[0] = self.weights[0]


@quiet
def train_step(network: Network, images, labels, learning_rate: float, workspace: Workspace):
    """Take one step of gradient descent on a mini-batch, changing `network`.

    Args:
        network: to train.
        images: (batch, features) uint8.
        labels: (batch, classes) uint8, one-hot.
        learning_rate: how far to go down the gradient.
        workspace: for batches of this size.

    Returns:
        The two parts of each image's loss before the step, ln total − shifted, (batch,) each: see `softmax_parts`. The
        logarithm is left to the caller: one of all images of an epoch costs a tenth of one of every batch.

    Raises:
        FloatingPointError: a number is no longer finite.
    """
    arithmetic = ARITHMETICS[network.arithmetic]
    weights = grid_weights(network, workspace.weights)  # first, while the last update has them in the cache
    X = widen(network, images, workspace.X)
    y, caches = forward(network, X, weights)
    y, shifted, total = softmax_parts(arithmetic, y)
    if not np.isfinite(total).all():
        raise FloatingPointError("the loss is not finite")

    # ∂loss/∂logits = (y − t) / batch. The chain rule is linear, so the learning rate is applied here, to the smallest
    # matrix there is, and what comes back are not the gradients but the steps.
    dlogits = y - labels
    dlogits *= learning_rate / len(images)
    dWs, dbs = backward(network, dlogits, caches, workspace.gradients)
    update(network, dWs, dbs)
    return total[:, 0], of_true_class(shifted, labels)


def update(network: Network, dWs: list[np.ndarray], dbs: list[np.ndarray]) -> None:
    """Go the steps `dWs` and `dbs` downhill: W ← W − dW, b ← b − db."""
    for W, dW in zip(network.weights, dWs, strict=True):
        W -= dW
    for b, db in zip(network.biases, dbs, strict=True):
        b -= db


def train(
    network: Network,
    training: Split,
    validation: Split,
    iterations: int,
    batch_size: int,
    learning_rate: float,
    source: np.random.PCG64,
) -> Iterator[Epoch]:
    """Train `network` in place for `iterations` mini-batches; yield how it stands after each epoch.

    An epoch passes once over the training images in a new random order; those left over when the batch size does not
    divide their number have their chance in the next. The last epoch may be shorter.

    Raises:
        DivergedError: a number is no longer finite.
    """
    arithmetic = ARITHMETICS[network.arithmetic]
    n = len(training.images)
    batches = n // batch_size
    workspace = Workspace(network, batch_size)
    for epoch, done in enumerate(range(0, iterations, batches), 1):
        order = permutation(source, n)
        labels = training.labels[order]
        steps = min(batches, iterations - done)
        total, shifted = np.empty((2, steps, batch_size), network.weights[0].dtype)
        for batch in range(steps):
            rows = slice(batch * batch_size, (batch + 1) * batch_size)
            # mode="clip" lets NumPy write straight into `out`; no row is out of range
            images = np.take(training.images, order[rows], axis=0, out=workspace.images, mode="clip")
            try:
                total[batch], shifted[batch] = train_step(network, images, labels[rows], learning_rate, workspace)
            except FloatingPointError:
                raise DivergedError(done + batch + 1, failing_layer(network, images)) from None
        iteration = done + steps
        losses = (arithmetic.log(total) - shifted).ravel()
        try:
            yield evaluate_epoch(network, training, validation, epoch, iteration, losses)
        except FloatingPointError:
            raise DivergedError(iteration, failing_layer(network, validation.images)) from None


@quiet
def evaluate_epoch(
    network: Network, training: Split, validation: Split, epoch: int, iteration: int, losses: np.ndarray
) -> Epoch:
    """Return the record of an epoch: the mean of its `losses`, and the network's accuracy and loss as it is now.

    Raises:
        FloatingPointError: a number is no longer finite.
    """
    arithmetic = ARITHMETICS[network.arithmetic]
    loss = mean(arithmetic, losses)
    scores = logits(network, validation.images)
    validation_loss = cross_entropy(arithmetic, softmax(arithmetic, scores)[1], validation.labels)
    if not (math.isfinite(loss) and math.isfinite(validation_loss)):
        raise FloatingPointError("the loss is not finite")
    return Epoch(
        epoch=epoch,
        iteration=iteration,
        loss=loss,
        train_accuracy=accuracy(classify(network, training.images), training.labels),
        validation_loss=validation_loss,
        validation_accuracy=accuracy(scores.argmax(axis=1), validation.labels),
    )


@quiet
def failing_layer(network: Network, images: np.ndarray) -> int:
    """Return the first layer, from 1, whose weights or outputs for `images` are not finite; else the last."""
    X = widen(network, images)
    layers = range(1, len(network.weights) + 1)
    for layer in layers:
        front = replace(network, weights=network.weights[:layer], biases=network.biases[:layer])
        try:
            y, _ = forward(front, X, grid_weights(front))
        except FloatingPointError:
            return layer
        if not np.isfinite(y).all():
            return layer
    return layers[-1]
