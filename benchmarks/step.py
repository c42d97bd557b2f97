"""Where the time of a training step goes: each part alone, in microseconds, with 1 and with 2 threads.

python -m benchmarks.step
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import numpy as np

from benchmarks.machine import table
from mlp.arithmetic import ARITHMETICS
from mlp.layers import affine_backward, affine_forward, sigmoid, sigmoid_gradient, softmax_parts
from mlp.network import backward, forward, grid_weights, init_network, widen
from mlp.training import Workspace, train_step, update
from pipeline.artifacts import load_prepared

BATCH = 100
HIDDEN = 50


def microseconds(part: Callable[[], object], calls: int = 100, rounds: int = 9) -> float:
    """Return the time of a call, the least of the rounds' means: what others do on the machine only adds."""
    means = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        for _ in range(calls):
            part()
        means.append((time.perf_counter() - start) / calls * 1e6)
    return min(means[1:])


def parts(name: str) -> dict[str, float]:
    """Return the time of each part of a step, and of the whole, by what it is called in the table."""
    arithmetic = ARITHMETICS[name]
    prepared = load_prepared(Path("data/prepared/train.npz"))
    images, labels = prepared.split
    sizes = [images.shape[1], HIDDEN, labels.shape[1]]
    network = init_network(sizes, "sigmoid", 0.01, prepared.shift, prepared.scale, name, np.random.PCG64(0))
    workspace = Workspace(network, BATCH)
    rng = np.random.Generator(np.random.PCG64(1))
    batches = cycle(rng.integers(0, len(images), (500, BATCH)))  # other images each time, as in training

    def gather() -> np.ndarray:
        return np.take(images, next(batches), axis=0, out=workspace.images, mode="clip")

    t = labels[:BATCH]
    X = widen(network, gather(), workspace.X)
    weights = grid_weights(network, workspace.weights)
    logits, caches = forward(network, X, weights)
    a, _ = affine_forward(arithmetic, X, weights[0], network.biases[0], network.scale)
    h = arithmetic.grid(sigmoid(arithmetic, a))
    dz = (softmax_parts(arithmetic, logits)[0] - t) * 1e-6
    dh, _, _ = affine_backward(arithmetic, dz, caches[1])
    da = dh * sigmoid_gradient(h)
    steps = backward(network, dz, caches, workspace.gradients)
    y1, y2, dW1, dW2 = (np.empty_like(array) for array in (a, logits, network.weights[0], network.weights[1]))

    def products() -> None:
        np.matmul(X, weights[0], out=y1)
        np.matmul(h, weights[1], out=y2)
        np.matmul(h.T, dz, out=dW2)
        np.matmul(dz, weights[1].T, out=dh)
        np.matmul(X.T, da, out=dW1)

    return {
        "the five bare products": microseconds(products),
        "gather 100 images": microseconds(gather),
        "widen their bytes": microseconds(lambda: widen(network, workspace.images, workspace.X)),
        "weights to grids": microseconds(lambda: grid_weights(network, workspace.weights)),
        "X W₁, scale and bias": microseconds(
            lambda: affine_forward(arithmetic, X, weights[0], network.biases[0], network.scale)
        ),
        "sigmoid": microseconds(lambda: sigmoid(arithmetic, a)),
        "h to a grid": microseconds(lambda: arithmetic.grid(h)),
        "h W₂ and bias": microseconds(lambda: affine_forward(arithmetic, h, weights[1], network.biases[1])),
        "softmax": microseconds(lambda: softmax_parts(arithmetic, logits)),
        "backward, second layer": microseconds(lambda: affine_backward(arithmetic, dz, caches[1])),
        "backward, sigmoid": microseconds(lambda: dh * sigmoid_gradient(h)),
        "backward, first layer": microseconds(
            lambda: affine_backward(arithmetic, da, caches[0], with_dX=False, out=workspace.gradients[0])
        ),
        "update": microseconds(lambda: update(network, *steps)),
        "**a whole step**": microseconds(lambda: train_step(network, gather(), t, 1e-9, workspace)),
    }


def main() -> None:
    """Measure each arithmetic with each number of threads in a process of its own, and print the table in Markdown."""
    if len(sys.argv) > 1:
        print(json.dumps(parts(sys.argv[1])))
        return
    columns = {}
    for name in ARITHMETICS:
        for threads in (1, 2):
            environment = os.environ | {"OPENBLAS_NUM_THREADS": str(threads)}
            command = [sys.executable, "-m", "benchmarks.step", name]
            done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
            columns[f"{name}, {threads} thread{'s' * (threads > 1)}"] = json.loads(done.stdout)
    rows = [[part, *(f"{column[part]:.0f}" for column in columns.values())] for part in next(iter(columns.values()))]
    print(table(["784-50-10, µs", *columns], rows))


if __name__ == "__main__":
    main()
