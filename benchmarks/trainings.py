"""A whole training as docs/training.md recommends, done by each peer.

ReLU, momentum, a rate that falls to 0 linearly, and images with other distortions in each epoch:
rotation, shear, scaling and an elastic field. scikit-learn distorts no images, and has no such
rate.

`python -m benchmarks.trainings NAME HIDDEN DATA LIMIT` is a worker (`benchmarks.peers.work`).
"""

import math
import sys
from functools import partial

import numpy as np

from benchmarks.peers import (
    BATCH,
    LEARNING_RATE,
    WEIGHT_INIT_STD,
    Peer,
    Run,
    Task,
    pytorch_network,
    random_batches,
    this_project,
    work,
)
from mlp.distortions import Distortion, Strength
from mlp.network import initial_std
from mlp.optimizers import SGD, Optimizer, Schedule

EPOCHS = 21  # the first is not timed
MOMENTUM = 0.9
STRENGTH = Strength(rotation=15.0, shear=15.0, scaling=15.0, shift=0.0, elastic=1.0, smoothness=6.0)
SHAPE = (28, 28)
AT_ONCE = 1000  # images that PyTorch distorts at once


def he(task: Task) -> Task:
    """Return the task with initial weights as for ReLU."""
    W1, W2 = (W * (initial_std("he", *W.shape) / WEIGHT_INIT_STD) for W in (task.W1, task.W2))
    return task._replace(W1=W1, W2=W2)


def this_training(task: Task, arithmetic: str) -> Run:
    schedule = Schedule(LEARNING_RATE, "linear", steps=EPOCHS * task.batches)
    fields = {"optimizer": Optimizer(schedule, SGD(MOMENTUM))}
    fields["distortion"] = Distortion(SHAPE, STRENGTH)
    return this_project(he(task), arithmetic, "relu", **fields)


def elastic() -> tuple[np.ndarray, float]:
    """Return the bumps of `mlp` along an axis, (28, m) float32, and their largest height in pixels.

    The field is bumps @ heights @ bumps.T. A blur of one random number per pixel, as it is often
    written, takes longer.
    """
    ours = Distortion(SHAPE, STRENGTH)
    return ours.rows[:, :-2].astype(np.float32), ours.amplitude


def affine(library, u) -> list:
    """Return the four elements of n maps, from random numbers between −1 and 1, (4, n).

    `library` is torch or jax.numpy.
    """
    angle, s = u[0] * math.radians(STRENGTH.rotation), u[1] * math.tan(math.radians(STRENGTH.shear))
    p, q = 1.0 + u[2] * (STRENGTH.scaling / 100.0), 1.0 + u[3] * (STRENGTH.scaling / 100.0)
    cos, sin = library.cos(angle), library.sin(angle)
    return [p * cos, p * (cos * s - sin), q * sin, q * (sin * s + cos)]


def pytorch(task: Task) -> Run:
    import torch
    from torch import nn

    torch.manual_seed(0)
    task = he(task)
    images = torch.from_numpy(task.scaled_images(np.float32)).reshape(-1, 1, *SHAPE)
    labels = torch.from_numpy(task.classes())
    network = pytorch_network(task, nn.ReLU())
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, EPOCHS * task.batches)

    bumps, amplitude = elastic()
    bumps = torch.from_numpy(bumps)
    side = bumps.shape[1]
    pixel = 2.0 / SHAPE[0]  # grid_sample's unit: an image reaches from −1 to 1
    x = (torch.arange(SHAPE[1]) + 0.5) * pixel - 1.0
    square = torch.stack([x.expand(SHAPE), x.reshape(-1, 1).expand(SHAPE)], dim=-1)

    def distorted(images):
        n = len(images)
        M = torch.stack(affine(torch, torch.rand(4, n) * 2.0 - 1.0), dim=1).reshape(n, 2, 2)
        grid = torch.einsum("ijk,nck->nijc", square, M)
        heights = (torch.rand(n, 2, side, side) * 2.0 - 1.0) * (amplitude * pixel)
        grid += (bumps @ heights @ bumps.T).permute(0, 2, 3, 1)
        return nn.functional.grid_sample(images, grid, align_corners=False)

    def step(X, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(X), y)
        loss.backward()
        optimizer.step()
        scheduler.step()
        return loss.item()

    def run():
        losses = []
        for block in torch.randperm(len(images))[: task.batches * BATCH].split(AT_ONCE):
            pictures = distorted(images[block]).reshape(len(block), -1)
            losses += map(step, pictures.split(BATCH), labels[block].split(BATCH))
        return losses

    return run


