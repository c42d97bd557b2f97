"""The same work, done by each peer: mini-batch gradient descent on a network with one hidden layer.

Every peer starts from the same weights and passes over the same images in mini-batches of 100, each
batch formed from the training set on the way, each step's loss computed. How it forms a batch, and
which order it draws, is its own.

A peer is a function that takes the `Task` and returns `run`, which trains one epoch and returns the
loss of each step, or their mean alone where that is all the peer tells.

`python -m benchmarks.peers NAME HIDDEN DATA LIMIT` is a worker (`work`).
"""

import json
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.fitting.processes import available_processes

PROCESSES = available_processes()
BATCH = 100
LEARNING_RATE = 0.1
WEIGHT_INIT_STD = 0.01
ENDLESS = {"iterations": 10**9, "batch_size": BATCH, "seed": 0}


class Task(NamedTuple):
    """Images (n, features) and one-hot labels (n, classes), uint8; initial weights, float64."""

    images: np.ndarray
    labels: np.ndarray
    scale: float
    W1: np.ndarray
    W2: np.ndarray

    @property
    def batches(self) -> int:
        return len(self.images) // BATCH

    def scaled_images(self, dtype) -> np.ndarray:
        return self.images * dtype(self.scale)

    def classes(self) -> np.ndarray:
        return self.labels.argmax(axis=1)


Run = Callable[[], Sequence[float]]


def random_batches(task: Task) -> np.ndarray:
    """Return images' numbers in random order, a row for each batch: JAX's own way takes longer."""
    order = np.random.permutation(len(task.images))[: task.batches * BATCH]
    return order.reshape(-1, BATCH).astype(np.int32)


def scikit_learn(task: Task) -> Run:
    from sklearn.neural_network import MLPClassifier

    # It stops after one epoch, as it is told to
    warnings.filterwarnings("ignore", message="Stochastic Optimizer")
    images, labels = task.scaled_images(np.float32), task.classes()
    model = MLPClassifier(
        hidden_layer_sizes=(task.W1.shape[1],),
        activation="logistic",
        solver="sgd",
        alpha=0.0,
        batch_size=BATCH,
        learning_rate_init=LEARNING_RATE,
        momentum=0.0,
        nesterovs_momentum=False,
        max_iter=1,
        warm_start=True,
    )
    model.partial_fit(images[:BATCH], labels[:BATCH], classes=np.unique(labels))  # makes its arrays
    model.coefs_ = [W.astype(np.float32) for W in (task.W1, task.W2)]
    model.intercepts_ = [np.zeros(W.shape[1], np.float32) for W in (task.W1, task.W2)]

    def run():
        model.fit(images, labels)
        return model.loss_curve_[-1:]  # it keeps the mean of each epoch only

    return run


def pytorch_network(task: Task, activation):
    """Return the task's network in PyTorch, with this module between its two layers."""
    import torch
    from torch import nn

    (features, hidden), classes = task.W1.shape, task.W2.shape[1]
    network = nn.Sequential(nn.Linear(features, hidden), activation, nn.Linear(hidden, classes))
    with torch.no_grad():
        for layer, W in ((network[0], task.W1), (network[2], task.W2)):
            layer.weight.copy_(torch.from_numpy(W.T))
            layer.bias.zero_()
    return network


def pytorch(task: Task) -> Run:
    import torch
    from torch import nn

    images = torch.from_numpy(task.scaled_images(np.float32))
    labels = torch.from_numpy(task.classes())
    network = pytorch_network(task, nn.Sigmoid())
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE)

    def step(rows):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(images[rows]), labels[rows])
        loss.backward()
        optimizer.step()
        return loss.item()

    def run():
        order = torch.randperm(len(images))[: task.batches * BATCH]
        return [step(rows) for rows in order.view(-1, BATCH)]

    return run


def jax_scan(task: Task) -> Run:
    """One compiled function for an epoch: a scan over its mini-batches, each gathered inside."""
    import jax
    import jax.numpy as jnp

    images = jnp.asarray(task.scaled_images(np.float32))
    labels = jnp.asarray(task.labels, jnp.float32)
    W1, W2 = jnp.asarray(task.W1, jnp.float32), jnp.asarray(task.W2, jnp.float32)
    parameters = [W1, jnp.zeros(W1.shape[1]), W2, jnp.zeros(W2.shape[1])]

    def loss_of(parameters, X, t):
        W1, b1, W2, b2 = parameters
        h = jax.nn.sigmoid(X @ W1 + b1)
        log_y = jax.nn.log_softmax(h @ W2 + b2)
        return -(t * log_y).sum() / BATCH

    def epoch(parameters, order, images, labels):
        def step(parameters, rows):
            X, t = images[rows], labels[rows]
            loss, gradients = jax.value_and_grad(loss_of)(parameters, X, t)
            return [p - LEARNING_RATE * g for p, g in zip(parameters, gradients, strict=True)], loss

        return jax.lax.scan(step, parameters, order)

    epoch = jax.jit(epoch, donate_argnums=0)

    def run():
        nonlocal parameters
        parameters, losses = epoch(parameters, random_batches(task), images, labels)
        return np.asarray(losses)

    return run


