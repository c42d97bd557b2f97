"""The whole network in plain NumPy: a multi-layer perceptron, its gradients by the chain rule,
gradient descent.

    dvc repro preprocess
    python textbook.py

It learns to read 97 % of the digits, in about a minute. docs/mathematics.md derives its formulas.
textbook_exact.py is this program again, with the same bits on every machine. A matrix has one row
for each image of a mini-batch. dx means ∂L/∂x, and L is the mean loss of the mini-batch.
"""

import numpy as np


def load(path):
    """Return the inputs, (n, pixels), and the one-hot labels, (n, classes), of a prepared file."""
    with np.load(path) as file:
        return (file["images"] - file["shift"]) * file["scale"], file["labels"]


def initial_parameters(sizes, std, random):
    """Return a matrix of small, random weights and a bias vector of zeros for each layer."""
    weights = [random.normal(0, std, shape) for shape in zip(sizes, sizes[1:])]
    return weights, [np.zeros(outputs) for outputs in sizes[1:]]


def affine(h, W, b):
    return h @ W + b


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def softmax(z):
    # The shift changes no result, and keeps exp finite
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def forward(weights, biases, X):
    """Return each layer's input, X first, and the probability of each class, (batch, classes)."""
    inputs = [X]
    a = affine(X, weights[0], biases[0])
    for W, b in zip(weights[1:], biases[1:]):
        inputs.append(sigmoid(a))
        a = affine(inputs[-1], W, b)
    return inputs, softmax(a)


def cross_entropy(y, t):
    """Return the mean loss: the mean of −ln of the probability of each image's own class."""
    return -np.mean(np.log(y[t == 1]))


def output_gradient(y, t):
    """Return ∂L/∂z, (batch, classes): softmax and cross-entropy together."""
    return (y - t) / len(t)


def gradients(weights, biases, X, t):
    """Return ∂L/∂W and ∂L/∂b of each layer, computed from the last layer back to the first."""
    inputs, y = forward(weights, biases, X)
    da = output_gradient(y, t)
    dWs, dbs = [], []
    for layer in reversed(range(len(weights))):
        h = inputs[layer]
        dWs.insert(0, h.T @ da)
        dbs.insert(0, da.sum(axis=0))
        if layer > 0:
            # h (1 - h) is the derivative of h = sigmoid(a)
            da = da @ weights[layer].T * (h * (1 - h))
    return dWs, dbs


def train_epoch(weights, biases, X, t, learning_rate, batch_size, order):
    """Take a step on each mini-batch of the images, in this order. Leave out a smaller rest.

    A step moves each parameter a little against its gradient.
    """
    for start in range(0, len(order) - batch_size + 1, batch_size):
        rows = order[start : start + batch_size]
        dWs, dbs = gradients(weights, biases, X[rows], t[rows])
        for parameter, gradient in zip(weights + biases, dWs + dbs):
            parameter -= learning_rate * gradient


def accuracy(weights, biases, X, t):
    """Return the share of the images whose most probable class is their own."""
    y = forward(weights, biases, X)[1]
    return np.mean(y.argmax(axis=1) == t.argmax(axis=1))


def numerical_gradient(loss, parameter, h=1e-5):
    """Return ∂loss()/∂parameter without the chain rule, by central differences.

    It is too slow to train with, but it shows that `gradients` is right.
    """
    slopes = np.zeros_like(parameter)
    for place in np.ndindex(parameter.shape):
        before = parameter[place]
        parameter[place] = before + h
        above = loss()
        parameter[place] = before - h
        below = loss()
        parameter[place] = before
        slopes[place] = (above - below) / (2 * h)
    return slopes


def main(hidden=50, std=0.01, learning_rate=0.1, batch_size=100, epochs=91):
    random = np.random.default_rng(0)
    X, t = load("data/prepared/train.npz")
    X_validation, t_validation = load("data/prepared/validation.npz")
    weights, biases = initial_parameters([X.shape[1], hidden, t.shape[1]], std, random)
    for epoch in range(1, epochs + 1):
        order = random.permutation(len(X))
        train_epoch(weights, biases, X, t, learning_rate, batch_size, order)
        right = accuracy(weights, biases, X_validation, t_validation)
        print(f"epoch {epoch:2}: {100 * right:.2f} % of the validation images")


if __name__ == "__main__":
    main()
