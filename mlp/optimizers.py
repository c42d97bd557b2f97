"""How a gradient changes a parameter: the rule, the learning rate, the decay of weights.

w is a parameter, g = ∂L/∂w its gradient, η the learning rate. Everything here is elementwise, so it
may also be applied to parts of a parameter, in any order.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mlp.arithmetic import power, tan

Arrays = Sequence[np.ndarray]  # the rule's arrays for a parameter, of its shape
OptState = list[list[np.ndarray]]  # the same for each parameter

# Numbers changed at once: few enough that the arrays of a block stay in the processor's cache
BLOCK = 2**18
TIDY = 8  # steps between two removals of numbers that are too small to act

# Numbers that shrink from step to step become denormal, and processors many times slower. Adding
# and subtracting this number rounds far smaller ones, too small to change a weight, to 0.
FAR_ABOVE = {np.dtype(np.float64): 1.0 / 2.0**700, np.dtype(np.float32): 1.0 / 2.0**90}


def check(name: str, value: float, bound: float = math.inf) -> None:
    """Raise a ValueError unless `value` is at least 0 and below a bound."""
    if not 0.0 <= value < bound:
        expected = "a finite number" if bound == math.inf else f"a number below {bound:g}"
        raise ValueError(f"{name} is {value}; expected {expected}, at least 0")


@dataclass(frozen=True)
class SGD:
    """Gradient descent with momentum μ: v ← μ v + g, w ← w − η v; Nesterov: w ← w − η (g + μ v).

    By Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum in
    deep learning" (2013). There v contains η. Here a schedule acts at once, as in PyTorch.
    """

    momentum: float = 0.0  # μ, from 0 to below 1
    nesterov: bool = False

    def __post_init__(self) -> None:
        check("momentum", self.momentum, 1.0)

    @property
    def arrays(self) -> int:
        """The number of arrays in its state of a parameter: v, if there is momentum."""
        return int(self.momentum > 0.0)

    def change(self, g: np.ndarray, state: Arrays, iteration: int, rate: float) -> None:
        """Overwrite `g` with the change that w loses. `state` is [v], `iteration` from 0."""
        if self.momentum == 0.0:
            g *= rate
            return
        (v,) = state
        v *= self.momentum
        v += g
        if self.nesterov:
            g += self.momentum * v
            g *= rate
        else:
            np.multiply(v, rate, out=g)


@dataclass(frozen=True)
class Adam:
    """Adam, by Kingma and Ba, "Adam: a method for stochastic optimization" (2015).

    m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², w ← w − η m̂ / (√v̂ + ε), at step t, from 1, with
    m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ).

    We keep M = m / (1 − β₁) and V = v / (1 − β₂): M ← β₁ M + g and V ← β₂ V + g² are faster.
    """

    beta1: float = 0.9  # from 0 to below 1
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        check("beta1", self.beta1, 1.0)
        check("beta2", self.beta2, 1.0)

    @property
    def arrays(self) -> int:
        """The number of arrays in its state of a parameter: M and V."""
        return 2

    def change(self, g: np.ndarray, state: Arrays, iteration: int, rate: float) -> None:
        """Overwrite `g` with the change that w loses. `state` is [M, V], `iteration` from 0."""
        M, V = state
        M *= self.beta1
        M += g
        V *= self.beta2
        g *= g
        V += g
        # m̂ = mean M and √v̂ = root √V
        mean = (1.0 - self.beta1) / (1.0 - power(self.beta1, iteration + 1))
        root = math.sqrt((1.0 - self.beta2) / (1.0 - power(self.beta2, iteration + 1)))
        np.sqrt(V, out=g)
        g += self.epsilon / root
        np.divide(M, g, out=g)
        g *= rate * mean / root


@dataclass(frozen=True)
class RMSprop(SGD):
    """RMSprop, by Tieleman and Hinton, "Neural networks for machine learning", lecture 6 (2012).

    v ← ρ v + (1 − ρ) g², and g / (√v + ε) takes the place of g in SGD. ρ and ε are those of Keras.
    """

    rho, epsilon = 0.9, 1e-7

    @property
    def arrays(self) -> int:
        """The number of arrays in its state of a parameter: v, and that of SGD."""
        return 1 + super().arrays

    def change(self, g: np.ndarray, state: Arrays, iteration: int, rate: float) -> None:
        """Overwrite `g` with the change that w loses. `state` is [v] and that of SGD."""
        v, *moving = state
        v *= self.rho
        v += (1.0 - self.rho) * (g * g)
        g /= np.sqrt(v) + self.epsilon
        super().change(g, moving, iteration, rate)


def half_cosine(x: float) -> float:
    """Return (1 + cos π x) / 2 for x from 0 to 1, as cos² = 1 / (1 + tan²) of half the angle."""
    t = tan(90.0 * min(x, 1.0 - x))
    y = 1.0 / (1.0 + t * t)
    return y if x <= 0.5 else 1.0 - y


@dataclass(frozen=True)
class Schedule:
    """The learning rate at each step. It grows linearly over the warm-up.

    Then it is constant, or falls to 0: linearly, or as half a cosine (Loshchilov and Hutter, "SGDR:
    stochastic gradient descent with warm restarts", 2017, without restarts).
    """

    rate: float  # the highest
    shape: str = "constant"  # or linear, cosine
    warmup: int = 0  # steps
    steps: int = 1  # of the whole training

    def __post_init__(self) -> None:
        if self.shape not in ("constant", "linear", "cosine"):
            raise ValueError(f"shape is {self.shape!r}; expected constant, linear or cosine")
        check("rate", self.rate)
        check("warmup", self.warmup)

    def at(self, iteration: int) -> float:
        """Return the rate of the step after `iteration` steps."""
        if iteration < self.warmup:
            return self.rate * ((iteration + 1) / self.warmup)
        done = (iteration - self.warmup) / max(self.steps - self.warmup, 1)
        if self.shape == "linear":
            return self.rate * (1.0 - done)
        return self.rate * half_cosine(done) if self.shape == "cosine" else self.rate


@dataclass(frozen=True)
class Optimizer:
    """How training changes the parameters.

    Weight decay λ is decoupled from the rule: w ← w − η λ w beside the rule's change, for weights
    and not for biases (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019;
    PyTorch's AdamW).
    """

    schedule: Schedule  # η
    rule: SGD | Adam = SGD()  # RMSprop is an SGD, too
    weight_decay: float = 0.0  # λ
    max_norm: float = 0.0  # bound on the norm of a neuron's incoming weights; 0 for none

    def __post_init__(self) -> None:
        check("weight_decay", self.weight_decay)
        check("max_norm", self.max_norm)

    def new_state(self, parameters: Iterable[np.ndarray]) -> OptState:
        """Return the state before the first step: zeros."""
        n = range(self.rule.arrays)
        return [[np.zeros_like(parameter) for _ in n] for parameter in parameters]

    def update(
        self, parameter: np.ndarray, gradient: np.ndarray, state: Arrays, iteration: int
    ) -> None:
        """Change `parameter`, of any shape, and its `state` in place. Overwrite `gradient`.

        A matrix holds weights, a vector biases. `iteration` is the number of steps before this one.
        """
        rate = self.schedule.at(iteration)
        decay = rate * self.weight_decay if parameter.ndim == 2 else 0.0
        rows = max(BLOCK * len(parameter) // max(parameter.size, 1), 1)
        for start in range(0, len(parameter), rows):
            block = slice(start, start + rows)
            w, g, arrays = parameter[block], gradient[block], [array[block] for array in state]
            if iteration % TIDY == 0:
                for array in arrays:
                    far_above = FAR_ABOVE[array.dtype]
                    array += far_above
                    array -= far_above
            self.rule.change(g, arrays, iteration, rate)
            if decay:
                g += decay * w
            w -= g
