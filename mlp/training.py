"""Mini-batch training: its state, its results, and the loop over epochs."""

import copy
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from mlp.arithmetic import check_float_environment
from mlp.distortions import Distortion
from mlp.layers import cross_entropy
from mlp.network import step
from mlp.optimizers import Optimizer, OptState, check
from mlp.prediction import Score, measure, quiet
from mlp.protocol import Network, Split, check_split
from mlp.random import ORDER, permutation, stream
from mlp.regularization import NO_DROPOUT, Dropout, smooth


class Epoch(NamedTuple):
    """The results of one epoch."""

    epoch: int  # number of the epoch, from 1
    iteration: int  # number of steps taken so far
    loss: float  # mean over the epoch's mini-batches, each measured before its step
    scores: tuple[Score, ...]  # scores of the watched splits, after the epoch
    fingerprint: str = ""  # of the state after the epoch


@dataclass(frozen=True, kw_only=True)
class Method:
    """How to train. A ValueError says that a number is out of its range."""

    iterations: int  # total number of steps, 0 or more
    batch_size: int  # number of images in a mini-batch, 1 or more
    seed: int  # for the order of the images, dropout and the distortions
    optimizer: Optimizer  # the rule by which a gradient changes a parameter
    dropout: Dropout = NO_DROPOUT
    label_smoothing: float = 0.0  # share of each label that all classes get alike, 0 to below 1
    distortion: Distortion | None = None  # of the training images, new ones in each epoch
    patience: int = 0  # epochs without a better one after which training stops; 0: it goes on
    keep_best: bool = False  # whether to use the network of the best epoch, not of the last

    def __post_init__(self) -> None:
        for name, least in (("iterations", 0), ("batch_size", 1), ("patience", 0)):
            if (value := getattr(self, name)) < least:
                raise ValueError(f"{name} is {value}; expected a whole number, {least} or more")
        check("label_smoothing", self.label_smoothing, 1.0)

    def smoothed(self, training: Split, network: Network) -> Split:
        """Return the training images with the labels that the network learns."""
        labels = smooth(training.labels, self.label_smoothing, network.arithmetic.dtype)
        return training._replace(labels=labels)


class Best(NamedTuple):
    """The best epoch so far: the first one with the highest accuracy on the last watched split.

    Of epochs with the same accuracy the one with the lower loss is better.
    """

    epoch: int = 0  # number of the epoch, from 1; 0 if there is none
    score: Score = Score(float("inf"), 0.0)
    parameters: Sequence[np.ndarray] = ()  # copies of its parameters, if they may be needed


