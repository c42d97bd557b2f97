"""One training: from a new network and prepared images to the trained network and its scores."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mlp.distortions import Distortion, Strength
from mlp.optimizers import SGD, Adam, Optimizer, RMSprop, Schedule
from mlp.prediction import Score, measure
from mlp.protocol import Network, Split
from mlp.random import SAMPLE, permutation, stream
from mlp.regularization import Dropout
from mlp.training import DivergedError, Epoch, Method, new_state, train, trained_network
from pipeline.fitting.checkpoint import Checkpoint
from pipeline.program.errors import UserError
from pipeline.store.artifacts import Prepared

if TYPE_CHECKING:  # the short run of tools.portable has NumPy alone
    from pipeline.settings.params import Params, Train


class Result(NamedTuple):
    """What a training gives."""

    network: Network  # the trained network: the last epoch's or the best epoch's
    epoch: int  # number of this epoch
    train: Score  # the network's loss and accuracy on all training images
    validation: Score  # the same on the validation images


def loop_for(processes: int) -> Callable[..., Iterator[Epoch]]:
    """Return the training loop for so many processes. It takes the arguments of `train`."""
    n, loop = processes, train
    # Several divide each step. Without this line and mlp/divided, one trains the same network
    loop = partial(import_module("mlp.divided").train, processes=n) if n > 1 else train
    return loop


@dataclass
class Training:
    """A training, epoch by epoch. A training that was killed continues from its checkpoint.

    `epochs` has the results of the epochs so far. The first `resumed` of them came from the
    checkpoint. Without an early stop there will be `total` epochs.
    """

    network: Network
    method: Method
    images: Split
    sample: Split  # some of the training images, to measure after each epoch
    validation: Split  # other images, to measure after each epoch
    processes: int = 1
    checkpoint: Checkpoint | None = None

    def __post_init__(self) -> None:
        self._state = new_state(self.network, self.method)
        self.epochs: list[Epoch] = self.checkpoint.load(self._state) if self.checkpoint else []
        self.resumed = len(self.epochs)
        batches = len(self.images.images) // self.method.batch_size
        self.total = -(-self.method.iterations // batches)

    def run(self) -> Iterator[Epoch]:
        """Train, and yield the results of each epoch. Errors are those of `mlp.training.train`."""
        loop, watched = loop_for(self.processes), [self.sample, self.validation]
        try:
            for epoch in loop(self._state, self.images, self.method, watched):
                self.epochs.append(epoch)
                if self.checkpoint:
                    self.checkpoint.save(self._state, self.epochs)
                yield epoch
        except DivergedError:
            if self.checkpoint:  # it leads there again
                self.checkpoint.remove()
            raise

    def result(self) -> Result:
        """Measure the trained network, after the last epoch. Errors are those of `measure`."""
        network = trained_network(self._state, self.method)
        number = self._state.best.epoch if self.method.keep_best else len(self.epochs)
        _, validation = self.epochs[number - 1].scores
        score = measure(network, self.images, self.processes)
        return Result(network, number, score, validation)


def training_of(
    network: Network,
    params: "Params",
    path: Path,
    train: Prepared,
    validation: Prepared,
    processes: int = 1,
    checkpoint: Checkpoint | None = None,
) -> Training:
    """Return the training of a network that the parameters of the file `path` describe.

    After each epoch, accuracy is measured on as many training images as there are validation
    images. A UserError says that a mini-batch has more images than there are, or that the images
    are too large for distortions.
    """
    settings, (images, labels) = params.train, train.split
    if (n := len(images)) < settings.batch_size:
        what = f"{settings.batch_size}, more than the {n} training images; expected {n} or less"
        raise UserError(f"{path}: train.batch_size is {what}.", about="train.batch_size")
    some = np.sort(permutation(stream(settings.seed, SAMPLE), n)[: len(validation.split.images)])
    sample = Split(images[some], labels[some])
    method = method_of(params, train.preparation.image_shape)
    return Training(network, method, train.split, sample, validation.split, processes, checkpoint)


def method_of(params: "Params", image_shape: tuple[int, int]) -> Method:
    """Return the method of training for images of a shape. Errors: see `distortion_of`."""
    settings = params.train
    steps, momentum = settings.iterations, settings.momentum
    schedule = Schedule(settings.learning_rate, settings.schedule, settings.warmup, steps)
    rules: dict[str, SGD | Adam] = {"adam": Adam(momentum), "rmsprop": RMSprop(momentum)}
    rule = rules.get(settings.optimizer) or SGD(momentum, settings.nesterov)
    return Method(
        iterations=steps,
        batch_size=settings.batch_size,
        seed=settings.seed,
        optimizer=Optimizer(schedule, rule, settings.weight_decay, settings.max_norm),
        dropout=Dropout(settings.input_dropout, settings.hidden_dropout),
        label_smoothing=settings.label_smoothing,
        distortion=distortion_of(params, image_shape),
        patience=settings.patience,
        keep_best=settings.keep == "best",
    )


def distortion_of(params: "Params", image_shape: tuple[int, int]) -> Distortion | None:
    """Return the distortion of images of a shape, if any. A UserError: they are too large."""
    strength = Strength(**params.distort.model_dump())
    if not any(strength._replace(smoothness=0.0)):  # which distorts nothing by itself
        return None
    try:
        return Distortion(image_shape, strength)
    except ValueError as error:
        cure = "in the parameter file, set all values of distort to 0 but smoothness"
        raise UserError(f"{error}; {cure}.") from None


def distorted(
    params: "Params", images: np.ndarray, image_shape: tuple[int, int], epochs: int
) -> list[np.ndarray]:
    """Return images, (n, features) uint8, as each of the first epochs distorts them, if any."""
    if not (distortion := distortion_of(params, image_shape)):
        return []
    return [distortion.distort(images, seed=0, epoch=epoch, first=0) for epoch in range(epochs)]


@contextmanager
def failures_explained(train: "Train", path: Path) -> Iterator[None]:
    """Turn the failures of a training with parameters from the file `path` into sentences."""
    rate = f"lower train.learning_rate (now {train.learning_rate})"
    try:
        yield
    except DivergedError as error:
        decay = f" or train.weight_decay (now {train.weight_decay})" if train.weight_decay else ""
        where = f"at step {error.iteration} the numbers of layer {error.layer}"
        what = f"training diverged: {where} are no longer finite"
        std = f"choose a smaller train.weight_init_std (now {train.weight_init_std}), in {path}"
        raise UserError(f"{what}; {rate}{decay}, or {std}. No model was written.") from None
    except FloatingPointError:
        what = "the trained network's loss on the training images is not finite"
        raise UserError(f"{what}; {rate} in {path}. No model was written.") from None
    except ChildProcessError as error:
        what = f"one of training's processes {error}. No model was written; run it again."
        raise UserError(what) from None
    except ArithmeticError as error:
        what = f"{error}, so its results would differ from those of other machines"
        raise UserError(f"{what}. No model was written.") from None
