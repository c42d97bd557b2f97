"""A convolution of 5 × 5, max-pooling of 2 × 2, one affine layer: another network for the pipeline.

docs/make-it-yours.md says how to use it. The symbols are those of mlp/network.py. In an array of
patches there is a row for each 5 × 5 pixels of each image, and a column for each of the 25 pixels.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mlp.arithmetic import Arithmetic, arithmetic_of, operand_bits
from mlp.layers import RELU, loss_terms, softmax
from mlp.network import initial_weights
from mlp.protocol import Preparation
from mlp.random import WEIGHTS, stream
from mlp.regularization import KEEP_ALL

SIDE = 5  # of a patch, in pixels


def pooled_shape(preparation: Preparation) -> tuple[int, int]:
    """Return the rows and columns after convolution and pooling."""
    rows, columns = ((n - SIDE + 1) // 2 for n in preparation.image_shape)
    return rows, columns


@dataclass
class Convolution:
    """A `mlp.protocol.Network`, which describes the methods."""

    arrays: dict  # weights_1 (25, channels), biases_1, weights_2 (pooled pixels, classes), biases_2
    arithmetic: Arithmetic
    preparation: Preparation

    @classmethod
    def new(cls, settings, preparation):
        A, source = arithmetic_of(settings.arithmetic), stream(settings.seed, WEIGHTS)
        channels, classes = settings.channels, len(preparation.classes)
        shapes = (SIDE**2, channels), (math.prod(pooled_shape(preparation)) * channels, classes)
        arrays = {}
        for layer, shape in enumerate(shapes, 1):
            std = settings.weight_init_std
            arrays[f"weights_{layer}"] = initial_weights(A, source, shape, std)
            arrays[f"biases_{layer}"] = np.zeros(shape[1], A.dtype)
        return cls(arrays, A, preparation)

    @classmethod
    def load(cls, arrays, settings, arithmetic, preparation):
        inputs = math.prod(pooled_shape(preparation))
        channels = len(arrays.get("biases_1", ()))
        outputs = len(preparation.classes)
        shapes = {"weights_1": (SIDE**2, channels), "biases_1": (channels,)}
        shapes |= {"weights_2": (inputs * channels, outputs), "biases_2": (outputs,)}
        for name in {*shapes, *arrays, *settings}:
            shape, array = shapes.get(name, ()), arrays.get(name, np.empty(0))
            if array.shape != shape or array.dtype != arithmetic.dtype or not array.size:
                raise ValueError(f"{name} is {array.shape}; expected {shape}")
        return cls(dict(arrays), arithmetic, preparation)

    @property
    def settings(self):
        return {}

    @property
    def layer_inputs(self):
        return [math.prod(self.preparation.image_shape), len(self.arrays["weights_2"])]

    def forward(self, X, masks):
        (W, b, V, c), A = self.arrays.values(), self.arithmetic
        first, second = masks or (KEEP_ALL, KEEP_ALL)
        rows, columns = pooled_shape(self.preparation)
        pixels = np.subtract(X, self.preparation.shift, dtype=A.dtype)  # exact
        pixels = first.apply(pixels).reshape(-1, *self.preparation.image_shape)
        patches = sliding_window_view(pixels, (SIDE, SIDE), axis=(1, 2))
        patches = patches[:, : 2 * rows, : 2 * columns].reshape(-1, SIDE**2)
        factor = self.preparation.scale * first.gain
        a = factor * A.matmul(patches, A.grid(W, operand_bits(len(W)))) + b
        blocks = RELU.function(A, a).reshape(len(X), rows, 2, columns, 2, -1)
        h = np.maximum.reduce(blocks, (2, 4))  # the pooling; a maximum is exact
        inputs, bits = second.apply(h.reshape(len(X), -1)), operand_bits(len(V))
        z = second.gain * A.matmul(A.grid_rows(inputs, bits), A.grid(V, bits)) + c
        return z, patches, blocks, h, inputs

    def logits(self, X):
        return self.forward(X, ())[0]

    def gradients(self, X, t, masks=()):
        _, _, V, _ = self.arrays.values()
        A, (first, second) = self.arithmetic, masks or (KEEP_ALL, KEEP_ALL)
        z, patches, blocks, h, inputs = self.forward(X, masks)
        y, shifted, total = softmax(A, z)
        dz = (y - t) / len(t)
        bits = operand_bits(len(t))
        dz_grid = A.grid(dz, bits)
        dV = second.gain * A.matmul(A.grid_rows(inputs.T, bits), dz_grid)
        bits = operand_bits(V.shape[1])
        dh = second.apply(A.matmul(A.grid_rows(dz, bits), A.grid(V.T, bits)))
        dh = second.gain * dh.reshape(h.shape) * RELU.gradient(h)
        winners = blocks == h[:, :, np.newaxis, :, np.newaxis]  # which of four pixels was largest
        da = (winners * dh[:, :, np.newaxis, :, np.newaxis]).reshape(len(patches), -1)
        da_grid = A.grid(da, operand_bits(len(da)))
        dW = self.preparation.scale * first.gain * A.matmul(patches.T, da_grid)
        gradients = [dW, A.column_sums(da_grid), dV, A.column_sums(dz_grid)]
        return gradients, loss_terms(shifted, total, t)

    def first_layer(self):
        return self.arrays["weights_1"], (SIDE, SIDE)
