"""Write a network that reads digits, then the one that has the same bits on every machine.

Write the body of each function below its docstring. `make repro`, then `make course`: it checks one
after another, and stops at the first that is not right. docs/mathematics.md explains the formulas.
A matrix has one row for each of n images. da means ∂L/∂a, and L is the mean loss. No function but
the ninth changes its arguments: the tenth puts old values back. `git restore course` begins again.
"""

import numpy as np

from textbook_exact import SCALE, exp  # 1 / 255, and eˣ to the bit: for the last exercise


def one_hot(labels, classes):
    """1. Return a row of zeros with one 1, at the label, for each label: (n, classes).
    The labels are whole numbers, (n,). Of np.array([2, 0]) and 3 it is [[0, 0, 1], [1, 0, 0]]."""


def initial_parameters(sizes, std, random):
    """2. Return a list of weight matrices and a list of bias vectors, one for each layer.
    sizes = [784, 50, 10] is for two layers: weights (784, 50) and (50, 10), biases (50,) and (10,).
    Weights are random.normal numbers, mean 0, standard deviation std; biases are 0."""


def affine(h, W, b):
    """3. Return a = h W + b, (n, outputs), of (n, inputs), (inputs, outputs) and (outputs,)."""


def sigmoid(a):
    """4. Return 1 / (1 + e⁻ᵃ) of each element."""


def softmax(z):
    """5. Return e^zⱼ / Σₖ e^zₖ of each row, (n, classes). It is right for [1000, 1001], too."""


def forward(weights, biases, X):
    """Return each layer's input, X first, and the probabilities y. It is written already."""
    inputs = [X]
    a = affine(X, weights[0], biases[0])
    for W, b in zip(weights[1:], biases[1:], strict=True):
        inputs.append(sigmoid(a))
        a = affine(inputs[-1], W, b)
    return inputs, softmax(a)


def cross_entropy(y, t):
    """6. Return the loss L, one number: the mean over the images of −ln y of the true class.
    t has the one-hot labels, (n, classes). The probability y of another class can be 0."""


def output_gradient(y, t):
    """7. Return dz = ∂L/∂z, (n, classes): back through cross-entropy and softmax at once."""


def gradients(weights, biases, X, t):
    """8. Return the lists [dW₁, dW₂] and [db₁, db₂] for one hidden layer, by the chain rule.
    Begin with `inputs, y = forward(weights, biases, X)`: inputs are X and h."""


def train_epoch(weights, biases, X, t, learning_rate, batch_size, order):
    """9. Take a step on each mini-batch: subtract learning rate · gradient from each parameter.
    `parameter -= ...` changes it in place. `order` has the images' numbers: the first `batch_size`
    of them are the first mini-batch, and so on. Leave out a smaller rest. Return nothing."""


def numerical_gradient(loss, parameter, h=1e-5):
    """10. Return ∂loss/∂parameter by central differences, in the parameter's shape.
    loss() is the loss with the values that the array `parameter` has now. Change one element at a
    time, by +h and by −h; put its old value back. np.ndindex(parameter.shape) gives the places."""


def grid(x, bits, exponent=None):
    """11. Return x, rounded to multiples of 2^(exponent − bits); halves to even, as np.rint does.
    Without an exponent, take that of the power of two above the largest |x|: np.frexp(…)[1]."""


def operand_bits(terms):
    """12. Return the largest int b ≤ 21 with 2 b + ⌈log₂ terms⌉ ≤ 53.
    Then float64 holds any sum of so many products, whose factors have b bits each."""


def exact_gradients(weights, biases, X, t):
    """13. Return the lists of exercise 8, to the bit. X has bytes; an input is SCALE · byte.
    In each of the five products, l @ r becomes grid(l, bits, exponent) @ grid(r, bits), with bits =
    operand_bits(len(r)). The exponent is 8 for X and Xᵀ, 0 for h and hᵀ, np.frexp(1 / n)[1] for dz:
    no |dz| exceeds 1/n. Multiply by SCALE after X W₁ and after Xᵀ da. Use `exp`. Bias gradients
    sum grid(dz, operand_bits(n)) and grid(da, operand_bits(n)); softmax divides e by the sum of
    grid(e, 49, 0). Elsewhere dz, da and e are not rounded. da = dh · (h (1 − h)), so bracketed."""
