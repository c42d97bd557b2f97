"""The step that docs/mathematics.md works through: the page has it, a calculator agrees, and so do two other ways."""

import math
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from mlp.layers import cross_entropy
from mlp.network import gradients
from tests import reference
from tests.conftest import ROOT
from tests.networks import Float64
from tools.pencil import LEARNING_RATE, markdown, pencil, tiny_network, worked_step

PAGE = (ROOT / "docs" / "mathematics.md").read_text(encoding="utf-8")
TABLE = re.findall(r"^\| (.+?) \| .+? \| `(.+?)` \| `(.+?)` \|$", markdown(), re.MULTILINE)


@pytest.fixture
def rows() -> dict[str, np.ndarray]:
    """The numbers of the step, not rounded, by name."""
    return {row.name: row.numbers for row in worked_step(*tiny_network(), LEARNING_RATE)}


def test_page_has_what_the_command_prints():
    printed = CliRunner().invoke(pencil, []).stdout
    (shown,) = re.findall(r"<!-- python -m tools\.pencil -->\n(.*)<!-- end -->", PAGE, re.DOTALL)
    assert shown == printed, "put what `python -m tools.pencil` prints between the marks in docs/mathematics.md"


@pytest.mark.parametrize(("name", "numbers", "formula"), TABLE)
def test_pocket_calculator_agrees(name, numbers, formula):
    python = formula.replace("·", "*").replace("^", "**")
    result = eval(python, {"e": math.e, "ln": math.log})
    last = np.ravel(eval(numbers))[-1]
    assert abs(round(result, 4) - last) < 1.5e-4  # the last digit may differ by one


def test_gradients_agree_with_central_differences(rows):
    network, batch = tiny_network()
    network.arithmetic = Float64()  # without the grids, whose roundings would show in so small a difference

    def loss() -> float:
        return cross_entropy(network.arithmetic, gradients(network, *batch)[2])

    parameters = dict(zip(("W₁", "W₂", "b₁", "b₂"), network.weights + network.biases, strict=True))
    for name, parameter in parameters.items():
        for place in np.ndindex(parameter.shape):
            before = parameter[place]
            parameter[place] = before + 1e-4
            above = loss()
            parameter[place] = before - 1e-4
            below = loss()
            parameter[place] = before
            assert math.isclose((above - below) / 2e-4, rows[f"d{name}"][place], abs_tol=1e-5), f"d{name}{place}"


def test_step_agrees_with_the_textbook_network(rows):
    network, batch = tiny_network()
    weights, biases, loss = reference.step(
        network.weights, network.biases, "sigmoid", batch.images / 255, batch.labels, LEARNING_RATE
    )
    assert math.isclose(rows["L"], loss, rel_tol=1e-5)
    for layer, (W, b) in enumerate(zip(weights, biases, strict=True)):
        np.testing.assert_allclose(rows[f"new {('W₁', 'W₂')[layer]}"], W, rtol=1e-5)
        np.testing.assert_allclose(rows[f"new {('b₁', 'b₂')[layer]}"], b, rtol=1e-5)
