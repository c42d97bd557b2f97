"""Train a few short runs on the tests' sample of real digits, and print a hash of all the numbers they gave.

    python -m verification.short_run exact [processes]

It needs NumPy and nothing else, so that it runs wherever NumPy does.
"""

import gzip
import hashlib
import sys
from pathlib import Path

import numpy as np

from mlp.network import init_network, predict
from mlp.one_hot import one_hot
from mlp.team import available_processes
from mlp.training import Split, train

SAMPLE = Path(__file__).parent.parent / "tests" / "sample"
BATCH_SIZE = 50
# activation, hidden layers, shift, scale, learning rate, steps: together they use every function of the network
RUNS = [
    ("sigmoid", [50], 0.0, 1 / 255, 0.5, 60),
    ("tanh", [40, 30], 33.3125, 1 / 78.5, 0.1, 30),
    ("relu", [2100], 0.0, 1 / 255, 0.01, 6),  # an inner dimension of more than one block
]


def sample() -> Split:
    """Return the training images of the sample, (600, 784), and their one-hot labels, (600, 10)."""
    images, labels = (
        np.frombuffer(gzip.decompress((SAMPLE / f"train-{name}-ubyte.gz").read_bytes()), np.uint8)
        for name in ("images-idx3", "labels-idx1")
    )
    return Split(images[16:].reshape(-1, 784), one_hot(labels[8:], 10))


def short_run(arithmetic: str, processes: int) -> str:
    """Return the SHA-256 of the weights, biases, epoch records and probabilities of all `RUNS`, in hexadecimal."""
    digest = hashlib.sha256()
    data = sample()
    training, validation = Split(data.images[:400], data.labels[:400]), Split(data.images[400:], data.labels[400:])
    for activation, hidden, shift, scale, learning_rate, steps in RUNS:
        source = np.random.PCG64(2026)
        network = init_network([784, *hidden, 10], activation, 0.05, shift, scale, arithmetic, source)
        for epoch in train(network, training, validation, steps, BATCH_SIZE, learning_rate, source, processes):
            digest.update(repr(tuple(epoch)).encode())
        for array in (*network.weights, *network.biases, *predict(network, validation.images)):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    arithmetic, *processes = sys.argv[1:]
    print(short_run(arithmetic, int(processes[0]) if processes else available_processes()))
