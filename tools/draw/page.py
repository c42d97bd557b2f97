"""A page to draw on: one HTML file that needs no network, with the trained network and its scripts
in it.
"""

import base64
import hashlib
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mlp.network import MLP
from pipeline.evaluation.evaluation import Evaluation
from pipeline.store.artifacts import Prepared
from tools.draw.proof import Proof

FOLDER = Path(__file__).parent
IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+\.js)";\n', re.MULTILINE)
ONLY_IN_MODULES = re.compile(r"^export |^/\*\* @import .*\n", re.MULTILINE)
RIGHT, WRONG = 10, 6  # test images on the page


def make_page(
    network: MLP, file: bytes, test: tuple[Prepared, Evaluation] | None, proof: Proof | None
) -> str:
    """Return the page as HTML.

    Args:
        network: the trained network.
        file: its file.
        test: the test images, and how the network does on them; None leaves both out.
        proof: what the page needs to train; None leaves that part out.
    """
    data = about(network) | {"md5": hashlib.md5(file).hexdigest()}
    if test:
        accuracy = float(np.mean(test[1].actual == test[1].predicted))
        data |= {"accuracy": accuracy, "examples": examples(*test)}
    files = {"model": file}
    if proof:
        data["proof"], files = proof.data, files | proof.files
    scripts = [
        f'<script type="text/plain" id="{name}">{in_base64(file)}</script>'
        for name, file in files.items()
    ]
    parts = {
        "STYLE": read("page.css"),
        "WORKER": bundle("worker.js"),
        "PAGE": bundle("train.js"),
        # Inside of a script, HTML ends at the first "</script", wherever it stands
        "DATA": json.dumps(data, ensure_ascii=False).replace("<", "\\u003c"),
        "FILES": "\n".join(scripts),
    }
    # In one pass: a class may have the name "/* FILES */"
    return re.sub(r"/\* ([A-Z]+) \*/", lambda found: parts[found[1]], read("page.html"))


def read(name: str) -> str:
    """Return the text of a file of this folder."""
    return (FOLDER / name).read_text(encoding="utf-8")


def bundle(*names: str) -> str:
    """Return some modules, and the modules that they import, as one script.

    Each is in it once, after those that it imports. So no two may use one name at the top.
    """
    scripts: dict[str, str] = {}

    def add(name: str) -> None:
        if name not in scripts:
            text = read(name)
            for imported in IMPORT.findall(text):
                add(imported)
            scripts[name] = ONLY_IN_MODULES.sub("", IMPORT.sub("", text))

    for name in names:
        add(name)
    return "\n".join(scripts.values())


def about(network: MLP) -> dict[str, Any]:
    """Return what the page knows of a network beside its parameters, as JSON's types."""
    names = {"activation": network.activation.name, "arithmetic": network.arithmetic.name}
    return names | asdict(network.preparation)


def examples(prepared: Prepared, evaluation: Evaluation) -> list[dict[str, object]]:
    """Return some test images: the first right one of each class, then the most confident
    mistakes.
    """
    images, actual, predicted = prepared.split.images, evaluation.actual, evaluation.predicted
    right = [
        np.flatnonzero((actual == number) & (predicted == number))[:1] for number in range(RIGHT)
    ]
    places = [*np.concatenate(right).tolist(), *evaluation.mistakes.place[:WRONG].tolist()]
    return [{"image": in_base64(images[n]), "number": int(actual[n]), "place": n} for n in places]


def in_base64(content: np.ndarray | bytes) -> str:
    """Return bytes, or those of an array, as base64."""
    return base64.b64encode(bytes(content)).decode("ascii")
