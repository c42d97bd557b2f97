"""Mini-batch training: the loop over epochs, and its state."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from mlp.batches import Batches
from mlp.distortions import Distortion
from mlp.layers import cross_entropy, loss_terms, softmax
from mlp.network import CHUNK, Network, Split, check_split, forward, step
from mlp.optimizers import Memory, Optimizer
from mlp.pace import Pace
from mlp.parallel import DividedStep
from mlp.regularization import Dropout, Mask
from mlp.team import LEADER, Team, cut_evenly, shared


def quiet() -> np.errstate:
    """Stop NumPy's warnings of numbers that are not finite.

    Training itself notices them and names the layer.
    """
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
    state: str = ""  # fingerprint of the state after the epoch


class Method(NamedTuple):
    """How to train."""

    iterations: int  # total number of steps
    batch_size: int  # number of images in a mini-batch, at most the number of training images
    seed: int  # the seed for the order of the images, dropout and the distortions
    optimizer: Optimizer  # the rule by which a gradient changes a parameter
    dropout: Dropout = Dropout()
    distortion: Distortion | None = None  # of the training images, drawn in each epoch
    # Epochs without a better one after which training stops; 0: it does not stop early
    patience: int = 0
    keep_best: bool = False  # whether to keep the network after the best epoch, not after the last


class Best(NamedTuple):
    """The best epoch so far: the first one with the highest accuracy on the last of the watched
    splits.

    Of epochs with the same accuracy the one with the lower loss is better.
    """

    epoch: int = 0  # number of the epoch, from 1; 0 if there is none
    score: Score = Score(float("inf"), 0.0)
    parameters: Sequence[np.ndarray] = ()  # its weights and biases, if they may be kept


@dataclass
class State:
    """Everything that training changes.

    With it and the arguments of `train`, a stopped training can continue.
    """

    network: Network  # the network, with its parameters after the last finished epoch
    memory: Memory  # what the optimizer remembers of the weights, then of the biases
    iteration: int = 0  # number of steps taken
    best: Best = field(default_factory=Best)

    def arrays(self) -> list[np.ndarray]:
        """Return all arrays: the weights, the biases, and what the optimizer remembers of each."""
        return [
            *self.network.weights,
            *self.network.biases,
            *(array for arrays in self.memory for array in arrays),
        ]

    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits: SHA-256 of the iteration and of all arrays, little-endian.

        Two trainings that are still the same have the same. In float32 it is empty: machines differ
        there.
        """
        if self.network.arithmetic.name != "exact":
            return ""
        digest = hashlib.sha256(self.iteration.to_bytes(8, "little"))
        for array in self.arrays():
            digest.update(array.astype("<f8", copy=False).data)
        return digest.hexdigest()[:16]


def new_state(network: Network, method: Method) -> State:
    """Return the state before the first step."""
    return State(network, method.optimizer.new_memory(network.weights + network.biases))


class DivergedError(FloatingPointError):
    """At step `iteration`, from 1, the weights or outputs of `layer`, from 1, are no longer
    finite.
    """

    def __init__(self, iteration: int, layer: int):
        super().__init__(f"layer {layer} is no longer finite at step {iteration}")
        self.iteration, self.layer = iteration, layer


def train(
    state: State, training: Split, method: Method, watched: Sequence[Split] = (), processes: int = 1
) -> Iterator[Epoch]:
    """Train until all steps are taken, or until no epoch has been better for a while. Yield the
    results of each epoch.

    An epoch passes once over the training images, in a new random order, without a remainder
    smaller than a batch. The last epoch may be shorter. The caller may stop after any epoch, and
    continue later with the same `state`.

    Args:
        state: the state to change. Its parameters become arrays in shared memory. Do not use it
            after an error.
        training: the images to learn from.
        method: how to train.
        watched: the splits to measure after each epoch. The last one decides which epoch is better.
        processes: how many share the work at most. Several need a BLAS of one thread. In exact
            arithmetic as many work as are fastest; all give the same bits.

    Raises:
        ValueError: images or labels are of a wrong type or shape, or there are fewer images than in
            a mini-batch.
        DivergedError: a number of a step, or of a score after it, is no longer finite.
        ChildProcessError: a process ended early, or hangs.
    """
    for split in (training, *watched):
        check_split(state.network, split)
    if method.batch_size > len(training.images):
        raise ValueError(
            f"a mini-batch has {method.batch_size} images, and there are {len(training.images)}"
        )
    team = Team(processes)
    loop = _Loop(state, training, method, watched, team)
    with team.start(loop.take_steps, loop.evaluate):
        while not loop.is_finished():
            try:
                yield loop.epoch()
            except FloatingPointError:
                raise DivergedError(loop.iteration, loop.failing_layer()) from None


def kept(state: State, method: Method) -> Network:
    """Return the network that a finished training keeps."""
    network, best = state.network, state.best.parameters
    if not (method.keep_best and best):
        return network
    layers = len(network.weights)
    return replace(network, weights=list(best[:layers]), biases=list(best[layers:]))


