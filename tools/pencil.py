"""One training step in numbers that a person can check with a pocket calculator: `python -m tools.pencil`.

It prints Markdown: a section of docs/mathematics.md.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import typer

from mlp.arithmetic import ARITHMETICS
from mlp.layers import ACTIVATIONS, cross_entropy, softmax
from mlp.network import Network, Preparation, Split, forward, gradients, step
from mlp.optimizers import Optimizer, Schedule
from pipeline.program.command import command

LEARNING_RATE = 0.5


class Row(NamedTuple):
    """A quantity of the step: its name, its formula, its numbers, and how the last of these is computed."""

    name: str
    formula: str
    numbers: np.ndarray
    last: str


def tiny_network() -> tuple[Network, Split]:
    """Return a network with two inputs, two hidden neurons and two classes, and two images of two pixels."""
    network = Network(
        weights=[np.array([[1.0, -1.0], [0.5, 2.0]]), np.array([[2.0, -1.0], [-1.0, 0.5]])],
        biases=[np.array([0.0, 0.5]), np.array([0.5, 0.0])],
        activation=ACTIVATIONS["sigmoid"],
        arithmetic=ARITHMETICS["exact"],
        preparation=Preparation(0.0, 1 / 255, (1, 2), ("0", "1")),
    )
    return network, Split(np.array([[255, 0], [51, 255]], np.uint8), np.array([[1, 0], [0, 1]], np.uint8))


def worked_step(network: Network, batch: Split, learning_rate: float) -> list[Row]:
    """Take one step with a network of two layers; return what it computes, in order. The weights change in place."""
    A, f, n = network.arithmetic, network.activation, len(batch.labels)
    (W1, W2), (b1, b2) = map(np.copy, network.weights), map(np.copy, network.biases)
    X, t = batch.images * network.preparation.scale, batch.labels

    a, _ = forward(replace(network, weights=[W1], biases=[b1]), batch.images)
    z, (_, h) = forward(network, batch.images)
    y, _, _ = softmax(A, z)
    (dW1, dW2), (db1, db2), terms = gradients(network, batch.images, t)
    losses = np.array([cross_entropy(A, terms[:, [image]]) for image in range(n)])
    dz = (y - t) / n
    dh = A.dot(dz, W2.T)
    da = dh * f.gradient(h)
    optimizer = Optimizer(Schedule(learning_rate))
    step(network, batch.images, t, optimizer, optimizer.new_memory(network.weights + network.biases), 0)

    exponentials = [f"e^{term(logit)}" for logit in z[-1]]
    changes = {
        "W₁": (W1, dW1, network.weights[0]),
        "b₁": (b1, db1, network.biases[0]),
        "W₂": (W2, dW2, network.weights[1]),
        "b₂": (b2, db2, network.biases[1]),
    }
    descents = [
        Row(f"new {name}", f"{name} − η d{name}", new, f"{term(w.flat[-1])} - {learning_rate} · {term(dw.flat[-1])}")
        for name, (w, dw, new) in changes.items()
    ]
    return [
        Row("a", "X W₁ + b₁", a, f"{products(X[-1], W1[:, -1])} + {term(b1[-1])}"),
        Row("h", "sigmoid(a)", h, f"1 / (1 + e^{term(-a[-1, -1])})"),
        Row("z", "h W₂ + b₂", z, f"{products(h[-1], W2[:, -1])} + {term(b2[-1])}"),
        Row("y", "softmax(z)", y, f"{exponentials[-1]} / ({' + '.join(exponentials)})"),
        Row("loss of each image", "−ln y of its true class", losses, f"-ln({number(y[-1, t[-1].argmax()])})"),
        Row("L", "their mean", np.array(cross_entropy(A, terms)), f"({' + '.join(map(number, losses))}) / {n}"),
        Row("dz", f"(y − t) / {n}", dz, f"({number(y[-1, -1])} - {t[-1, -1]}) / {n}"),
        Row("dW₂", "hᵀ dz", dW2, products(h[:, -1], dz[:, -1])),
        Row("db₂", "Σ dz", db2, " + ".join(map(term, dz[:, -1]))),
        Row("dh", "dz W₂ᵀ", dh, products(dz[-1], W2[-1])),
        Row("da", "dh ∘ h (1 − h)", da, f"{term(dh[-1, -1])} · {number(h[-1, -1])} · (1 - {number(h[-1, -1])})"),
        Row("dW₁", "Xᵀ da", dW1, products(X[:, -1], da[:, -1])),
        Row("db₁", "Σ da", db1, " + ".join(map(term, da[:, -1]))),
        *descents,
    ]


def number(x: float) -> str:
    """Return a number with four digits after the point at most."""
    return f"{round(x, 4) + 0.0:g}"  # + 0.0 makes 0 of −0


def term(x: float) -> str:
    """Return a number as a part of a formula, in brackets if it is negative."""
    return f"({number(x)})" if x < 0 else number(x)


def products(left: np.ndarray, right: np.ndarray) -> str:
    """Return a sum of products as a formula; left and right are (n,)."""
    return " + ".join(f"{term(a)} · {term(b)}" for a, b in zip(left, right, strict=True))


def shown(numbers: np.ndarray) -> str:
    """Return an array, of any shape, as NumPy would take it."""
    return f"[{', '.join(map(shown, numbers))}]" if numbers.ndim else number(float(numbers))


def markdown() -> str:
    """Return the worked step as Markdown."""
    network, batch = tiny_network()
    inputs = {
        "X": batch.images * network.preparation.scale,
        "t": batch.labels,
        "W₁": network.weights[0],
        "b₁": network.biases[0],
        "W₂": network.weights[1],
        "b₂": network.biases[1],
    }
    given = "\n".join(f"    {name} = {shown(numbers)}" for name, numbers in inputs.items())
    rows = worked_step(network, batch, LEARNING_RATE)
    lines = [f"| {row.name} | {row.formula} | `{shown(row.numbers)}` | `{row.last}` |" for row in rows]
    _, _, terms = gradients(network, *batch)
    after = cross_entropy(network.arithmetic, terms)
    return "\n".join(
        [
            f"Two images of two pixels, one of each class. The learning rate η is {LEARNING_RATE}.\n",
            f"{given}\n",
            "| name | formula | numbers | how to compute the last one |",
            "|---|---|---|---|",
            *lines,
            f"\nThe loss of the same two images is now {number(after)}.",
        ]
    )


@command
def pencil() -> None:
    """Print one training step of a tiny network, in Markdown: forward, loss, every gradient, the new weights."""
    typer.echo(markdown())


if __name__ == "__main__":
    pencil()
