"""Training as docs/training.md recommends, done by each peer, and this project's step with each parameter alone.

The recipe: ReLU, momentum, a rate that falls to 0 linearly, and images with other distortions in each epoch.

`python -m benchmarks.recipes NAME HIDDEN DATA LIMIT` is a worker (`benchmarks.peers.work`).
"""

import math
import sys
from functools import partial

import numpy as np

from benchmarks.peers import BATCH, LEARNING_RATE, WEIGHT_INIT_STD, Peer, Run, Task, pytorch_network, this_project, work
from mlp.distortions import Distortion, Strength
from mlp.network import initial_std
from mlp.optimizers import SGD, Adam, Optimizer, Schedule
from mlp.regularization import Dropout

EPOCHS = 21  # of the recipe
MOMENTUM = 0.9
STRENGTH = Strength(rotation=15.0, shear=15.0, scaling=15.0, shift=0.0, elastic=1.0, smoothness=6.0)
SHAPE = (28, 28)
AT_ONCE = 1000  # images that PyTorch distorts at once


def he(task: Task) -> Task:
    """Return the task with initial weights as for ReLU."""
    W1, W2 = (W * (initial_std("he", *W.shape) / WEIGHT_INIT_STD) for W in (task.W1, task.W2))
    return task._replace(W1=W1, W2=W2)


def this_recipe(task: Task, arithmetic: str) -> Run:
    schedule = Schedule(LEARNING_RATE, "linear", steps=EPOCHS * task.batches)
    optimizer = Optimizer(schedule, SGD(MOMENTUM))
    return this_project(he(task), arithmetic, "relu", optimizer=optimizer, distortion=Distortion(SHAPE, STRENGTH))


def pytorch_recipe(task: Task) -> Run:
    import torch
    from torch import nn

    torch.manual_seed(0)
    task = he(task)
    images = torch.from_numpy(task.scaled_images(np.float32)).reshape(-1, 1, *SHAPE)
    labels = torch.from_numpy(task.classes())
    network = pytorch_network(task, nn.ReLU())
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, EPOCHS * task.batches)

    # The elastic field is a sum of the same bumps: products of small matrices. A blur of one random number per pixel,
    # as it is often written, takes longer.
    ours = Distortion(SHAPE, STRENGTH)
    bumps = torch.from_numpy(ours.rows[:, :-2].astype(np.float32))
    side = bumps.shape[1]
    pixel = 2.0 / SHAPE[0]  # grid_sample's unit: an image reaches from −1 to 1
    x = (torch.arange(SHAPE[1]) + 0.5) * pixel - 1.0
    square = torch.stack([x.expand(SHAPE), x.reshape(-1, 1).expand(SHAPE), torch.ones(SHAPE)], dim=-1)

    def distorted(images):
        n = len(images)
        u = torch.rand(4, n) * 2.0 - 1.0
        angle, s = u[0] * math.radians(STRENGTH.rotation), u[1] * math.tan(math.radians(STRENGTH.shear))
        p, q = 1.0 + u[2:] * (STRENGTH.scaling / 100.0)
        cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(n)
        rows = [p * cos, p * (cos * s - sin), zero, q * sin, q * (sin * s + cos), zero]
        M = torch.stack(rows, dim=1).reshape(n, 2, 3)
        grid = torch.einsum("ijk,nck->nijc", square, M)
        heights = (torch.rand(n, 2, side, side) * 2.0 - 1.0) * (ours.amplitude * pixel)
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


def scikit_learn_undistorted(task: Task) -> Run:
    """scikit-learn distorts no images, and has no schedule that falls linearly."""
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


RECIPE = {
    "exact": Peer("**this project, exact**", "numpy", partial(this_recipe, arithmetic="exact"), (1,)),
    "float32": Peer("**this project, float32**", "numpy", partial(this_recipe, arithmetic="float32"), (1,)),
    "pytorch": Peer("PyTorch, eager", "torch", pytorch_recipe, (1, 2)),
    "sklearn": Peer("scikit-learn, without distortions", "sklearn", scikit_learn_undistorted, (2,)),
}


def exact_with(task: Task, on_distorted: bool = False, **knobs) -> Run:
    """Exact arithmetic, ReLU, and these fields of `Method`. `on_distorted`: images that were distorted beforehand."""
    if on_distorted:
        task = task._replace(images=Distortion(SHAPE, STRENGTH).distort(task.images, seed=0, epoch=0, first=0))
    return this_project(he(task), "exact", "relu", **knobs)


def with_optimizer(rate: float = LEARNING_RATE, **others) -> dict:
    return {"optimizer": Optimizer(Schedule(rate), **others)}


PLAIN, ON_DISTORTED = "plain", "plain, on distorted images"
KNOBS = {  # what is measured: its fields
    PLAIN: {},
    "momentum": with_optimizer(rule=SGD(MOMENTUM)),
    "Nesterov's momentum": with_optimizer(rule=SGD(MOMENTUM, nesterov=True)),
    "`adam`": with_optimizer(0.001, rule=Adam()),
    "weight decay": with_optimizer(weight_decay=0.0001),
    "max-norm": with_optimizer(max_norm=2.0),
    "dropout of inputs and hidden neurons": {"dropout": Dropout(0.2, 0.5)},
    ON_DISTORTED: {"on_distorted": True},
    "distortions": {"distortion": Distortion(SHAPE, STRENGTH)},
}
STEPS = {
    name: Peer(name, "numpy", partial(exact_with, **fields), (1,))  # type: ignore[arg-type]
    for name, fields in KNOBS.items()
}

if __name__ == "__main__":
    work(RECIPE | STEPS, *sys.argv[1:])