@quiet()
def measure(network: Network, split: Split, processes: int = 1) -> Score:
    """Return the loss and accuracy of `network` on some images, by some processes.

    Errors are those of `Team.run`.
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

    def __init__(
        self, state: State, training: Split, method: Method, watched: Sequence[Split], team: Team
    ):
        self.state, self.method, self.team = state, method, team
        network, optimizer = state.network, method.optimizer
        network.weights[:], network.biases[:] = (
            map(shared, network.weights),
            map(shared, network.biases),
        )
        state.memory[:] = [[shared(array) for array in arrays] for arrays in state.memory]

        # A pixel that is black in all images adds nothing to X W₁, and its gradient is 0. We train
        # without it, unless its weights change all the same.
        black_adds_nothing = network.preparation.shift == 0.0
        all_pixels = bool(not black_adds_nothing or optimizer.weight_decay or optimizer.max_norm)
        self.batches = Batches(
            training,
            method.batch_size,
            method.seed,
            method.distortion,
            all_pixels,
            black_adds_nothing,
            team,
        )
        pixels = self.batches.pixels
        self.trained = replace(
            network, weights=[shared(network.weights[0][pixels]), *network.weights[1:]]
        )
        self.memory = [[shared(array[pixels]) for array in state.memory[0]], *state.memory[1:]]
        self.divided = None
        if len(team.parts) > 1:
            images, ends = self.batches.images, self.batches.ends
            self.divided = DividedStep(
                self.trained, images, ends, method.batch_size, optimizer, self.memory, team
            )

        self.span = shared(np.zeros(2, np.int64))  # iterations before and after the steps to take
        self.pace, self.deadline = Pace(len(team.parts)), 0.0
        # The terms of the loss
        self.terms = shared(
            np.zeros((2, self.batches.count, method.batch_size), network.arithmetic.dtype)
        )
        self.watches = [_Watch(network, split, team) for split in watched]

    def is_finished(self) -> bool:
        """Return whether all steps are taken, or no epoch has been better for so long that training
        stops.
        """
        state, patience = self.state, self.method.patience
        waited = -(-state.iteration // self.batches.count) - state.best.epoch
        return state.iteration >= self.method.iterations or (
            0 < patience <= waited and state.best.epoch > 0
        )

    @quiet()
    def epoch(self) -> Epoch:
        """Take the remaining steps of an epoch and return its results.

        Errors are those of `Team.run`.
        """
        state, network = self.state, self.state.network
        start = state.iteration
        number, taken = divmod(start, self.batches.count)
        after = min((number + 1) * self.batches.count, self.method.iterations)
        while start < after:
            processes, seconds = self.pace.next()
            began = time.perf_counter()
            self.deadline, self.span[:] = began + seconds, (start, after)
            self.team.run(0, processes)
            end = int(self.span[1])
            self.pace.tell(processes, (time.perf_counter() - began) / (end - start))
            start = end
        network.weights[0][self.batches.pixels] = self.trained.weights[0]
        for whole, trained in zip(state.memory[0], self.memory[0], strict=True):
            whole[self.batches.pixels] = trained
        if self.watches:
            self.team.run(1, self.pace.best)
        terms = self.terms[:, taken : after - number * self.batches.count].reshape(2, -1)
        scores = tuple(watch.score() for watch in self.watches)
        loss = cross_entropy(network.arithmetic, terms)
        state.iteration = after
        if scores and (scores[-1].accuracy, -scores[-1].loss) > (
            state.best.score.accuracy,
            -state.best.score.loss,
        ):
            keep = network.weights + network.biases if self.method.keep_best else []
            state.best = Best(number + 1, scores[-1], [array.copy() for array in keep])
        return Epoch(number + 1, after, loss, scores, state.fingerprint())

    @quiet()
    def take_steps(self) -> None:
        iteration = int(self.span[0])
        # In exact arithmetic all divisions have the same bits, and the undivided step is the
        # fastest for one process
        alone = (
            len(self.team.parts) == len(self.batches.images)
            and self.state.network.arithmetic.name == "exact"
        )
        while iteration < self.span[1]:
            if LEADER in self.team.parts and time.perf_counter() > self.deadline:
                self.span[1] = iteration + 1  # the others see it when they have met in this step
            self.iteration = iteration + 1
            epoch, number = divmod(iteration, self.batches.count)
            self.batch, t = self.batches.batch(epoch, number)
            masks, terms = self.masks(iteration), self.terms[:, number]
            if self.divided and not alone:
                self.divided(self.batch, t, terms, iteration, masks)
            else:
                X = self.batches.pixels_of(self.batch)
                terms[...] = step(
                    self.trained, X, t, self.method.optimizer, self.memory, iteration, masks
                )
            iteration += 1

    def masks(self, iteration: int) -> list[Mask]:
        """Return the masks of a step, the first one for the pixels that are trained."""
        sizes = [len(W) for W in self.state.network.weights]
        first, *later = self.method.dropout.masks(
            sizes, self.method.batch_size, self.method.seed, iteration
        )
        if first.kept is not None:
            first = first._replace(
                kept=np.take(first.kept, self.batches.pixels, axis=1, mode="clip")
            )
        return [first, *later]

    @quiet()
    def evaluate(self) -> None:
        for watch in self.watches:
            watch.evaluate()

    @quiet()
    def failing_layer(self) -> int:
        """Return the first layer, from 1, with weights or outputs for the batch that are not
        finite; else the last.
        """
        X = self.batches.pixels_of(self.batch)
        weights, biases = self.trained.weights, self.trained.biases
        for layer in range(1, len(weights)):
            with suppress(FloatingPointError):
                a, _ = forward(
                    replace(self.trained, weights=weights[:layer], biases=biases[:layer]), X
                )
                if np.isfinite(a).all():
                    continue
            return layer
        return len(weights)