def this_project(task: Task, arithmetic: str, activation: str = "sigmoid", **fields) -> Run:
    """`mlp.training.train` itself, without accuracies: no other peer takes them.

    `fields` are those of `Method`; without them it is plain gradient descent.
    """
    from mlp.arithmetic import ARITHMETICS
    from mlp.layers import ACTIVATIONS
    from mlp.network import MLP
    from mlp.optimizers import Optimizer, Schedule
    from mlp.protocol import Preparation, Split
    from mlp.training import Method, new_state
    from pipeline.fitting.fit import loop_for
    from pipeline.fitting.processes import helpful_processes

    A = ARITHMETICS[arithmetic]
    classes = tuple("0123456789")
    network = MLP(
        weights=[W.astype(A.dtype) for W in (task.W1, task.W2)],
        biases=[np.zeros(W.shape[1], A.dtype) for W in (task.W1, task.W2)],
        activation=ACTIVATIONS[activation],
        arithmetic=A,
        preparation=Preparation(0.0, task.scale, (28, 28), classes),
    )
    method = Method(**{"optimizer": Optimizer(Schedule(LEARNING_RATE))} | fields, **ENDLESS)
    train = loop_for(helpful_processes(network, BATCH))
    epochs = train(new_state(network, method), Split(task.images, task.labels), method)

    def run():
        return [next(epochs).loss]

    return run


def products(task: Task, dtype) -> Run:
    """The five matrix products of a step alone, into arrays allocated beforehand: no loss."""
    X = task.scaled_images(np.float32)[:BATCH].astype(dtype)
    W1, W2 = task.W1.astype(dtype), task.W2.astype(dtype)
    h, y = X @ W1, X @ W1 @ W2
    dh, dW1, dW2 = np.empty_like(h), np.empty_like(W1), np.empty_like(W2)

    def run():
        for _ in range(task.batches):
            np.matmul(X, W1, out=h)
            np.matmul(h, W2, out=y)
            np.matmul(y, W2.T, out=dh)
            np.matmul(h.T, y, out=dW2)
            np.matmul(X.T, dh, out=dW1)
        return []

    return run


class Peer(NamedTuple):
    """A way to do the work.

    Attributes:
        label: its name in the table.
        library: whose version is reported.
        start: makes it.
        threads: it is measured with each of these numbers of threads; the fastest counts.
        floor: the name of the bare products of its number type, if it is compared with them.
    """

    label: str
    library: str
    start: Callable[[Task], Run]
    threads: tuple[int, ...]
    floor: str = ""


EXACT, FLOAT32 = (partial(this_project, arithmetic=name) for name in ("exact", "float32"))
PRODUCTS64, PRODUCTS32 = (partial(products, dtype=dtype) for dtype in (np.float64, np.float32))
PEERS = {
    "pytorch": Peer("PyTorch, eager", "torch", pytorch, (1, 2), "products32"),
    "sklearn": Peer("scikit-learn, MLPClassifier", "sklearn", scikit_learn, (1, 2), "products32"),
    "jax": Peer("JAX, jitted scan", "jax", jax_scan, (2,), "products32"),
    "exact": Peer("**this project, exact**", "numpy", EXACT, (1,), "products64"),
    "float32": Peer("**this project, float32**", "numpy", FLOAT32, (1,), "products32"),
    "products64": Peer("bare products, float64", "numpy", PRODUCTS64, (1, 2), "products64"),
    "products32": Peer("bare products, float32", "numpy", PRODUCTS32, (1, 2), "products32"),
}


def load_task(data: Path, hidden: int, limit: int | None) -> Task:
    """Read the first `limit` training images or all, and draw weights, the same for every peer.

    The bytes are scaled to 0 to 1, whatever `params.yaml` says.
    """
    from pipeline.store.artifacts import load_prepared

    images, labels = (array[: limit or len(array)] for array in load_prepared(data).split)
    generator = np.random.default_rng(0)
    W1 = generator.normal(0.0, WEIGHT_INIT_STD, (images.shape[1], hidden))
    W2 = generator.normal(0.0, WEIGHT_INIT_STD, (hidden, labels.shape[1]))
    return Task(images, labels, 1 / 255, W1, W2)


def work(peers: Mapping[str, Peer], name: str, hidden: str, data: str, limit: str) -> None:
    """Answer every line on standard input, a number of epochs, with one line of JSON."""
    np.random.seed(0)
    peer = peers[name]
    task = load_task(Path(data), int(hidden), int(limit) if limit else None)
    run = peer.start(task)
    about = {"version": sys.modules[peer.library].__version__, "batches": task.batches}
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        epochs = int(line)
        start = time.perf_counter()
        losses = [run() for _ in range(epochs)]
        seconds = time.perf_counter() - start
        means = [float(np.mean(epoch)) for epoch in losses if len(epoch)]
        print(json.dumps({"seconds": seconds, "losses": means}), flush=True)


if __name__ == "__main__":
    work(PEERS, *sys.argv[1:])
