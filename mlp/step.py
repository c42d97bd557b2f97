"""One step of gradient descent, in shares that two processes can do at the same time.

The first layer has nearly all of the work, 784 × 50 of the default network's 39,700 weights. So each share has the
products of half the pixels, for all images of the batch: half the columns of X, and half the rows of W₁. In the layers
after it, each share has half of the images. The shares are the same whoever does them, and so are the bits.
"""

import math

import numpy as np

from mlp.arithmetic import ARITHMETICS
from mlp.layers import bias_gradient, softmax_parts
from mlp.network import Network, backward, forward, widen
from mlp.team import SHARES, Team

# OpenBLAS multiplies (m, k) by (k, n) without packing them first, and a quarter faster, while m n k is at most this.
SMALL_PRODUCT = 100**3
FEWEST_PIXELS = 64  # that are worth a product of their own


def share_of(n: int, share: int) -> slice:
    """Return which of n things belong to a share."""
    return slice(n * share // SHARES, n * (share + 1) // SHARES)


def zeros(team: Team, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Return an array of zeros that all processes of the team have in common."""
    n = math.prod(shape)
    return np.frombuffer(team.memory(n * np.dtype(dtype).itemsize), dtype, n).reshape(shape)


class Step:
    """Gradient descent on mini-batches of a fixed size.

    Args:
        network: to train. Its parameters are moved to arrays that the team has in common.
        images: (n, features) uint8, to train it on.
        batch_size: of each mini-batch.
        learning_rate: how far to go down the gradient.
        team: who does which shares.
    """

    def __init__(self, network: Network, images: np.ndarray, batch_size: int, learning_rate: float, team: Team):
        self.network = network
        self.team = team
        self.arithmetic = arithmetic = ARITHMETICS[network.arithmetic]
        # ∂loss/∂logits = (y − t) / batch. The chain rule is linear, so the learning rate is applied there too, to the
        # smallest matrix there is, and what comes back are not the gradients but the steps.
        self.length = learning_rate / batch_size
        dtype = arithmetic.dtype
        features, out = network.weights[0].shape

        # What one process writes and another reads
        for parameters in (network.weights, network.biases):
            for layer, values in enumerate(parameters):
                parameters[layer] = zeros(team, values.shape, dtype)
                parameters[layer][...] = values
        self.products = [zeros(team, (batch_size, out), dtype) for _ in range(SHARES)]
        self.dproduct = zeros(team, (batch_size, out), dtype)
        self.dWs = [zeros(team, (SHARES, *W.shape), dtype) for W in network.weights[1:]]
        self.dbs = [zeros(team, (SHARES, *b.shape), dtype) for b in network.biases[1:]]

        self.pixels = [share_of(features, share) for share in range(SHARES)]
        self.rows = [share_of(batch_size, share) for share in range(SHARES)]
        self.images = [np.ascontiguousarray(images[:, pixels]) for pixels in self.pixels]

        # Which of its pixels a share multiplies at once
        block = SMALL_PRODUCT // (batch_size * out)
        if block < FEWEST_PIXELS:
            block = features
        self.blocks = [
            [slice(start, start + block) for start in range(0, max(part.shape[1], 1), block)] for part in self.images
        ]

        # The large arrays of each share, allocated once
        self.batches = [np.empty((batch_size, part.shape[1]), np.uint8) for part in self.images]
        self.Xs = [np.empty(batch.shape, dtype) for batch in self.batches]
        # Gridded weights at first; when the gradient is formed they have served, and it takes their place.
        self.buffers = [np.empty((part.shape[1], out), dtype) for part in self.images]

    def __call__(self, batch: np.ndarray, labels: np.ndarray, total: np.ndarray, shifted: np.ndarray) -> None:
        """Take one step.

        Args:
            batch: (batch,) integers: which images.
            labels: (batch, classes) uint8, one-hot.
            total: (batch, 1), and
            shifted: (batch, classes), where to write the parts of the loss before the step: see `softmax_parts`.

        Raises:
            FloatingPointError: a number is no longer finite.
        """
        network, arithmetic, shares = self.network, self.arithmetic, self.team.shares
        for share in shares:
            self.multiply(share, batch)
        self.team.meet()

        weights = [arithmetic.grid(W) for W in network.weights[1:]]
        for share in shares:
            rows = self.rows[share]
            self.descend(share, weights, labels[rows], total[rows], shifted[rows])
        self.team.meet()

        dproduct = arithmetic.grid(self.dproduct)
        for share in shares:
            self.update(share, dproduct)

    def multiply(self, share: int, batch: np.ndarray) -> None:
        """Form the product X W₁, (batch, out), over the share's pixels. `batch` is (batch,) integers: which images.

        Raises:
            FloatingPointError: a weight is no longer finite.
        """
        # mode="clip" lets NumPy write straight into `out`; no index is out of range
        images = np.take(self.images[share], batch, axis=0, out=self.batches[share], mode="clip")
        X = widen(self.network, images, self.Xs[share])
        W = self.arithmetic.grid(self.network.weights[0][self.pixels[share]], out=self.buffers[share])
        first, *others = self.blocks[share]
        product = self.arithmetic.matmul(X[:, first], W[first], out=self.products[share])
        for block in others:
            product += self.arithmetic.matmul(X[:, block], W[block])

    def descend(self, share: int, weights: list[np.ndarray], labels, total, shifted) -> None:
        """Go forward from the product to the loss and back, for the share's images.

        Args:
            share: whose.
            weights: of the layers after the first, on grids.
            labels: (images, classes), one-hot.
            total: (images, 1), and
            shifted: (images, classes), where to write the parts of the loss.

        Raises:
            FloatingPointError: a number is no longer finite.
        """
        network, rows = self.network, self.rows[share]
        one, other = self.products
        logits, inputs = forward(network, one[rows] + other[rows], weights)
        y, shifted[...], total[...] = softmax_parts(self.arithmetic, logits)
        if not math.isfinite(np.maximum.reduce(total, None, initial=0.0)):
            raise FloatingPointError("the loss is not finite")
        dlogits = y - labels
        dlogits *= self.length
        self.dproduct[rows], dWs, dbs = backward(network, dlogits, inputs, weights)
        for mine, found in zip(self.dWs + self.dbs, dWs + dbs, strict=True):
            mine[share] = found

    def update(self, share: int, dproduct: np.ndarray) -> None:
        """Go the steps: W₁ ← W₁ − Xᵀ dproduct for the share's pixels. One share adds b₁'s, the other all later layers'.

        `dproduct`, (batch, out) on a grid, is ∂loss/∂(X W₁). Since a = scale · X W₁ + b₁, that is scale times ∂loss/∂a,
        and the gradient of b₁ is its sum divided by scale.
        """
        network = self.network
        XT, dW = self.Xs[share].T, self.buffers[share]
        for block in self.blocks[share]:
            self.arithmetic.matmul(XT[block], dproduct, out=dW[block])
        network.weights[0][self.pixels[share]] -= dW
        if share == 0:
            network.biases[0] -= bias_gradient(self.arithmetic, dproduct) / network.scale
        else:
            parameters, steps = network.weights[1:] + network.biases[1:], self.dWs + self.dbs
            for parameter, (one, other) in zip(parameters, steps, strict=True):
                parameter -= one + other