def jax_scan(task: Task) -> Run:
    """One compiled function for an epoch: a scan over mini-batches, each distorted inside."""
    import jax
    import jax.numpy as jnp
    from jax.scipy.ndimage import map_coordinates

    task = he(task)
    images = jnp.asarray(task.scaled_images(np.float32)).reshape(-1, *SHAPE)
    labels = jnp.asarray(task.labels, jnp.float32)
    W1, W2 = jnp.asarray(task.W1, jnp.float32), jnp.asarray(task.W2, jnp.float32)
    parameters = [W1, jnp.zeros(W1.shape[1]), W2, jnp.zeros(W2.shape[1])]
    state = parameters, [jnp.zeros_like(p) for p in parameters], jax.random.key(0), jnp.zeros(())

    bumps, amplitude = elastic()
    side = bumps.shape[1]
    centre = (SHAPE[0] - 1) / 2.0
    x = jnp.arange(SHAPE[1]) - centre

    def distorted(images, key):
        n = len(images)
        for_map, for_field = jax.random.split(key)
        elements = affine(jnp, jax.random.uniform(for_map, (4, n), minval=-1.0))
        a, b, c, d = (m[:, None, None] for m in elements)
        bounds = {"minval": -amplitude, "maxval": amplitude}
        heights = jax.random.uniform(for_field, (2, n, side, side), **bounds)
        field = bumps @ heights @ bumps.T
        columns = a * x + b * x[:, None] + field[0] + centre
        rows = c * x + d * x[:, None] + field[1] + centre
        moved = jax.vmap(lambda image, *places: map_coordinates(image, places, order=1))
        return moved(images, rows, columns)

    def loss_of(parameters, X, t):
        W1, b1, W2, b2 = parameters
        log_y = jax.nn.log_softmax(jax.nn.relu(X @ W1 + b1) @ W2 + b2)
        return -(t * log_y).sum() / BATCH

    def epoch(state, order, images, labels):
        def step(state, rows):
            parameters, velocities, key, iteration = state
            key, now = jax.random.split(key)
            X = distorted(images[rows], now).reshape(BATCH, -1)
            loss, gradients = jax.value_and_grad(loss_of)(parameters, X, labels[rows])
            rate = LEARNING_RATE * (1.0 - iteration / (EPOCHS * task.batches))
            velocities = [MOMENTUM * v + g for v, g in zip(velocities, gradients, strict=True)]
            parameters = [p - rate * v for p, v in zip(parameters, velocities, strict=True)]
            return (parameters, velocities, key, iteration + 1.0), loss

        return jax.lax.scan(step, state, order)

    epoch = jax.jit(epoch, donate_argnums=0)

    def run():
        nonlocal state
        state, losses = epoch(state, random_batches(task), images, labels)
        return np.asarray(losses)

    return run


def scikit_learn(task: Task) -> Run:
    from sklearn.neural_network import MLPClassifier

    images, labels = task.scaled_images(np.float32), task.classes()
    model = MLPClassifier(
        hidden_layer_sizes=(task.W1.shape[1],),
        solver="sgd",
        alpha=0.0,
        batch_size=BATCH,
        learning_rate_init=LEARNING_RATE,
        momentum=MOMENTUM,
        nesterovs_momentum=False,
    )
    classes = np.unique(labels)

    def run():
        model.partial_fit(images, labels, classes=classes)
        return []  # it learns something else, so its loss is no comparison

    return run


EXACT, FLOAT32 = (partial(this_training, arithmetic=name) for name in ("exact", "float32"))
TRAININGS = {
    "exact": Peer("**this project, exact**", "numpy", EXACT, (1,)),
    "float32": Peer("**this project, float32**", "numpy", FLOAT32, (1,)),
    "pytorch": Peer("PyTorch, eager", "torch", pytorch, (1, 2)),
    "jax": Peer("JAX, jitted scan", "jax", jax_scan, (2,)),
    "sklearn": Peer("scikit-learn, without distortions", "sklearn", scikit_learn, (2,)),
}

if __name__ == "__main__":
    work(TRAININGS, *sys.argv[1:])
