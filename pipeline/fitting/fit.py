"""One training: from a new network and prepared images to the network that is kept, and its scores."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mlp.network import Network, Split, init_network
from mlp.random import SAMPLE, permutation, stream
from mlp.training import DivergedError, Epoch, Method, Score, kept, measure, new_state, train
from pipeline.fitting.checkpoint import Checkpoint
from pipeline.fitting.method import method_of
from pipeline.program.errors import UserError
from pipeline.store.artifacts import Prepared

if TYPE_CHECKING:  # the short run of tools.portable has NumPy alone
    from pipeline.settings.params import Params, Train


class Fitted(NamedTuple):
    """What a training gives.

    Attributes:
        network: the network that is kept.
        epoch: the number of the epoch after which it is kept.
        train: its loss and accuracy on all training images.
        validation: the same on the validation images.
    """

    network: Network
    epoch: int
    train: Score
    validation: Score


class Fitting:
    """A training, epoch by epoch.

    Args:
        network: the network to train.
        method: how to train.
        training: the images to learn from.
        seen: some of them, to measure after each epoch.
        unseen: other images, to measure after each epoch.
        processes: 1 or 2 share the work.
        checkpoint: where a training that was killed continues; None: at the beginning.

    Attributes:
        epochs: the results of the epochs so far.
        resumed: how many of them a checkpoint brought.
        total: the number of epochs, if training does not stop early.
    """

    def __init__(
        self,
        network: Network,
        method: Method,
        training: Split,
        seen: Split,
        unseen: Split,
        processes: int,
        checkpoint: Checkpoint | None = None,
    ):
        self._method, self._training, self._watched = method, training, [seen, unseen]
        self._processes, self._checkpoint = processes, checkpoint
        self._state = new_state(network, method)
        self.epochs: list[Epoch] = checkpoint.load(self._state) if checkpoint else []
        self.resumed = len(self.epochs)
        self.total = -(-method.iterations // (len(training.images) // method.batch_size))

    def run(self) -> Iterator[Epoch]:
        """Train, and yield the results of each epoch. Errors are those of `mlp.training.train`."""
        for epoch in train(self._state, self._training, self._method, self._watched, self._processes):
            self.epochs.append(epoch)
            if self._checkpoint:
                self._checkpoint.save(self._state, self.epochs)
            yield epoch

    def result(self) -> Fitted:
        """Measure the network that is kept, after the last epoch. Errors are those of `mlp.training.measure`."""
        network = kept(self._state, self._method)
        number = self._state.best.epoch if self._method.keep_best else len(self.epochs)
        _, validation = self.epochs[number - 1].scores
        return Fitted(network, number, measure(network, self._training, self._processes), validation)

    def stopped_early(self) -> bool:
        """Return whether training ended before its last iteration, because no epoch was better for a while."""
        return self._state.iteration < self._method.iterations


def fitting_of(
    params: "Params",
    path: Path,
    training: Prepared,
    validation: Prepared,
    processes: int,
    checkpoint: Checkpoint | None = None,
) -> Fitting:
    """Return the training, of a new network, that the parameters of the file `path` describe.

    After each epoch, accuracy is measured on as many training images as there are validation images.

    Raises:
        UserError: a mini-batch has more images than there are, or the images are too large for distortions.
    """
    settings, (images, labels) = params.train, training.split
    if settings.batch_size > len(images):
        raise UserError(
            f"{path}: train.batch_size is {settings.batch_size}, more than the {len(images)} training images; expected "
            f"{len(images)} or less.",
            path=path,
            about="train.batch_size",
        )
    network = init_network(
        settings.hidden_sizes,
        settings.activation,
        settings.weight_init_std,
        settings.arithmetic,
        training.preparation,
        settings.seed,
    )
    some = np.sort(permutation(stream(settings.seed, SAMPLE), len(images))[: len(validation.split.images)])
    seen = Split(images[some], labels[some])
    method = method_of(params, training.preparation.image_shape)
    return Fitting(network, method, training.split, seen, validation.split, processes, checkpoint)


@contextmanager
def failures_explained(train: "Train", path: Path) -> Iterator[None]:
    """Turn the failures of a training with the parameters `train`, from the file `path`, into sentences."""
    try:
        yield
    except DivergedError as error:
        decay = f" or train.weight_decay (now {train.weight_decay})" if train.weight_decay else ""
        raise UserError(
            f"training diverged: at step {error.iteration} the numbers of layer {error.layer} are no longer finite. "
            "The steps are probably too long, or the first weights too large: lower train.learning_rate "
            f"(now {train.learning_rate}){decay}, or choose a smaller train.weight_init_std (now "
            f"{train.weight_init_std}), in {path}. No model was written."
        ) from None
    except FloatingPointError:
        raise UserError(
            "the trained network's loss on the training images is not finite; lower train.learning_rate (now "
            f"{train.learning_rate}) in {path}. No model was written."
        ) from None
    except ChildProcessError as error:
        raise UserError(f"training's second process {error}. No model was written; run it again.") from None
