"""The page to read: a multi-layer perceptron, its gradients by the chain rule, and one step.

The symbols are those of docs/mathematics.md. An affine layer computes a = h W + b. A hidden layer's
activation turns a into the next layer's h. After the last layer a is the logits z. dx means ∂L/∂x;
L is the mean loss of the batch. At first, read `A.matmul(a, b)` as a @ b, read `A.grid(x, …)` and
`A.grid_rows(x, …)` as x, and leave out the masks: without dropout they change nothing. The grids
round the operands of a product, so that its sums are exact.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from mlp.arithmetic import Arithmetic, arithmetic_of, operand_bits
from mlp.layers import ACTIVATIONS, Activation, activation_of, loss_terms, softmax
from mlp.optimizers import Optimizer, OptState
from mlp.protocol import Network, Preparation
from mlp.random import WEIGHTS, normal_like, stream
from mlp.regularization import KEEP_ALL, Mask, limit_norms


@dataclass(repr=False)
class MLP:
    """A multi-layer perceptron. It is a `mlp.protocol.Network`, which describes its methods."""

    weights: list[np.ndarray]  # one matrix per layer, shape (in, out)
    biases: list[np.ndarray]  # one vector per layer, shape (out,)
    activation: Activation  # of the hidden layers
    arithmetic: Arithmetic  # of all computations
    preparation: Preparation  # of the images

    def forward(
        self, X: np.ndarray, masks: Sequence[Mask] = ()
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return the logits z, (batch, classes), and the input h of each layer, (batch, in).

        The first h is byte − shift. `X` has images, (batch, features) uint8. A FloatingPointError
        says that a number is not finite, or too large.
        """
        A, f, scale = self.arithmetic, self.activation, self.preparation.scale
        first, *later = masks or [KEEP_ALL] * len(self.weights)
        W, b = self.weights[0], self.biases[0]
        h = first.apply(self.widen(X))
        inputs = [h]
        # textbook.py: a = X @ W + b, and X = scale h. (scale h) W = scale (h W); bytes stay exact
        a = scale * first.gain * A.matmul(h, A.grid(W, operand_bits(len(W)))) + b
        for W, b, mask in zip(self.weights[1:], self.biases[1:], later, strict=True):
            h = mask.apply(f.function(A, a))  # textbook.py: h = sigmoid(a)
            inputs.append(h)
            bits = operand_bits(len(W))
            product = A.matmul(A.grid_rows(h, bits, f.exponent), A.grid(W, bits))
            a = mask.gain * product + b
        return a, inputs

    def gradients(
        self, X: np.ndarray, t: np.ndarray, masks: Sequence[Mask] = ()
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Return dW of each layer, then db of each layer, and the terms of the loss."""
        A, f, scale = self.arithmetic, self.activation, self.preparation.scale
        masks = masks or [KEEP_ALL] * len(self.weights)
        z, inputs = self.forward(X, masks)
        y, shifted, total = softmax(A, z)
        da = (y - t) / len(t)  # ∂L/∂z: softmax and cross-entropy together
        exponent: int | None = math.frexp(1 / len(t))[1]  # bounds da: y and t are from 0 to 1
        batch_bits = operand_bits(len(t))
        dWs: list[np.ndarray] = []
        dbs: list[np.ndarray] = []
        # From the last layer to the second
        for h, W, mask in zip(inputs[:0:-1], self.weights[:0:-1], masks[:0:-1], strict=True):
            on_grid = A.grid(da, batch_bits)
            dW = A.matmul(A.grid_rows(h.T, batch_bits, f.exponent), on_grid)
            dWs.insert(0, mask.gain * dW)  # textbook.py: dW = h.T @ da
            dbs.insert(0, A.column_sums(on_grid))
            bits = operand_bits(W.shape[1])
            dh = A.matmul(A.grid_rows(da, bits, exponent), A.grid(W, bits).T)
            dh = mask.gain * mask.apply(dh)
            da, exponent = dh * f.gradient(h), None  # textbook.py: da = da @ W.T * (h * (1 - h))
        on_grid = A.grid(da, batch_bits)
        dWs.insert(0, scale * masks[0].gain * A.matmul(inputs[0].T, on_grid))
        dbs.insert(0, A.column_sums(on_grid))
        return dWs + dbs, loss_terms(shifted, total, t)

    def logits(self, X: np.ndarray) -> np.ndarray:
        """Return the logits, (batch, classes), of images, (batch, features) uint8."""
        return self.forward(X)[0]

    def widen(self, X: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return byte − shift, exactly, in the arithmetic's type. A ValueError: X are no bytes."""
        if X.dtype != np.uint8:
            raise ValueError(f"the images are {X.dtype}; expected uint8")
        dtype, shift = self.arithmetic.dtype, self.preparation.shift
        out = np.empty(X.shape, dtype) if out is None else out
        if shift:
            return np.subtract(X, dtype(shift), out=out)
        np.copyto(out, X)
        return out

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All weights by name, weights_1 first, then all biases."""
        named = {f"weights_{layer}": W for layer, W in enumerate(self.weights, 1)}
        return named | {f"biases_{layer}": b for layer, b in enumerate(self.biases, 1)}

    @property
    def settings(self) -> dict[str, str]:
        """The name of the activation."""
        return {"activation": self.activation.name}

    @property
    def layer_inputs(self) -> list[int]:
        """How many numbers go into each layer."""
        return [len(W) for W in self.weights]

    def first_layer(self) -> tuple[np.ndarray, tuple[int, int]]:
        """Return the weights of the first layer. A neuron's picture has the shape of an image."""
        return self.weights[0], self.preparation.image_shape

    def __repr__(self) -> str:
        sizes = "-".join(map(str, [*self.layer_inputs, len(self.preparation.classes)]))
        return f"MLP({sizes}, {self.activation.name}, {self.arithmetic.name})"

    @classmethod
    def new(cls, settings: Any, preparation: Preparation) -> "MLP":
        """Return the network that section train of params.yaml describes, untrained."""
        return init_network(
            settings.hidden_sizes,
            activation=settings.activation,
            std=settings.weight_init_std,
            arithmetic=settings.arithmetic,
            preparation=preparation,
            seed=settings.seed,
        )

    @classmethod
    def load(
        cls,
        arrays: Mapping[str, np.ndarray],
        settings: Mapping[str, str],
        arithmetic: Arithmetic,
        preparation: Preparation,
    ) -> "MLP":
        """Return the network of these parameters, or raise a ValueError."""
        if settings.get("activation") not in ACTIVATIONS or len(settings) > 1:
            raise ValueError(f"activation is none of {', '.join(ACTIVATIONS)}, the only setting")
        layers = range(1, max(-(-len(arrays) // 2), 1) + 1)
        names = [f"{kind}_{layer}" for layer in layers for kind in ("weights", "biases")]
        for name in [*names, *arrays]:
            if name not in arrays:
                raise ValueError(f"{name} is missing")
            if name not in names:
                raise ValueError(f"{name} is no parameter of {len(layers)} layers")
        outputs = math.prod(preparation.image_shape)
        for name in names:
            array, expected = arrays[name], f"({outputs})"
            shape: tuple[int, ...] = (outputs,)
            if name.startswith("weights"):
                expected = f"({outputs}, n)"
                inputs, outputs = outputs, array.shape[1] if array.ndim == 2 else 0
                shape = (inputs, outputs)
            if array.dtype != arithmetic.dtype or array.shape != shape or 0 in shape:
                found = f"{array.dtype} of the shape {array.shape}"
                expected = f"{np.dtype(arithmetic.dtype)} of the shape {expected}"
                raise ValueError(f"{name} is {found}; expected {expected}")
        if outputs != len(preparation.classes):
            raise ValueError(f"{names[-2]} has {outputs} columns; expected one for each class")
        weights, biases = ([arrays[name] for name in names[kind::2]] for kind in (0, 1))
        return cls(weights, biases, ACTIVATIONS[settings["activation"]], arithmetic, preparation)


def step(
    network: Network,
    X: np.ndarray,
    t: np.ndarray,
    optimizer: Optimizer,
    opt_state: OptState,
    iteration: int,
    masks: Sequence[Mask] = (),
) -> np.ndarray:
    """Take a training step: change parameters and `opt_state`. Return the terms of the loss before.

    `opt_state` has the optimizer's arrays for each parameter. `iteration` is the number of steps
    before this one. The other arguments and the errors are those of `Network.gradients`.
    """
    gradients, loss = network.gradients(X, t, masks)
    parameters = network.arrays.values()
    for parameter, gradient, arrays in zip(parameters, gradients, opt_state, strict=True):
        optimizer.update(parameter, gradient, arrays, iteration)
    if optimizer.max_norm:
        for parameter in parameters:
            if parameter.ndim == 2:
                limit_norms(network.arithmetic, parameter, optimizer.max_norm)
    return loss


def initial_std(std: float | str, inputs: int, outputs: int) -> float:
    """Return the standard deviation of a layer's initial weights: a number, or glorot or he.

    By Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks" (2010), and He, Zhang, Ren and Sun, "Delving deep into rectifiers" (2015).

    Raises:
        ValueError: it is another name, or no finite number above 0.
    """
    if std == "glorot":
        return math.sqrt(2.0 / (inputs + outputs))
    if std == "he":
        return math.sqrt(2.0 / inputs)
    if isinstance(std, str) or not 0.0 < std < math.inf:
        raise ValueError(f"std is {std!r}; expected glorot, he, or a finite number above 0")
    return std


def initial_weights(
    A: Arithmetic, source: np.random.PCG64, shape: tuple[int, int], std: float | str
) -> np.ndarray:
    """Return random, almost normal weights, (inputs, outputs). Errors: see `initial_std`."""
    size = initial_std(std, *shape)
    with np.errstate(over="ignore"):  # training itself notices numbers that are not finite
        # A product that underflows can be −0. Adding 0.0 makes it +0
        return (size * normal_like(source, shape)).astype(A.dtype) + 0.0


def init_network(
    hidden_sizes: Sequence[int],
    activation: str,
    std: float | str,
    arithmetic: str | Arithmetic,
    preparation: Preparation,
    seed: int = 0,
) -> MLP:
    """Return a network with zero biases and random weights.

    Args:
        hidden_sizes: the number of neurons of each hidden layer, input side first.
        activation: the name of the activation of the hidden layers: sigmoid, tanh or relu.
        std: the standard deviation of the weights; see `initial_std`.
        arithmetic: the arithmetic to compute in, or its name: exact or float32.
        preparation: the preparation of the images.
        seed: from 0 to 2³² − 1.

    Raises:
        ValueError: a name or a number is not one of these.
    """
    f = activation_of(activation)
    A = arithmetic_of(arithmetic) if isinstance(arithmetic, str) else arithmetic
    sizes = [math.prod(preparation.image_shape), *hidden_sizes, len(preparation.classes)]
    if min(sizes) < 1:
        raise ValueError(f"the layers have {sizes} neurons; expected 1 or more in each")
    source = stream(seed, WEIGHTS)
    weights = [initial_weights(A, source, shape, std) for shape in pairwise(sizes)]
    return MLP(weights, [np.zeros(n, A.dtype) for n in sizes[1:]], f, A, preparation)
