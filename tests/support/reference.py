"""The network again, as a textbook has it: float64, one line a formula, no grids, no buffers, nothing clever.

The trained code is held to agree with it, step by step.
"""

import numpy as np

ACTIVATIONS = {
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "relu": (lambda z: np.where(z > 0, z, 0.0), lambda z: np.where(z > 0, 1.0, 0.0)),
}


def forward(weights, biases, activation, X):
    """Return the input of every layer, (batch, in), and its output before the activation, (batch, out)."""
    f, _ = ACTIVATIONS[activation]
    inputs, zs = [X], []
    for W, b in zip(weights, biases, strict=True):
        zs.append(inputs[-1] @ W + b)
        inputs.append(f(zs[-1]))
    return inputs[:-1], zs


def softmax(z):
    """Return the probability of each class, (batch, classes)."""
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)


def step(weights, biases, activation, X, t, learning_rate):
    """Return weights and biases after one step of gradient descent, and the loss before it."""
    _, df = ACTIVATIONS[activation]
    inputs, zs = forward(weights, biases, activation, X)
    y = softmax(zs[-1])
    loss = -np.mean(np.sum(t * np.log(y), axis=1))
    dz = (y - t) / len(X)
    new_weights, new_biases = [], []
    for layer in reversed(range(len(weights))):
        new_weights.insert(0, weights[layer] - learning_rate * inputs[layer].T @ dz)
        new_biases.insert(0, biases[layer] - learning_rate * dz.sum(axis=0))
        if layer > 0:
            dz = (dz @ weights[layer].T) * df(zs[layer - 1])
    return new_weights, new_biases, loss
