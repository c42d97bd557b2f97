"""The layers of the network, each forward and backward side by side.

Backward, `dy` stands for ∂loss/∂y, and so on. The first parameter of most functions is the arithmetic to compute in
(see mlp.arithmetic). Operands of its `matmul` are on grids: in float32 that means nothing, in exact arithmetic it makes
the product the same bits everywhere.
"""

from functools import cache

import numpy as np

from mlp.arithmetic import Exact, Float32

Arithmetic = Exact | Float32


def affine_forward(arithmetic: Arithmetic, X, W, b):
    """Return y = X W + b, shape (batch, out).

    Args:
        arithmetic: to compute in.
        X: (batch, in), on a grid.
        W: (in, out), on a grid.
        b: (out,).
    """
    return arithmetic.matmul(X, W) + b


def affine_backward(arithmetic: Arithmetic, dy, X, W):
    """Return dX = dy Wᵀ, dW = Xᵀ dy and db, the sum of dy over the batch, by the chain rule.

    ∂y_ij/∂X_ik = W_kj, ∂y_ij/∂W_kj = X_ik and ∂y_ij/∂b_j = 1; each gradient sums over what it is not indexed by.

    Args:
        arithmetic: to compute in.
        dy: (batch, out), on a grid.
        X: (batch, in), on a grid.
        W: (in, out), on a grid.
    """
    dX = arithmetic.matmul(dy, W.T)
    dW = arithmetic.matmul(X.T, dy)
    return dX, dW, bias_gradient(arithmetic, dy)


def bias_gradient(arithmetic: Arithmetic, dy):
    """Return db, (out,): the sum of `dy`, (batch, out) on a grid, over the batch, as a product with a row of ones."""
    return arithmetic.matmul(row_of_ones(len(dy), dy.dtype), dy)[0]


@cache
def row_of_ones(n: int, dtype: np.dtype):
    """Return (1, n) ones, the same array every time."""
    return np.ones((1, n), dtype)


def sigmoid(arithmetic: Arithmetic, x):
    """Return 1 / (1 + e⁻ˣ), elementwise. e⁻ˣ does not overflow: the arithmetic's `exp` stops growing before."""
    y = arithmetic.exp(-x)
    y += 1.0
    return np.divide(1.0, y, out=y)


def sigmoid_gradient(y):
    """Return dy/dx of y = sigmoid(x), from y: y (1 − y)."""
    return y * (1.0 - y)


def tanh(arithmetic: Arithmetic, x):
    """Return the hyperbolic tangent of x, elementwise, as 2 sigmoid(2 x) − 1."""
    return 2.0 * sigmoid(arithmetic, 2.0 * x) - 1.0


def tanh_gradient(y):
    """Return dy/dx of y = tanh(x), from y: 1 − y²."""
    return 1.0 - y * y


def relu(arithmetic: Arithmetic, x):
    """Return x where it is positive, else 0."""
    return np.maximum(x, 0.0)


def relu_gradient(y):
    """Return dy/dx of y = relu(x), from y: 1 where y is positive, else 0."""
    return y > 0.0


# f, its gradient, and the exponent of a power of two that no f(x) is beyond, where there is one
ACTIVATIONS = {
    "sigmoid": (sigmoid, sigmoid_gradient, 0),
    "tanh": (tanh, tanh_gradient, 0),
    "relu": (relu, relu_gradient, None),
}


def softmax_parts(arithmetic: Arithmetic, logits):
    """Return y = e^logit / Σ e^logit over the classes, and of ln y = shifted − ln total the two parts.

    Neither changes when a constant is taken from a row of logits. Less their largest, no exponential is above 1 and one
    is exactly 1, so nothing overflows, and ln y is finite without any epsilon.

    Args:
        arithmetic: to compute in.
        logits: (batch, classes).

    Returns:
        y and shifted, (batch, classes), and total, (batch, 1).
    """
    logits = np.asfortranarray(logits)  # in memory class after class: NumPy is slow at many short rows
    shifted = logits - np.maximum.reduce(logits, 1, keepdims=True)
    y = arithmetic.exp(shifted)
    total = arithmetic.sum(y, axis=1, exponent=0)
    y /= total
    return y, shifted, total


def softmax(arithmetic: Arithmetic, logits):
    """Return y = e^logit / Σ e^logit over the classes, and ln y; (batch, classes) each, as `logits` is."""
    y, shifted, total = softmax_parts(arithmetic, logits)
    return y, shifted - arithmetic.log(total)


def of_true_class(values, labels):
    """Return of each row of `values`, (batch, classes), the one where its one-hot label has the 1; shape (batch,)."""
    return values[labels.astype(np.bool_)]


def cross_entropy(arithmetic: Arithmetic, log_y, labels) -> float:
    """Return the mean over the batch of −Σ t ln y, with t the one-hot label: of −ln y of the true class.

    Args:
        arithmetic: to compute in.
        log_y: (batch, classes), the logarithm of the softmax.
        labels: (batch, classes), one-hot.
    """
    return mean(arithmetic, -of_true_class(log_y, labels))


def mean(arithmetic: Arithmetic, x) -> float:
    """Return the mean of x, (n,)."""
    return float(arithmetic.sum(x)) / len(x)
