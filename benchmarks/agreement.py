"""Whether the optimizers and regularization do what PyTorch's do: the same steps by both."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.machine import describe_machine, table
from mlp.arithmetic import ARITHMETICS, Arithmetic, Float32
from mlp.network import MLP, init_network, step
from mlp.optimizers import SGD, Adam, Optimizer, RMSprop, Schedule
from mlp.protocol import Split
from mlp.regularization import Dropout, Mask, smooth
from pipeline.store.artifacts import load_prepared

STEPS = 200
BATCH = 100
HIDDEN = 50
DATA = Path("data/prepared/train.npz")
DTYPES = {np.float64: torch.float64, np.float32: torch.float32}

# Columns of the table, and the largest difference of each
RULE64, RULE32 = "rule alone, float64", "rule alone, float32"
TRAIN64, TRAIN32, EXACT = "training, float64", "training, float32", "training, exact"
BOUNDS = {RULE64: 1e-9, RULE32: 1e-5, TRAIN64: 1e-9, TRAIN32: 1e-4, EXACT: 1e-3}


class Float64(Float32):
    """The formulas as they stand, by NumPy's own operations in float64, without grids."""

    name = "float64"
    dtype = np.float64


class Setting(NamedTuple):
    """A way to train."""

    name: str
    rate: float = 0.1
    rule: SGD | Adam = SGD()
    shape: str = "constant"
    warmup: int = 0
    weight_decay: float = 0.0
    max_norm: float = 0.0
    dropout: Dropout = Dropout()
    label_smoothing: float = 0.0

    @property
    def optimizer(self) -> Optimizer:
        schedule = Schedule(self.rate, self.shape, self.warmup, STEPS)
        return Optimizer(schedule, self.rule, self.weight_decay, self.max_norm)


NESTEROV, DROPOUT = SGD(0.9, nesterov=True), Dropout(0.2, 0.5)
SETTINGS = [
    Setting("`sgd`"),
    Setting("momentum 0.9", rule=SGD(0.9)),
    Setting("Nesterov 0.9", rule=NESTEROV),
    Setting("`adam`", 0.001, Adam()),
    Setting("`adam`, β₁ = 0.5", 0.001, Adam(0.5)),
    Setting("`rmsprop`", 0.001, RMSprop()),
    Setting("`rmsprop`, momentum 0.9", 0.0001, RMSprop(0.9)),
    Setting("linear", rule=SGD(0.9), shape="linear"),
    Setting("cosine", rule=SGD(0.9), shape="cosine"),
    Setting("warm-up 20, linear", rule=SGD(0.9), shape="linear", warmup=20),
    Setting("warm-up 20, cosine", rule=SGD(0.9), shape="cosine", warmup=20),
    Setting("weight decay 0.01", rule=SGD(0.9), weight_decay=0.01),
    Setting("`adam`, weight decay 0.1", 0.001, Adam(), weight_decay=0.1),
    Setting("max-norm 1", max_norm=1.0),
    Setting("dropout 0.2, 0.5", dropout=DROPOUT),
    Setting("label smoothing 0.1", label_smoothing=0.1),
    Setting("all, Nesterov", 0.1, NESTEROV, "cosine", 20, 0.01, 1.0, DROPOUT, 0.1),
    Setting("all, `adam`", 0.001, Adam(), "cosine", 20, 0.1, 1.0, DROPOUT, 0.1),
]


