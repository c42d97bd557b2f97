"""The training step of docs/mathematics.md: its numbers are those of mlp, and of a calculator."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from mlp.arithmetic import ARITHMETICS
from mlp.layers import ACTIVATIONS, cross_entropy, softmax
from mlp.network import MLP
from mlp.protocol import Preparation
from tests.support.networks import dot, take_step
from tests.support.project import ROOT

PAGE = (ROOT / "docs" / "mathematics.md").read_text(encoding="utf-8")
_, _, SECTION = PAGE.partition("## One step by hand\n")
GIVEN = re.findall(r"^    (\S+) = (.+)$", SECTION, re.MULTILINE)
TABLE = re.findall(r"^\| (.+?) \| .+? \| `(.+?)` \| `(.+?)` \|$", SECTION, re.MULTILINE)
(RATE,) = re.findall(r"The learning rate η is (.+)\.\n", SECTION)
(LOSS_AFTER,) = re.findall(r"The loss of the same two images is now (.+)\.\n", SECTION)
# The numbers as the page writes them, by name
SHOWN = {"loss after": LOSS_AFTER}
for shown_name, shown, *_ in [*GIVEN, *TABLE]:
    SHOWN[shown_name] = json.loads(re.sub(r"-?[\d.]+", r'"\g<0>"', shown))
NAMES = ["a", "h", "z", "y", "loss of each image", "L"]
NAMES += ["dz", "dW₂", "db₂", "dh", "da", "dW₁", "db₁"]
NAMES += ["new W₁", "new b₁", "new W₂", "new b₂"]


@pytest.fixture(scope="module")
def computed() -> dict[str, np.ndarray]:
    """The numbers of the step by mlp, not rounded, from the inputs on the page."""
    given = ("X", "t", "W₁", "b₁", "W₂", "b₂")
    X, t, W1, b1, W2, b2 = (np.array(SHOWN[name], float) for name in given)
    images, t = np.rint(255 * X).astype(np.uint8), t.astype(np.uint8)
    preparation = Preparation(0.0, 1 / 255, (1, 2), ("0", "1"))
    network = MLP([W1, W2], [b1, b2], ACTIVATIONS["sigmoid"], ARITHMETICS["exact"], preparation)
    A = network.arithmetic

    a, _ = replace(network, weights=[W1], biases=[b1]).forward(images)
    z, (_, h) = network.forward(images)
    y, _, _ = softmax(A, z)
    (dW1, dW2, db1, db2), terms = network.gradients(images, t)
    dz = (y - t) / len(t)
    dh = dot(A, dz, W2.T)
    losses = [cross_entropy(A, terms[:, [image]]) for image in range(len(t))]
    values = [a, h, z, y, losses, cross_entropy(A, terms)]
    values += [dz, dW2, db2, dh, dh * network.activation.gradient(h), dW1, db1]
    take_step(network, images, t, float(RATE))  # it changes W1, b1, W2 and b2
    loss_after = cross_entropy(A, network.gradients(images, t)[1])
    return dict(zip([*NAMES, "loss after"], [*values, W1, b1, W2, b2, loss_after], strict=True))


@pytest.mark.parametrize("name", [*NAMES, "loss after"])
def test_mlp_computes_the_numbers(computed, name):
    shown = np.array(SHOWN[name], float)
    np.testing.assert_allclose(shown, computed[name], rtol=0, atol=0.50001e-4)
