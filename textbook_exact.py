"""textbook.py again, with the same bits on every machine: those of models/mlp.npz.

It prints the states in metrics/history.csv. `grid` rounds the factors of a product, so that no sum
is rounded (docs/exact-arithmetic.md); `exp` is written out. It is for the default network alone.
"""

import hashlib

import numpy as np

from mlp.random import ORDER, WEIGHTS, normal_like, permutation, stream

SCALE = 1 / 255  # of the bytes. It comes after a product, whose factors are then whole numbers
BYTES, SIGMOIDS = 8, 0  # no byte exceeds 2⁸, no sigmoid 2⁰


def operand_bits(terms):
    """Return how many bits each factor may have: a sum of the products has 53 bits at most."""
    return min(21, (53 - (terms - 1).bit_length()) // 2)


def grid(x, bits, exponent=None):
    """Round x to multiples of 2^(exponent - bits). No element exceeds 2^exponent."""
    exponent = np.frexp(np.abs(x).max())[1] if exponent is None else exponent
    rounder = np.ldexp(1.5 * 2**52, exponent - bits)  # its last bit is worth one multiple
    return (x + rounder) - rounder


def dot(a, b, exponent):
    """Return a @ b of operands on grids. No element of a exceeds 2^exponent."""
    return grid(a, operand_bits(len(b)), exponent) @ grid(b, operand_bits(len(b)))


def exp(x):
    """Return eˣ = 2ᵏ eʳ. k is a whole number, and eʳ is a quotient of two polynomials."""
    x = np.clip(x, -708, 709)
    k = np.rint(x * 1.4426950408889634)  # x / ln 2
    r = x - k * float.fromhex("0x1.62e42fefa0000p-1") - k * float.fromhex("0x1.cf79abc9e3b3ap-40")
    s = r * r
    even = ((s + 840) * s + 75600) * s + 665280
    odd = ((s + 240) * s + 7920) * (r * 42)
    return np.ldexp(2 * odd / (even - odd) + 1, k.astype(int))


def load(path):
    with np.load(path) as file:
        return file["images"] - file["shift"], file["labels"]


def initial_parameters(sizes, std, random):
    weights = [std * normal_like(random, shape) for shape in zip(sizes, sizes[1:])]
    return weights, [np.zeros(outputs) for outputs in sizes[1:]]


def affine(h, W, b, scale, exponent):
    return scale * dot(h, W, exponent) + b


def sigmoid(a):
    return 1 / (1 + exp(-a))


def softmax(z):
    e = exp(z - z.max(axis=1, keepdims=True))
    return e / grid(e, 49, 0).sum(axis=1, keepdims=True)  # up to 16 terms of 49 bits: 53 bits


def forward(weights, biases, X):
    inputs = [X]
    a = affine(X, weights[0], biases[0], SCALE, BYTES)
    for W, b in zip(weights[1:], biases[1:]):
        inputs.append(sigmoid(a))
        a = affine(inputs[-1], W, b, 1, SIGMOIDS)
    return inputs, softmax(a)


def cross_entropy(y, t):
    return -np.mean(np.log(y[t == 1]))  # a step does not need it, so its last bits may differ


def output_gradient(y, t):
    return (y - t) / len(t)


def gradients(weights, biases, X, t):
    inputs, y = forward(weights, biases, X)
    da = output_gradient(y, t)  # no element exceeds 1 / len(t)
    dWs, dbs = [], []
    for layer in reversed(range(len(weights))):
        h = inputs[layer]
        dWs.insert(0, dot(h.T, da, SIGMOIDS) if layer > 0 else SCALE * dot(h.T, da, BYTES))
        dbs.insert(0, grid(da, operand_bits(len(da))).sum(axis=0))
        if layer > 0:
            da = dot(da, weights[layer].T, np.frexp(1 / len(t))[1]) * (h * (1 - h))
    return dWs, dbs


def train_epoch(weights, biases, X, t, learning_rate, batch_size, order):
    for start in range(0, len(order) - batch_size + 1, batch_size):
        rows = order[start : start + batch_size]
        dWs, dbs = gradients(weights, biases, X[rows], t[rows])
        for parameter, gradient in zip(weights + biases, dWs + dbs):
            parameter -= learning_rate * gradient


def accuracy(weights, biases, X, t):
    y = forward(weights, biases, X)[1]
    return np.mean(y.argmax(axis=1) == t.argmax(axis=1))


def state(steps, parameters):
    arrays = [(parameter + 0.0).astype("<f8").tobytes() for parameter in parameters]  # -0 as 0
    return hashlib.sha256(steps.to_bytes(8, "little") + b"".join(arrays)).hexdigest()[:16]


def main(hidden=50, std=0.01, learning_rate=0.1, batch_size=100, epochs=91, steps=50000):
    X, t = load("data/prepared/train.npz")
    X_validation, t_validation = load("data/prepared/validation.npz")
    weights, biases = initial_parameters([X.shape[1], hidden, t.shape[1]], std, stream(0, WEIGHTS))
    for epoch in range(epochs):
        before = epoch * (len(X) // batch_size)
        order = permutation(stream(0, ORDER, epoch), len(X))[: (steps - before) * batch_size]
        train_epoch(weights, biases, X, t, learning_rate, batch_size, order)
        right = accuracy(weights, biases, X_validation, t_validation)
        after = state(before + len(order) // batch_size, weights + biases)
        print(f"epoch {epoch + 1:2}: {after}, {100 * right:.2f} % of the validation images")


if __name__ == "__main__":
    main()
