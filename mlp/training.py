"""Mini-batch training: the loop over epochs, and its state."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from mlp.layers import cross_entropy, loss_terms, softmax
from mlp.network import CHUNK, Network, Split, forward, step
from mlp.optimizers import GradientDescent
from mlp.parallel import ROWS, DividedStep, Team, cut_evenly, shared
from mlp.random import ORDER, permutation, stream


def quiet() -> np.errstate:
    """Stop NumPy's warnings of numbers that are not finite. Training itself notices them and names the layer."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")


class Score(NamedTuple):
    """The mean loss over some images, and the accuracy: the share that is classified correctly."""

    loss: float
    accuracy: float


class Epoch(NamedTuple):
    """The results of one epoch."""

    epoch: int  # number of the epoch, from 1
    iteration: int  # number of steps taken so far
    loss: float  # mean over the epoch's mini-batches, each measured before its step
    scores: tuple[Score, ...]  # scores of the watched splits, after the epoch


@dataclass
class State:
    """Everything that training changes. With it and the arguments of `train`, a stopped training can continue."""

    network: Network  # the network, with its parameters after the last finished epoch
    optimizer: GradientDescent  # the rule by which a gradient changes a parameter
    iteration: int = 0  # number of steps taken


class DivergedError(FloatingPointError):
    """At step `iteration`, from 1, the weights or outputs of `layer`, from 1, are no longer finite."""

    def __init__(self, iteration: int, layer: int):
        super().__init__(f"layer {layer} is no longer finite at step {iteration}")
        self.iteration, self.layer = iteration, layer


def train(
    state: State,
    training: Split,
    iterations: int,
    batch_size: int,
    seed: int,
    watched: Sequence[Split] = (),
    processes: int = 1,
) -> Iterator[Epoch]:
    """Train until `iterations` steps are taken. Yield the results of each epoch.

    An epoch passes once over the training images, in a new random order, without a remainder smaller than a batch. The
    last epoch may be shorter. The caller may stop after any epoch, and continue later with the same `state`.

    Args:
        state: the state to change. Its parameters become arrays in shared memory. Do not use it after an error.
        training: the images to learn from.
        iterations: total number of steps, including those of `state`.
        batch_size: number of images in a mini-batch, at most the number of training images.
        seed: the seed for the order of the images.
        watched: the splits to measure after each epoch.
        processes: 1 or 2. Two share the work, and need a BLAS of one thread. Exact arithmetic gives the same bits.

    Raises:
        DivergedError: a number of a step, or of a score after it, is no longer finite.
        ChildProcessError: the second process ended early, or hangs.
    """
    team = Team(processes)
    loop = _Loop(state, training, batch_size, seed, watched, team)
    with team.start(loop.take_steps, loop.evaluate):
        while state.iteration < iterations:
            try:
                yield loop.epoch(iterations)
            except FloatingPointError:
                raise DivergedError(loop.iteration, loop.failing_layer()) from None


@quiet()
def measure(network: Network, split: Split, processes: int = 1) -> Score:
    """Return the loss and accuracy of `network` on some images. `processes`, 1 or 2, share the work.

    Raises:
        FloatingPointError: a number is not finite, or too large.
        ChildProcessError: the second process ended early, or hangs.
    """
    team = Team(processes)
    watch = _Watch(network, split, team)
    with team.start(watch.evaluate):
        team.run(0)
        return watch.score()


class _Watch:
    """A network's loss and accuracy on some images, measured by all processes together."""

    def __init__(self, network: Network, split: Split, team: Team):
        self.network, self.split, self.team = network, split, team
        n = len(split.labels)
        self.terms = shared(np.zeros((2, n), network.arithmetic.dtype))  # of the loss
        self.right = shared(np.zeros(n, np.bool_))
        self.rows = cut_evenly(n, len(team.parts))

    def evaluate(self) -> None:
        for part in self.team.parts:
            for start in range(self.rows[part].start, self.rows[part].stop, CHUNK):
                rows = slice(start, min(start + CHUNK, self.rows[part].stop))
                t = self.split.labels[rows]
                z, _ = forward(self.network, self.split.images[rows])
                _, shifted, total = softmax(self.network.arithmetic, z)
                self.terms[:, rows] = loss_terms(shifted, total, t)
                self.right[rows] = z.argmax(axis=1) == t.argmax(axis=1)

    def score(self) -> Score:
        right = int(np.count_nonzero(self.right))
        return Score(cross_entropy(self.network.arithmetic, self.terms), right / len(self.right))