class Torch:
    """The same optimizer, made of PyTorch's own."""

    def __init__(self, setting: Setting, parameters: list[np.ndarray]):
        self.setting = setting
        self.parameters = [torch.tensor(parameter, requires_grad=True) for parameter in parameters]
        matrices = [parameter for parameter in self.parameters if parameter.ndim == 2]
        vectors = [parameter for parameter in self.parameters if parameter.ndim == 1]
        groups = [
            {"params": matrices, "weight_decay": setting.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        rule, lr = setting.rule, setting.rate
        self.optimizer: torch.optim.Optimizer
        if isinstance(rule, Adam):
            betas = (rule.beta1, rule.beta2)
            self.optimizer = torch.optim.AdamW(groups, lr=lr, betas=betas, eps=rule.epsilon)
        elif isinstance(rule, RMSprop):
            own = {"alpha": rule.rho, "eps": rule.epsilon, "momentum": rule.momentum}
            self.optimizer = torch.optim.RMSprop(self.parameters, lr=lr, **own)
        else:  # its own weight decay is another one; `step` has ours
            momentum = {"momentum": rule.momentum, "nesterov": rule.nesterov}
            self.optimizer = torch.optim.SGD(self.parameters, lr=lr, **momentum)
        self.matrices, self.scheduler = matrices, self._scheduler()

    def _scheduler(self) -> torch.optim.lr_scheduler.LRScheduler:
        schedulers, warmup = torch.optim.lr_scheduler, self.setting.warmup
        after: torch.optim.lr_scheduler.LRScheduler
        if self.setting.shape == "linear":
            after = schedulers.LinearLR(self.optimizer, 1.0, 0.0, STEPS - warmup)
        elif self.setting.shape == "cosine":
            after = schedulers.CosineAnnealingLR(self.optimizer, STEPS - warmup)
        else:
            after = schedulers.ConstantLR(self.optimizer, 1.0)
        if not warmup:
            return after
        before = schedulers.LinearLR(self.optimizer, 1 / warmup, 1.0, warmup - 1)
        return schedulers.SequentialLR(self.optimizer, [before, after], [warmup])

    @torch.no_grad()
    def step(self) -> None:
        """Change the parameters by their gradients."""
        setting = self.setting
        if isinstance(setting.rule, SGD) and setting.weight_decay:
            for W in self.matrices:
                W *= 1.0 - self.scheduler.get_last_lr()[0] * setting.weight_decay
        self.optimizer.step()
        self.scheduler.step()
        if setting.max_norm:
            for W in self.matrices:
                W *= (setting.max_norm / torch.linalg.vector_norm(W, dim=0)).clamp(max=1.0)

    def train(self, X: torch.Tensor, classes: torch.Tensor, masks: list[Mask]) -> None:
        """Take a training step, with autograd. Dropout multiplies the inputs of a layer."""
        weights, biases = self.parameters[: len(masks)], self.parameters[len(masks) :]
        h = X
        for W, b, mask in zip(weights, biases, masks, strict=True):
            if W is not weights[0]:
                h = torch.tanh(h)
            if mask.keep is not None:
                h = h * torch.tensor(mask.keep * mask.gain, dtype=h.dtype)
            h = h @ W + b
        self.optimizer.zero_grad()
        share = self.setting.label_smoothing
        torch.nn.functional.cross_entropy(h, classes, label_smoothing=share).backward()
        self.step()


def difference(ours: list[np.ndarray], theirs: list[torch.Tensor]) -> float:
    """Return the largest difference of two parameters, relative to their array's largest number."""
    pairs = zip(ours, (parameter.detach().numpy() for parameter in theirs), strict=True)
    return max(float(abs(one - other).max() / abs(other).max()) for one, other in pairs)


def rule_alone(setting: Setting, dtype: type) -> float:
    """Return how much both optimizers differ after the same random gradients."""
    generator = np.random.default_rng(0)
    parameters = [generator.normal(0.0, 0.1, shape).astype(dtype) for shape in ((30, 20), (20,))]
    optimizer = replace(setting.optimizer, max_norm=0.0)  # a step of training applies it
    opt_state = optimizer.new_state(parameters)
    theirs = Torch(setting._replace(max_norm=0.0), parameters)
    for iteration in range(STEPS):
        for mine, its, arrays in zip(parameters, theirs.parameters, opt_state, strict=True):
            gradient = generator.normal(0.0, 0.01, mine.shape).astype(dtype)
            its.grad = torch.tensor(gradient)
            optimizer.update(mine, gradient, arrays, iteration)
        theirs.step()
    return difference(parameters, theirs.parameters)


def training(setting: Setting, A: Arithmetic, split: Split, network: MLP, dtype: type) -> float:
    """Return how much `step` in `A` and PyTorch differ after a training on the same batches."""
    weights = [W.astype(A.dtype) for W in network.weights]
    biases = [b.astype(A.dtype) for b in network.biases]
    ours = MLP(weights, biases, network.activation, A, network.preparation)
    parameters = ours.weights + ours.biases
    optimizer = setting.optimizer
    opt_state = optimizer.new_state(parameters)
    theirs = Torch(setting, [parameter.astype(dtype) for parameter in parameters])
    for iteration in range(STEPS):
        rows = slice(iteration * BATCH, (iteration + 1) * BATCH)
        X, t = split.images[rows], split.labels[rows]
        masks = setting.dropout.masks(ours.layer_inputs, BATCH, seed=0, iteration=iteration)
        inputs = torch.tensor(X, dtype=DTYPES[dtype]) * network.preparation.scale
        theirs.train(inputs, torch.tensor(t.argmax(axis=1)), masks)
        t = smooth(t, setting.label_smoothing, A.dtype)
        step(ours, X, t, optimizer, opt_state, iteration, masks)
    return difference(parameters, theirs.parameters)


def measure(setting: Setting, split: Split, network: MLP) -> dict[str, float]:
    """Return the difference of each column."""
    float32, exact = ARITHMETICS["float32"], ARITHMETICS["exact"]
    return {
        RULE64: rule_alone(setting, np.float64),
        RULE32: rule_alone(setting, np.float32),
        TRAIN64: training(setting, Float64(), split, network, np.float64),
        TRAIN32: training(setting, float32, split, network, np.float32),
        EXACT: training(setting, exact, split, network, np.float64),
    }


def page(found: dict[str, dict[str, float]]) -> str:
    """Return the page with the table."""
    rows = [[name, *(f"{value:.1e}" for value in row.values())] for name, row in found.items()]
    rows.append(["**at most**", *(f"{bound:.0e}" for bound in BOUNDS.values())])
    network, version = f"784-{HIDDEN}-10", torch.__version__.split("+")[0]
    text = f"""\
# Agreement with PyTorch

`make bench` writes this file. After {STEPS} steps it compares the parameters with those of PyTorch
{version}: the largest difference, relative to the array's largest number.

* *Rule alone*: both get the same random gradients. Max-norm and dropout are no part of it.
* *Training*: {network}, tanh, batches of {BATCH} real digits, the same order and dropout masks.
  PyTorch takes the gradients by autograd, with the same number type; with float64 for *exact*.

Exact arithmetic rounds the operands of a product to 21 bits. Adam makes such differences larger,
because it divides small gradients by their own size.
"""
    facts = [f"- {key}: {value}" for key, value in describe_machine().items()]
    return "\n".join([text, table(["", *BOUNDS], rows), *facts, ""])


def report(quick: bool) -> tuple[str, list[str]]:
    """Measure. Return the page, and a sentence for each difference that is too large."""
    torch.set_num_threads(1)  # the matrices are small
    split, preparation = load_prepared(DATA)
    network = init_network((HIDDEN,), "tanh", "glorot", Float64(), preparation, seed=0)
    settings = SETTINGS[-1:] if quick else SETTINGS
    found = {setting.name: measure(setting, split, network) for setting in settings}
    wrong = [
        f"{name}, {column}: the difference is {value:.1e}, more than {BOUNDS[column]:.0e}."
        for name, differences in found.items()
        for column, value in differences.items()
        if not value <= BOUNDS[column]
    ]
    return page(found), wrong
