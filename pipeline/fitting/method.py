"""How to train, from the parameters."""

from typing import TYPE_CHECKING

import numpy as np

from mlp.distortions import Distortion, Strength
from mlp.optimizers import SGD, Adam, Optimizer, Schedule
from mlp.regularization import Dropout
from mlp.training import Method
from pipeline.program.errors import UserError

if TYPE_CHECKING:  # the short run of tools.portable has NumPy alone
    from pipeline.settings.params import Params


def method_of(params: "Params", image_shape: tuple[int, int]) -> Method:
    """Return the method of training for images of a shape, (rows, columns). Errors are those of `distortion_of`."""
    settings = params.train
    schedule = Schedule(settings.learning_rate, settings.schedule, settings.warmup, settings.iterations)
    rule = Adam(settings.momentum) if settings.optimizer == "adam" else SGD(settings.momentum, settings.nesterov)
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
    """Return the distortion of images of a shape, (rows, columns), if they shall be distorted.

    Raises:
        UserError: the images are too large.
    """
    strength = Strength(**params.distort.model_dump())
    if not strength.distorts:
        return None
    try:
        return Distortion(image_shape, strength)
    except ValueError as error:
        raise UserError(f"{error}; in the parameter file, set all values of distort to 0 but smoothness.") from None


def distorted(params: "Params", images: np.ndarray, image_shape: tuple[int, int], epochs: int) -> list[np.ndarray]:
    """Return images, (n, features) uint8, as each of the first epochs distorts them; none, if training does not."""
    distortion = distortion_of(params, image_shape)
    return [distortion.distort(images, seed=0, epoch=epoch, first=0) for epoch in range(epochs)] if distortion else []