class _Loop:
    """A training in progress. The team runs its tasks `take_steps` and `evaluate`."""

    def __init__(self, state: State, training: Split, batch_size: int, seed: int, watched: Sequence[Split], team: Team):
        self.state, self.seed, self.batch_size, self.team = state, seed, batch_size, team
        self.labels, self.batches = training.labels, len(training.images) // batch_size
        network = state.network
        network.weights[:], network.biases[:] = map(shared, network.weights), map(shared, network.biases)

        # A pixel that is black in all images adds nothing to X W₁, and its gradient is 0. We train without it.
        first, *later = network.weights
        all_pixels = network.preparation.shift != 0.0
        lit = np.arange(len(first)) if all_pixels else lit_pixels(training.images)
        pixels = [lit[part :: len(team.parts)] for part in team.parts]
        self.lit = np.concatenate(pixels)
        self.trained = replace(network, weights=[shared(first[self.lit]), *later])
        self.images = columns(training.images, pixels)
        self.divided = None
        if len(pixels) > 1:
            self.divided = DividedStep(self.trained, self.images, batch_size, state.optimizer, team)

        self.span = shared(np.zeros(2, np.int64))  # iterations before and after the steps to take
        self.terms = shared(np.zeros((2, self.batches, batch_size), network.arithmetic.dtype))  # terms of the loss
        self.watches = [_Watch(network, split, team) for split in watched]

    @quiet()
    def epoch(self, iterations: int) -> Epoch:
        """Take the remaining steps of an epoch and return its results. Errors are those of `Team.run`."""
        state, network = self.state, self.state.network
        before = state.iteration
        number = before // self.batches
        after = min((number + 1) * self.batches, iterations)
        self.span[:] = before, after
        self.team.run(0)
        network.weights[0][self.lit] = self.trained.weights[0]
        if self.watches:
            self.team.run(1)
        terms = self.terms[:, : after - before].reshape(2, -1)
        scores = tuple(watch.score() for watch in self.watches)
        state.iteration = after
        return Epoch(number + 1, after, cross_entropy(network.arithmetic, terms), scores)

    @quiet()
    def take_steps(self) -> None:
        before, after = self.span.tolist()
        epoch = before // self.batches
        self.order = permutation(stream(self.seed, ORDER, epoch), len(self.labels))
        labels = self.labels.T[:, self.order].T  # column by column in memory, as the logits in `softmax`
        for iteration in range(before, after):
            self.iteration = iteration + 1
            start = (iteration - epoch * self.batches) * self.batch_size
            rows = slice(start, start + self.batch_size)
            (self.divided or self.plain_step)(self.order[rows], labels[rows], self.terms[:, iteration - before])

    def plain_step(self, batch: np.ndarray, t: np.ndarray, terms: np.ndarray) -> None:
        """Take one step by `mlp.network.step`. `DividedStep` has the same arguments."""
        terms[...] = step(self.trained, self.images[0][batch], t, self.state.optimizer)

    @quiet()
    def evaluate(self) -> None:
        for watch in self.watches:
            watch.evaluate()

    @quiet()
    def failing_layer(self) -> int:
        """Return the first layer, from 1, with weights or outputs for the batch that are not finite; else the last."""
        start = (self.iteration - 1) % self.batches * self.batch_size
        batch = self.order[start : start + self.batch_size]
        X = np.concatenate([part[batch] for part in self.images], axis=1)
        weights, biases = self.trained.weights, self.trained.biases
        for layer in range(1, len(weights)):
            try:
                a, _ = forward(replace(self.trained, weights=weights[:layer], biases=biases[:layer]), X)
            except FloatingPointError:
                return layer
            if not np.isfinite(a).all():
                return layer
        return len(weights)


def lit_pixels(images: np.ndarray) -> np.ndarray:
    """Return the pixels that are lit in some of the images, (n, features) uint8, the most often lit ones first."""
    counts = np.zeros(images.shape[1], np.int64)
    for start in range(0, len(images), ROWS):
        counts += np.count_nonzero(images[start : start + ROWS], axis=0)
    return np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]


def columns(images: np.ndarray, parts: list[np.ndarray]) -> list[np.ndarray]:
    """Return the pixels of each part, from images, (n, features) uint8: one array, (n, pixels), for each part."""
    found = [np.empty((len(images), len(pixels)), np.uint8) for pixels in parts]
    for start in range(0, len(images), ROWS):
        rows = images[start : start + ROWS]
        for some, pixels in zip(found, parts, strict=True):
            np.take(rows, pixels, axis=1, out=some[start : start + ROWS], mode="clip")
    return found
