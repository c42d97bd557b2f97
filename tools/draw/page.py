"""A page to draw on: one HTML file that needs no network, with the trained network and its scripts in it."""

import base64
import json
from pathlib import Path

import numpy as np

from mlp.arithmetic import ARITHMETICS, SMALLEST_UNIT, operand_bits
from mlp.network import Network
from pipeline.evaluation.evaluation import Evaluation
from pipeline.store.artifacts import Prepared

FOLDER = Path(__file__).parent
SCRIPTS = ("network.js", "strokes.js", "preparation.js", "page.js")
RIGHT, WRONG = 10, 6  # test images on the page


def make_page(network: Network, md5: str, test: tuple[Prepared, Evaluation] | None) -> str:
    """Return the page as HTML.

    Args:
        network: the trained network.
        md5: the MD5 of its file, in hexadecimal.
        test: the test images, and how the network does on them; None leaves both out.

    Raises:
        FloatingPointError: a weight is too large to compute with.
    """
    data = model_data(network) | {"md5": md5}
    if test:
        data |= {"accuracy": accuracy(test[1]), "examples": examples(*test)}
    page = (FOLDER / "page.html").read_text(encoding="utf-8")
    scripts = "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS)
    # Inside of a script, HTML ends at the first "</script", wherever it stands
    document = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    style = (FOLDER / "page.css").read_text(encoding="utf-8")
    for name, content in (("STYLE", style), ("SCRIPTS", scripts), ("DATA", document)):
        page = page.replace(f"/* {name} */", content, 1)
    return page


def model_data(network: Network) -> dict[str, object]:
    """Return a network as JSON's types: the weights on the grids of `forward`, 3 bytes each, in base64.

    Raises:
        FloatingPointError: a weight is too large to compute with.
    """
    preparation = network.preparation
    return {
        "activation": network.activation.name,
        "arithmetic": network.arithmetic.name,
        "shift": preparation.shift,
        "scale": preparation.scale,
        "imageShape": preparation.image_shape,
        "classes": preparation.classes,
        "fitted": preparation.fitted,
        "inverted": preparation.inverted,
        "layers": [layer_data(W, b) for W, b in zip(network.weights, network.biases, strict=True)],
    }


def layer_data(W: np.ndarray, b: np.ndarray) -> dict[str, object]:
    """Return a layer, W of shape (in, out) and b of shape (out,), as JSON's types."""
    A = ARITHMETICS["exact"]
    W = W.astype(np.float64)
    bits = operand_bits(len(W))
    unit = max(A.exponent(W) - bits, SMALLEST_UNIT)
    whole = np.ldexp(A.grid(W, bits), -unit).astype("<i4")  # of at most 21 bits and a sign
    return {
        "inputs": len(W),
        "outputs": len(b),
        "bits": bits,
        "unit": unit,
        "weights": in_base64(whole.view(np.uint8).reshape(-1, 4)[:, :3]),
        "biases": in_base64(b.astype("<f8")),
    }


def accuracy(evaluation: Evaluation) -> float:
    """Return the share of images that the network got right."""
    return float(np.mean(evaluation.actual == evaluation.predicted))


def examples(prepared: Prepared, evaluation: Evaluation) -> list[dict[str, object]]:
    """Return some test images: the first right one of each class, then the most confident mistakes."""
    right = [
        np.flatnonzero((evaluation.actual == number) & (evaluation.predicted == number))[:1] for number in range(RIGHT)
    ]
    places = [*np.concatenate(right).tolist(), *evaluation.mistakes.place[:WRONG].tolist()]
    return [
        {"image": in_base64(prepared.split.images[[place]]), "class": int(evaluation.actual[place]), "place": place}
        for place in places
    ]


def in_base64(array: np.ndarray) -> str:
    """Return the bytes of an array as base64."""
    return base64.b64encode(array.tobytes()).decode("ascii")
