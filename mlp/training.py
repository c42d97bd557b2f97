"""Mini-batch gradient descent."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from mlp.arithmetic import ARITHMETICS
from mlp.classification import classify
from mlp.layers import cross_entropy, mean, of_true_class, softmax
from mlp.metrics import Epoch
from mlp.network import Network, Split, accuracy, forward, logits, widen
from mlp.random import permutation
from mlp.step import Step, share_of, zeros
from mlp.team import Team

# What is not finite is noticed and named; NumPy need not warn of it too.
quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")


class DivergedError(FloatingPointError):
    """A number of the network is no longer finite.

    Attributes:
        iteration: the training step, from 1.
        layer: the first layer, from 1, with such a number in its weights or outputs; else the last.
    """

    def __init__(self, iteration: int, layer: int):
        super().__init__(f"layer {layer} is no longer finite at step {iteration}")
        self.iteration = iteration
        self.layer = layer


def train(
    network: Network,
    training: Split,
    validation: Split,
    iterations: int,
    batch_size: int,
    learning_rate: float,
    source: np.random.PCG64,
    processes: int = 1,
) -> Iterator[Epoch]:
    """Train `network` in place for `iterations` mini-batches; yield how it stands after each epoch.

    An epoch passes once over the training images in a new random order; those left over when the batch size does not
    divide their number have their chance in the next. The last epoch may be shorter.

    `processes`, 1 or 2, is how many share the work (see `mlp.team`). It changes no bit of the results. The network's
    arrays are replaced by others, which both processes see; and where it trains, nobody else may change them.

    Raises:
        DivergedError: a number is no longer finite.
        ChildProcessError: the second process has ended early.
    """
    n, classes = training.labels.shape
    batches = n // batch_size
    dtype = ARITHMETICS[network.arithmetic].dtype
    team = Team(processes)
    step = Step(network, training.images, batch_size, learning_rate, team)
    evaluate = Evaluation(network, training, validation, team)
    total = zeros(team, (batches, batch_size, 1), dtype)
    shifted = zeros(team, (batches, batch_size, classes), dtype)
    with team:
        for epoch, done in enumerate(range(0, iterations, batches), 1):
            order = permutation(source, n)  # in both processes the same
            team.begin()
            if not team.shares:
                continue  # the first goes on alone; the second keeps step with its random numbers
            labels = training.labels.T[:, order].T  # in memory class after class, as the logits in softmax_parts
            steps = min(batches, iterations - done)
            take_steps(step, training.images, order, labels, total[:steps], shifted[:steps], done)
            iteration = done + steps
            try:
                team.meet()  # until then the other may still be changing its weights
                evaluate()
                team.meet()
                if team.leads:
                    loss = mean_loss(network, total[:steps], shifted[:steps], labels[: steps * batch_size])
                    record = Epoch(epoch, iteration, loss, *evaluate.results())
            except FloatingPointError:
                raise DivergedError(iteration, failing_layer(network, validation.images)) from None
            if team.leads:  # the second never leaves this loop but to end
                yield record


@quiet
def take_steps(step: Step, images, order, labels, total, shifted, done: int) -> None:
    """Take a step for each mini-batch of an epoch.

    Args:
        step: to take.
        images: (n, features) uint8.
        order: (n,), of the images.
        labels: (n, classes), one-hot, in that order.
        total: (steps, batch, 1), and
        shifted: (steps, batch, classes), where the parts of the losses are to be written.
        done: the steps before.

    Raises:
        DivergedError: a number is no longer finite.
    """
    steps, batch_size, _ = total.shape
    for number in range(steps):
        rows = slice(number * batch_size, (number + 1) * batch_size)
        try:
            step(order[rows], labels[rows], total[number], shifted[number])
        except FloatingPointError:
            raise DivergedError(done + number + 1, failing_layer(step.network, images[order[rows]])) from None


@quiet
def mean_loss(network: Network, total: np.ndarray, shifted: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean loss of an epoch's images, from its parts: ln total − shifted of the true class.

    The logarithm of a whole epoch's totals at once costs a tenth of one in every step.

    Args:
        network: whose arithmetic to compute in.
        total: (steps, batch, 1); see `softmax_parts`.
        shifted: (steps, batch, classes).
        labels: (steps · batch, classes), one-hot.

    Raises:
        FloatingPointError: it is not finite.
    """
    arithmetic = ARITHMETICS[network.arithmetic]
    losses = arithmetic.log(total.ravel()) - of_true_class(shifted.reshape(labels.shape), labels)
    return finite(mean(arithmetic, losses))


class Evaluation:
    """What a network does right, and wrong, between two epochs. Each share has a part of the images."""

    def __init__(self, network: Network, training: Split, validation: Split, team: Team):
        self.network, self.training, self.validation, self.team = network, training, validation, team
        self.predicted = zeros(team, (len(training.images),), np.int64)
        self.logits = zeros(team, validation.labels.shape, network.weights[0].dtype)

    @quiet
    def __call__(self) -> None:
        """Classify the images of this process's shares.

        Raises:
            FloatingPointError: a number is not finite.
        """
        for share in self.team.shares:
            part = share_of(len(self.predicted), share)
            self.predicted[part] = classify(self.network, self.training.images[part])
            part = share_of(len(self.logits), share)
            self.logits[part] = logits(self.network, self.validation.images[part])

    @quiet
    def results(self) -> tuple[float, float, float]:
        """Return the accuracy on the training images, and loss and accuracy on the validation images, of all shares.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        arithmetic = ARITHMETICS[self.network.arithmetic]
        labels = self.validation.labels
        return (
            accuracy(self.predicted, self.training.labels),
            finite(cross_entropy(arithmetic, softmax(arithmetic, self.logits)[1], labels)),
            accuracy(self.logits.argmax(axis=1), labels),
        )


def finite(loss: float) -> float:
    """Return `loss`.

    Raises:
        FloatingPointError: it is not finite.
    """
    if not math.isfinite(loss):
        raise FloatingPointError("the loss is not finite")
    return loss


@quiet
def failing_layer(network: Network, images: np.ndarray) -> int:
    """Return the first layer, from 1, whose weights or outputs for `images` are not finite; else the last."""
    arithmetic = ARITHMETICS[network.arithmetic]
    layers = range(1, len(network.weights) + 1)
    for layer in layers:
        front = replace(network, weights=network.weights[:layer], biases=network.biases[:layer])
        try:
            first, *others = [arithmetic.grid(W) for W in front.weights]
            y, _ = forward(front, arithmetic.matmul(widen(front, images), first), others)
        except FloatingPointError:
            return layer
        if not np.isfinite(y).all():
            return layer
    return layers[-1]
