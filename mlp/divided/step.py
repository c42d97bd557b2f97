"""A training step in parts, with the bits of `step`. Optional reading: docs/parallel.md."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from mlp.arithmetic import operand_bits
from mlp.divided.team import Team, cut_evenly, shared
from mlp.layers import loss_terms, softmax
from mlp.network import MLP
from mlp.optimizers import Optimizer, OptState
from mlp.regularization import Mask, limit_norms


@dataclass
class DividedStep:
    """`mlp.network.step` in parts that processes can run at the same time.

    In the first layer a part is some of the pixels: columns of X, and rows of W₁. Between X W₁ and
    the gradients a part is some of the images. For the update of a later W a part is some of its
    rows; for `limit_norms`, some columns.
    """

    network: MLP  # with its parameters in shared memory
    images: list[np.ndarray]  # of `Batches`, one array for each part; they may change between steps
    ends: list[np.ndarray]  # of `Batches`
    batch_size: int
    optimizer: Optimizer
    opt_state: OptState  # the optimizer's arrays, in shared memory
    team: Team  # says which parts this process runs
    cut: Callable[[int, int], list[slice]] = cut_evenly  # divides n things into parts

    def __post_init__(self) -> None:
        images, batch_size, cut = self.images, self.batch_size, self.cut
        dtype = self.network.arithmetic.dtype
        first, *later = self.network.weights
        widths = [part.shape[1] for part in images]
        pixels = [slice(stop - n, stop) for n, stop in zip(widths, accumulate(widths), strict=True)]
        self.rows_of_W = [pixels, *(cut(len(W), len(images)) for W in later)]
        self.columns_of_W = [cut(W.shape[1], len(images)) for W in self.network.weights]
        self.rows = cut(batch_size, len(images))
        self.bits = operand_bits(batch_size)
        self.ones: np.ndarray = np.ones((1, batch_size), dtype)

        # Arrays that one process writes and the other reads
        self.products = [shared(np.zeros((batch_size, first.shape[1]), dtype)) for _ in images]
        self.exponents = shared(np.zeros(len(images), np.int64))  # that the parts of W₁ need
        self.exponent = shared(np.zeros(1, np.int64))  # the exponent of the grid of W₁
        self.h = [shared(np.zeros((batch_size, len(W)), dtype)) for W in later]
        self.da = [shared(np.zeros((batch_size, W.shape[1]), dtype)) for W in self.network.weights]

        # The large arrays of each part, allocated once
        self.bytes = [np.empty((batch_size, n), np.uint8) for n in widths]
        self.X: list[np.ndarray] = [np.empty(part.shape, dtype) for part in self.bytes]
        # How many of a part's pixels this batch needs: the others are black in it
        self.used = [0] * len(images)
        # Without momentum and decay, a weight whose gradient is 0 stays as it is
        self.skips_black = not (self.optimizer.rule.arrays or self.optimizer.weight_decay)
        # Each buffer holds first W₁ on its grid, then the gradient of W₁
        shapes = [(n, first.shape[1]) for n in widths]
        self.buffers: list[np.ndarray] = [np.empty(shape, dtype) for shape in shapes]

    def __call__(
        self,
        batch: np.ndarray,
        t: np.ndarray,
        terms: np.ndarray,
        iteration: int,
        masks: Sequence[Mask],
    ) -> None:
        """Take one step; put the terms of its loss into `terms`, (2, batch). Errors: `Team.run`.

        `batch` has the numbers of the images, (batch,). Else as `mlp.network.step`.
        """
        self.masks, team = masks, self.team
        for part in team.parts:
            # mode="clip" lets NumPy write straight into `out`; no index is out of range
            np.take(self.images[part], batch, axis=0, out=self.bytes[part], mode="clip")
            self.used[part] = n = int(self.ends[part].take(batch).max())
            X = self.network.widen(self.bytes[part][:, :n], self.X[part][:, :n])
            if (keep := self.masks[0].keep) is not None:
                X *= keep[:, self.rows_of_W[0][part]][:, :n]
        while True:
            exponent = int(self.exponent[0])
            for part in team.parts:
                self.multiply(part, exponent)
            team.barrier()
            if (largest := max(self.exponents.tolist())) == exponent:
                break
            # Usually the last exponent is still right, so we try it first. Here W₁ has grown beyond
            # a power of two, or shrunk below one. Both processes write the same number.
            self.exponent[0] = largest
        for part in team.parts:
            rows = self.rows[part]
            self.forward_backward(rows, t[rows], terms[:, rows])
        team.barrier()
        self.update(iteration)
        if self.optimizer.max_norm:
            team.barrier()
            for part in team.parts:
                for W, columns in zip(self.network.weights, self.columns_of_W, strict=True):
                    own = W[:, columns[part]]
                    limit_norms(self.network.arithmetic, own, self.optimizer.max_norm)
            team.barrier()

    def multiply(self, part: int, exponent: int) -> None:
        """Compute X W₁ over a part's pixels. Store the exponent that the part of W₁ needs."""
        A, W = self.network.arithmetic, self.network.weights[0]
        rows = self.rows_of_W[0][part]
        self.exponents[part] = A.exponent(W[rows])
        n = self.used[part]
        on_grid = A.grid(W[rows][:n], operand_bits(len(W)), exponent, out=self.buffers[part][:n])
        A.matmul(self.X[part][:, :n], on_grid, out=self.products[part])

    def forward_backward(self, rows: slice, t: np.ndarray, terms: np.ndarray) -> None:
        """Go forward from X W₁ to the loss, and back to every ∂L/∂a, for some of the images."""
        network, batch_size = self.network, self.batch_size
        A, f = network.arithmetic, network.activation
        # One grid serves h W and da Wᵀ, unless one has so many terms that operands need fewer bits
        weights = [A.grid(W, operand_bits(len(W))) for W in network.weights[1:]]

        product = self.products[0][rows]
        for other in self.products[1:]:
            product = product + other[rows]
        first, *later = self.masks
        a = network.preparation.scale * first.gain * product + network.biases[0]
        for h, W, b, mask in zip(self.h, weights, network.biases[1:], later, strict=True):
            own = f.function(A, a)
            if mask.keep is not None:
                own *= mask.keep[rows]
            h[rows] = own
            a = mask.gain * A.matmul(A.grid_rows(own, operand_bits(len(W)), f.exponent), W) + b
        y, shifted, total = softmax(A, a)
        terms[...] = loss_terms(shifted, total, t)

        da = self.da[-1][rows] = (y - t) / batch_size
        exponent: int | None = math.frexp(1 / batch_size)[1]
        for layer in reversed(range(len(weights))):
            W, bits = weights[layer], operand_bits(weights[layer].shape[1])
            if bits != operand_bits(len(W)):
                W = A.grid(network.weights[layer + 1], bits)
            dh = A.matmul(A.grid_rows(da, bits, exponent), W.T)
            if (keep := later[layer].keep) is not None:
                dh *= keep[rows]
                dh *= later[layer].gain
            da = self.da[layer][rows] = dh * f.gradient(self.h[layer][rows])
            exponent = None

    def update(self, iteration: int) -> None:
        """Update this process's rows of every W. Each b belongs to one part."""
        network, parts, optimizer = self.network, self.team.parts, self.optimizer
        A, f = network.arithmetic, network.activation
        layers = len(self.da)
        for layer, da in enumerate(self.da):
            da = A.grid(da, self.bits)
            W, state = network.weights[layer], self.opt_state[layer]
            for part in parts:
                rows = self.rows_of_W[layer][part]
                if layer == 0:
                    dW, n = self.buffers[part], self.used[part]
                    A.matmul(self.X[part][:, :n].T, da, out=dW[:n])
                    dW[:n] *= network.preparation.scale * self.masks[0].gain
                    if self.skips_black:
                        rows, dW = slice(rows.start, rows.start + n), dW[:n]
                    else:
                        dW[n:] = 0.0
                else:
                    h = A.grid_rows(self.h[layer - 1][:, rows].T, self.bits, f.exponent)
                    dW = A.matmul(h, da)
                    dW *= self.masks[layer].gain
                optimizer.update(W[rows], dW, [array[rows] for array in state], iteration)
            if layer % len(self.images) in parts:
                b, state = network.biases[layer], self.opt_state[layers + layer]
                optimizer.update(b, A.matmul(self.ones, da)[0], state, iteration)
