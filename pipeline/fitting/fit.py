"""One training: from a new network and prepared images to the network that is kept, and its
scores.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mlp.distortions import Distortion, Strength
from mlp.network import Network, Preparation, Split, init_network
from mlp.optimizers import SGD, Adam, Optimizer, Schedule
from mlp.pace import helpful_processes
from mlp.random import SAMPLE, permutation, stream
from mlp.regularization import Dropout
from mlp.training import DivergedError, Epoch, Method, Score, kept, measure, new_state, train
from pipeline.fitting.checkpoint import Checkpoint
from pipeline.program.errors import UserError, clip
from pipeline.store.artifacts import Prepared

if TYPE_CHECKING:  # the short run of tools.portable has NumPy alone
    from pipeline.settings.params import Params, Train

PROCESSES = "TRAIN_PROCESSES"  # the environment variable that sets the number of processes


class Fitted(NamedTuple):
    """What a training gives."""

    network: Network  # the network that is kept
    epoch: int  # number of the epoch after which it is kept
    train: Score  # its loss and accuracy on all training images
    validation: Score  # the same on the validation images


@dataclass
class Fitting:
    """A training, epoch by epoch. A training that was killed continues from its checkpoint.

    `epochs` has the results of the epochs so far. The checkpoint brought `resumed` of them. Without
    an early stop there will be `total`.
    """

    network: Network
    method: Method
    training: Split
    seen: Split  # some of the training images, to measure after each epoch
    unseen: Split  # other images, to measure after each epoch
    processes: int
    checkpoint: Checkpoint | None = None

    def __post_init__(self) -> None:
        self._state = new_state(self.network, self.method)
        self.epochs: list[Epoch] = self.checkpoint.load(self._state) if self.checkpoint else []
        self.resumed = len(self.epochs)
        self.total = -(
            -self.method.iterations // (len(self.training.images) // self.method.batch_size)
        )

    def run(self) -> Iterator[Epoch]:
        """Train, and yield the results of each epoch. Errors are those of `mlp.training.train`."""
        try:
            for epoch in train(
                self._state, self.training, self.method, [self.seen, self.unseen], self.processes
            ):
                self.epochs.append(epoch)
                if self.checkpoint:
                    self.checkpoint.save(self._state, self.epochs)
                yield epoch
        except DivergedError:
            if self.checkpoint:  # it leads there again
                self.checkpoint.remove()
            raise

    def result(self) -> Fitted:
        """Measure the network that is kept, after the last epoch.

        Errors are those of `mlp.training.measure`.
        """
        network = kept(self._state, self.method)
        number = self._state.best.epoch if self.method.keep_best else len(self.epochs)
        _, validation = self.epochs[number - 1].scores
        return Fitted(network, number, measure(network, self.training, self.processes), validation)


def fitting_of(
    params: "Params",
    path: Path,
    training: Prepared,
    validation: Prepared,
    processes: int | None = None,
    checkpoint: Checkpoint | None = None,
) -> Fitting:
    """Return the training, of a new network, that the parameters of the file `path` describe.

    After each epoch, accuracy is measured on as many training images as there are validation
    images. Without a number, there are as many processes as `processes_for` says. A UserError says
    that a mini-batch has more images than there are, or that the images are too large for
    distortions.
    """
    settings, (images, labels) = params.train, training.split
    if (n := len(images)) < settings.batch_size:
        what = (
            f"train.batch_size is {settings.batch_size}, more than the {n} training images; "
            f"expected {n} or less"
        )
        raise UserError(f"{path}: {what}.", path=path, about="train.batch_size")
    shape = (
        settings.hidden_sizes,
        settings.activation,
        settings.weight_init_std,
        settings.arithmetic,
    )
    network = init_network(*shape, training.preparation, settings.seed)
    some = np.sort(permutation(stream(settings.seed, SAMPLE), n)[: len(validation.split.images)])
    seen = Split(images[some], labels[some])
    method = method_of(params, training.preparation.image_shape)
    processes = processes or processes_for(settings, training.preparation)
    return Fitting(network, method, training.split, seen, validation.split, processes, checkpoint)


def processes_for(train: "Train", preparation: Preparation) -> int:
    """Return how many processes share a step: as TRAIN_PROCESSES says, or as the cores and the
    network's size allow.

    Raises:
        UserError: TRAIN_PROCESSES is no number from 1 to 64.
    """
    if text := os.environ.get(PROCESSES):
        if not (text.isdecimal() and 1 <= int(text) <= 64):
            raise UserError(f"{PROCESSES} is {clip(text)}; expected a whole number from 1 to 64.")
        return int(text)
    rows, columns = preparation.image_shape
    sizes = (rows * columns, *train.hidden_sizes, len(preparation.classes))
    return helpful_processes(sizes, train.batch_size, train.arithmetic)


def method_of(params: "Params", image_shape: tuple[int, int]) -> Method:
    """Return the method of training for images of a shape, (rows, columns).

    Errors are those of `distortion_of`.
    """
    settings = params.train
    schedule = Schedule(
        settings.learning_rate, settings.schedule, settings.warmup, settings.iterations
    )
    rule = (
        Adam(settings.momentum)
        if settings.optimizer == "adam"
        else SGD(settings.momentum, settings.nesterov)
    )
    return Method(
        settings.iterations,
        settings.batch_size,
        settings.seed,
        Optimizer(schedule, rule, settings.weight_decay, settings.max_norm),
        Dropout(settings.input_dropout, settings.hidden_dropout),
        distortion_of(params, image_shape),
        settings.patience,
        settings.keep == "best",
    )


def distortion_of(params: "Params", image_shape: tuple[int, int]) -> Distortion | None:
    """Return the distortion of images of a shape, if they shall be distorted.

    A UserError says they are too large.
    """
    strength = Strength(**params.distort.model_dump())
    if not any(strength._replace(smoothness=0.0)):  # which distorts nothing by itself
        return None
    try:
        return Distortion(image_shape, strength)
    except ValueError as error:
        raise UserError(
            f"{error}; in the parameter file, set all values of distort to 0 but smoothness."
        ) from None


def distorted(
    params: "Params", images: np.ndarray, image_shape: tuple[int, int], epochs: int
) -> list[np.ndarray]:
    """Return images, (n, features) uint8, as each of the first epochs distorts them; none, if
    training does not.
    """
    distortion = distortion_of(params, image_shape)
    return (
        [distortion.distort(images, seed=0, epoch=epoch, first=0) for epoch in range(epochs)]
        if distortion
        else []
    )


@contextmanager
def failures_explained(train: "Train", path: Path) -> Iterator[None]:
    """Turn the failures of a training with parameters from the file `path` into sentences."""
    rate = f"lower train.learning_rate (now {train.learning_rate})"
    try:
        yield
    except DivergedError as error:
        decay = f" or train.weight_decay (now {train.weight_decay})" if train.weight_decay else ""
        what = (
            f"training diverged: at step {error.iteration} the numbers of layer {error.layer} are "
            "no longer finite"
        )
        std = f"choose a smaller train.weight_init_std (now {train.weight_init_std})"
        raise UserError(
            f"{what}; {rate}{decay}, or {std}, in {path}. No model was written."
        ) from None
    except FloatingPointError:
        what = "the trained network's loss on the training images is not finite"
        raise UserError(f"{what}; {rate} in {path}. No model was written.") from None
    except ChildProcessError as error:
        raise UserError(
            f"one of training's processes {error}. No model was written; run it again."
        ) from None