@dataclass
class State:
    """Everything that training changes, so that a stopped training can continue."""

    network: Network  # the network, with its parameters after the last finished epoch
    opt_state: OptState  # the optimizer's arrays for each parameter
    iteration: int = 0  # number of steps taken
    best: Best = field(default_factory=Best)

    def arrays(self) -> list[np.ndarray]:
        """Return all arrays: the parameters, and the optimizer's arrays for each of them."""
        parameters = self.network.arrays.values()
        return [*parameters, *(array for arrays in self.opt_state for array in arrays)]

    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits: SHA-256 of the iteration and of all arrays, little-endian.

        Equal digits mean the same training so far. In float32 there are none: machines differ.
        """
        if self.network.arithmetic.name != "exact":
            return ""
        digest = hashlib.sha256(self.iteration.to_bytes(8, "little"))
        for array in self.arrays():
            # A BLAS may give a sum of zeros either sign. Adding 0.0 makes −0 the same as +0
            digest.update((array + 0.0).astype("<f8", copy=False).data)
        return digest.hexdigest()[:16]


def new_state(network: Network, method: Method) -> State:
    """Return the state before the first step."""
    return State(network, method.optimizer.new_state(network.arrays.values()))


class DivergedError(FloatingPointError):
    """After so many steps, from 1, the numbers of `layer`, from 1, are no longer finite."""

    def __init__(self, iteration: int, layer: int):
        super().__init__(f"layer {layer} is no longer finite at step {iteration}")
        self.iteration, self.layer = iteration, layer


def train(
    state: State, training: Split, method: Method, watched: Sequence[Split] = ()
) -> Iterator[Epoch]:
    """Train until all steps are taken, or until no epoch has been better for a while.

    An epoch passes once over the training images, in a new random order, without a remainder
    smaller than a batch. The last epoch may be shorter. The caller may stop after any epoch, and
    continue later with the same `state`.

    Args:
        state: the state to change. Do not use it after an error.
        training: the images to learn from.
        method: how to train.
        watched: the splits to measure after each epoch. The last one decides which is better.

    Raises:
        ValueError: images or labels are wrong, or there are fewer images than in a mini-batch.
        ArithmeticError: the processor is in a mode that would change the results.
        DivergedError: a number of a step, or of a score after it, is no longer finite.
    """
    check_arguments(state.network, training, method, watched)
    network, optimizer, size = state.network, method.optimizer, method.batch_size
    training = method.smoothed(training, network)
    batches = len(training.images) // size
    while not is_finished(state, method, batches):
        epoch, start = divmod(state.iteration, batches)
        stop = min(batches, method.iterations - epoch * batches)
        order = permutation(stream(method.seed, ORDER, epoch), len(training.images))
        terms: list[np.ndarray] = []
        try:
            with quiet():
                for batch in range(start, stop):
                    rows = order[batch * size : (batch + 1) * size]
                    X, t = training.images[rows], training.labels[rows]
                    if method.distortion:
                        X = method.distortion.distort(X, method.seed, epoch, batch * size)
                    iteration = state.iteration
                    masks = method.dropout.masks(network.layer_inputs, size, method.seed, iteration)
                    state.iteration += 1
                    terms.append(step(network, X, t, optimizer, state.opt_state, iteration, masks))
                loss = cross_entropy(network.arithmetic, np.concatenate(terms, axis=1))
                scores = [measure(network, split) for split in watched]
        except FloatingPointError:
            raise DivergedError(state.iteration, failing_layer(network)) from None
        yield finish_epoch(state, method, epoch + 1, loss, scores)


def check_arguments(
    network: Network, training: Split, method: Method, watched: Sequence[Split]
) -> None:
    """Raise the ValueError or ArithmeticError of `train` that its arguments call for."""
    check_float_environment()
    for split in (training, *watched):
        check_split(network.preparation, split)
    if method.batch_size > (n := len(training.images)):
        raise ValueError(f"a mini-batch has {method.batch_size} images, and there are {n}")


def is_finished(state: State, method: Method, batches: int) -> bool:
    """Return whether all steps are taken, or patience, in epochs of `batches`, has run out."""
    if state.iteration >= method.iterations:
        return True
    waited = -(-state.iteration // batches) - state.best.epoch
    return state.best.epoch > 0 and 0 < method.patience <= waited


def finish_epoch(
    state: State, method: Method, epoch: int, loss: float, scores: Sequence[Score]
) -> Epoch:
    """Note whether an epoch, from 1, is the best one. Return its results."""
    if scores:
        score, best = scores[-1], state.best.score
        if (score.accuracy, -score.loss) > (best.accuracy, -best.loss):
            parameters = state.network.arrays.values() if method.keep_best else ()
            state.best = Best(epoch, score, [array.copy() for array in parameters])
    return Epoch(epoch, state.iteration, loss, tuple(scores), state.fingerprint())


def failing_layer(network: Network) -> int:
    """Return the first layer with a parameter that is not finite; else the last layer."""
    layers = {name: int(name.rpartition("_")[2]) for name in network.arrays}
    wrong = [layers[name] for name, x in network.arrays.items() if not np.isfinite(x).all()]
    return min(wrong, default=max(layers.values()))


def trained_network(state: State, method: Method) -> Network:
    """Return the network that a finished training gives: the last epoch's or the best epoch's."""
    if not (method.keep_best and state.best.parameters):
        return state.network
    network = copy.deepcopy(state.network)
    for array, best in zip(network.arrays.values(), state.best.parameters, strict=True):
        array[...] = best
    return network
