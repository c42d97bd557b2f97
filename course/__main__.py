"""`make course`: check the exercises one after another, and stop at the first that is not right."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from matplotlib.image import imsave

import textbook
import textbook_exact
from course.checks import EXERCISES, check
from mlp.random import ORDER, WEIGHTS, permutation, stream
from pipeline.program.command import command
from pipeline.program.errors import UserError


@command
def course(file: Path = Path("course/exercises.py")) -> None:
    """Check the exercises in a file, and train the networks that they make."""
    try:
        yours = SimpleNamespace(**runpy.run_path(str(file)))
    except Exception as error:
        raise UserError(f"{file}: {type(error).__name__}: {error}") from None
    for number, exercise in enumerate(EXERCISES, 1):
        verdict = check(exercise, getattr(yours, exercise.name, lambda *_: None))
        print(f"{number:2}. {exercise.name}: {verdict}", flush=True)
        if exercise.name == "train_epoch":
            train(yours)
    train_exactly(yours)


def train(yours: SimpleNamespace) -> None:
    """Train 784-50-10 for five epochs; draw the weights of its neurons, and digits it misreads."""
    random, (X, t) = np.random.default_rng(0), textbook.load("data/prepared/train.npz")
    weights, biases = yours.initial_parameters([784, 50, 10], 0.01, random)
    for _ in range(5):
        yours.train_epoch(weights, biases, X, t, 0.1, 100, random.permutation(len(X)))
    X, t = textbook.load("data/prepared/validation.npz")
    right = yours.forward(weights, biases, X)[1].argmax(axis=1) == t.argmax(axis=1)
    neurons = (weights[0].T / np.abs(weights[0]).max() + 1) / 2
    tiles = np.concatenate([neurons, X[~right][:50]]).reshape(10, 10, 28, 28)
    imsave("course/network.png", tiles.transpose(0, 2, 1, 3).reshape(280, 280), cmap="gray")
    print(f"    After five epochs it reads {100 * right.mean():.1f} % of the validation images.")
    print("    course/network.png shows the neurons' weights above, and misread digits below.")


def train_exactly(yours: SimpleNamespace) -> None:
    """Train for one epoch with exact gradients, and print the state."""
    X, t = textbook_exact.load("data/prepared/train.npz")
    weights, biases = textbook_exact.initial_parameters([784, 50, 10], 0.01, stream(0, WEIGHTS))
    for rows in permutation(stream(0, ORDER, 0), len(X)).reshape(-1, 100):
        dWs, dbs = yours.exact_gradients(weights, biases, X[rows], t[rows])
        for parameter, gradient in zip(weights + biases, dWs + dbs, strict=True):
            parameter -= 0.1 * gradient
    state = textbook_exact.state(550, weights + biases)
    if state != "d90842d1f9dc2103":
        raise UserError(f"epoch 1: {state}; everybody has d90842d1f9dc2103.")
    print(f"epoch 1: {state}, the same bits as everybody's. Now read textbook.py.")


if __name__ == "__main__":
    course()
