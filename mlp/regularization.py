"""What keeps a network from learning its images by heart: dropout, bounded norms, smoothed labels.

Dropout and the bound are from Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov,
"Dropout: a simple way to prevent neural networks from overfitting" (2014). Weight decay is in
mlp.optimizers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mlp.arithmetic import Arithmetic
from mlp.random import DROPOUT, stream, uniform_integers


class Mask(NamedTuple):
    """The inputs of a layer that a step keeps. All other inputs are 0 in this step.

    The kept inputs should be multiplied by `gain`, so that a sum over them has the mean of the sum
    without dropout. A layer multiplies its product instead: gain · ((h ⊙ keep) W). Then the
    operands of the product need no rounding.
    """

    keep: np.ndarray | None  # (batch, in) bool; None: all
    gain: float  # 1 / (share that is kept)

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Return `x`, (batch, in), with 0 in place of the inputs that are left out."""
        return x if self.keep is None else x * self.keep


KEEP_ALL = Mask(None, 1.0)


@dataclass(frozen=True)
class Dropout:
    """The probability that a step leaves out an input, or a hidden neuron: 0 to below 1."""

    inputs: float = 0.0
    hidden: float = 0.0

    def __post_init__(self) -> None:
        for name, share in (("inputs", self.inputs), ("hidden", self.hidden)):
            if not 0.0 <= share < 1.0:
                raise ValueError(f"dropout of {name} is {share}; expected 0 to below 1")

    def masks(self, sizes: Sequence[int], batch_size: int, seed: int, iteration: int) -> list[Mask]:
        """Return a mask for the inputs of each layer in step `iteration`.

        A number is left out if a random 16-bit integer is below 2¹⁶ times the probability, rounded.
        The integers depend only on the arguments, image by image, layer by layer. `sizes` are the
        numbers of the layers' inputs.
        """
        if not (self.inputs or self.hidden):
            return [KEEP_ALL] * len(sizes)
        source = stream(seed, DROPOUT, iteration)
        masks = []
        for layer, size in enumerate(sizes):
            left_out = min(round((self.hidden if layer else self.inputs) * 65536), 65535)
            if left_out:
                integers = uniform_integers(source, batch_size * size).reshape(batch_size, size)
                masks.append(Mask(integers >= left_out, 65536 / (65536 - left_out)))
            else:
                # So that each layer always has the same integers
                source.advance(-(-batch_size * size // 4))
                masks.append(KEEP_ALL)
        return masks


NO_DROPOUT = Dropout()


def smooth(labels: np.ndarray, share: float, dtype: type) -> np.ndarray:
    """Return labels, (n, K), that give a share s, 0 to below 1, to all classes: t (1 − s) + s / K.

    By Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, "Rethinking the inception architecture for
    computer vision" (2016). `labels` are one-hot, uint8. Without a share they stay as they are.
    """
    if not share:
        return labels
    return labels * dtype(1.0 - share) + dtype(share / labels.shape[1])


def limit_norms(A: Arithmetic, W: np.ndarray, bound: float) -> None:
    """Scale down each column of `W`, (in, out), to the norm `bound`, if that is above 0.

    A column has the incoming weights of one neuron. It is changed by itself, so `W` may be some
    columns of a matrix. Errors are those of `A.norms`.
    """
    if not bound:
        return
    norms = A.norms(W)
    (above,) = np.nonzero(norms > bound)
    if len(above):
        # A product that underflows can be −0. Adding 0.0 makes it +0.
        W[:, above] = W[:, above] * (bound / norms[above]).astype(W.dtype, copy=False) + 0.0
