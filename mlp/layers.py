"""The parts between the affine layers: activations with their derivatives, softmax, and the loss.

`A` is the arithmetic to compute in. Activations are elementwise, on arrays of any shape.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import numpy as np

from mlp.arithmetic import ARITHMETICS, Arithmetic

# Arguments at which `Activation` looks at its bound: 0, and powers of two of both signs
POWERS = np.ldexp(1.0, np.arange(-60, 400, 4))
ARGUMENTS = np.concatenate([-POWERS, [0.0], POWERS])


@dataclass(frozen=True)
class Activation:
    """An elementwise function. A ValueError says that 2^exponent is not a bound of |y|."""

    name: str  # in params.yaml and in model files
    function: Callable[[Arithmetic, np.ndarray], np.ndarray]  # y = f(x), from the arithmetic and x
    gradient: Callable[[np.ndarray], np.ndarray]  # ∂y/∂x, from y
    exponent: int | None  # 2^exponent bounds |y|; None if nothing does

    def __post_init__(self) -> None:
        y = self.function(ARITHMETICS["exact"], ARGUMENTS)
        if self.exponent is not None and np.abs(y).max() > math.ldexp(1.0, self.exponent):
            raise ValueError(f"{self.name} exceeds its bound, 2 to the power of {self.exponent}")


def sigmoid(A: Arithmetic, x: np.ndarray) -> np.ndarray:
    """Return y = 1 / (1 + e⁻ˣ). e⁻ˣ cannot overflow: the arithmetic's `exp` limits its argument."""
    y = A.exp(-x)
    y += 1.0
    return np.divide(1.0, y, out=y)


def sigmoid_gradient(y: np.ndarray) -> np.ndarray:
    """Return ∂y/∂x of y = sigmoid(x), from y: y (1 − y)."""
    return y * (1.0 - y)


def tanh(A: Arithmetic, x: np.ndarray) -> np.ndarray:
    """Return the hyperbolic tangent of x, as 2 sigmoid(2 x) − 1."""
    return 2.0 * sigmoid(A, 2.0 * x) - 1.0


def tanh_gradient(y: np.ndarray) -> np.ndarray:
    """Return ∂y/∂x of y = tanh(x), from y: 1 − y²."""
    return 1.0 - y * y


def relu(A: Arithmetic, x: np.ndarray) -> np.ndarray:
    """Return x where it is positive, else 0."""
    return np.maximum(x, 0.0)


def relu_gradient(y: np.ndarray) -> np.ndarray:
    """Return ∂y/∂x of y = relu(x), from y: 1 where y is positive, else 0."""
    return y > 0.0


SIGMOID = Activation("sigmoid", sigmoid, sigmoid_gradient, 0)
TANH = Activation("tanh", tanh, tanh_gradient, 0)
RELU = Activation("relu", relu, relu_gradient, None)
ACTIVATIONS = {activation.name: activation for activation in (SIGMOID, TANH, RELU)}


def activation_of(name: str) -> Activation:
    """Return the activation of a name. A ValueError says that there is none."""
    if name not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ValueError(f"there is no activation {name!r}; expected one of {known}")
    return ACTIVATIONS[name]


def softmax(A: Arithmetic, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return y = e^z / Σ e^z over the classes, shifted and total: ln y = shifted − ln total.

    `z`, the logits, y and shifted are (batch, classes); total is (batch, 1).

    Softmax does not change when the same number is subtracted from all logits of a row. We subtract
    the largest one, so no exponential can overflow and one of them is exactly 1. So ln y is finite
    without any epsilon. A FloatingPointError says that a row's largest logit is not finite.
    """
    z = np.asfortranarray(z)  # column by column in memory: NumPy is slow at many short rows
    shifted = z - np.maximum.reduce(z, 1, keepdims=True)
    y = A.exp(shifted)
    total = A.sum(y, axis=1, exponent=0)
    if not math.isfinite(np.maximum.reduce(total, None, initial=0.0)):
        raise FloatingPointError("a logit is not finite")
    y /= total
    return y, shifted, total


def loss_terms(shifted: np.ndarray, total: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return the two terms of each image's loss, ln total − shifted of its true class: (2, n).

    `t` has one-hot labels, (n, classes) uint8; or smoothed labels, the weights of a mean over the
    classes, of the type of `shifted`. Logarithms are taken at the end of an epoch.
    """
    # A sum in the order of the classes always has the same bits
    own = shifted[t.view(np.bool_)] if t.dtype == np.uint8 else reduce(np.add, (t * shifted).T)
    # np.stack is slower
    return np.concatenate([own, total[:, 0]]).reshape(2, -1)


def cross_entropy(A: Arithmetic, terms: np.ndarray) -> float:
    """Return the mean of −ln y of the true class. A FloatingPointError: it is not finite."""
    shifted, total = terms
    loss = float(A.sum(A.log(total) - shifted)) / len(total)
    if not math.isfinite(loss):
        raise FloatingPointError("the loss is not finite")
    return loss
