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
from pipeline.evaluation.evaluation import evaluate
from pipeline.program.errors import UserError
from pipeline.store.artifacts import check_alike, load_prepared

FOLDER = Path(__file__).parent
IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+\.js)";\n', re.MULTILINE)
ONLY_IN_MODULES = re.compile(r"^export |^/\*\* @import .*\n", re.MULTILINE)
RIGHT, WRONG = 10, 6  # test images on the page


def make_page(network: MLP, data: dict[str, Any], files: dict[str, bytes]) -> str:
    """Return the page as HTML.

    `data` has what `measured` returns, and what the page needs to train, `proof`; each may be
    missing. `files` are the network's, `model`, and those to train with.
    """
    md5 = hashlib.md5(files["model"]).hexdigest()
    data = about(network) | {"md5": md5} | data
    scripts = [
        f'<script type="text/plain" id="{name}">{in_base64(content)}</script>'
        for name, content in files.items()
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


def measured(network: MLP, model: Path, test: Path) -> dict[str, Any]:
    """Return the accuracy on the test images, and some images: the first right one of each class,
    then the most confident mistakes. `model` is the network's file.
    """
    prepared = load_prepared(test)
    check_alike(model, network.preparation, test, prepared.preparation)
    images = prepared.split.images
    try:
        _, actual, predicted, mistakes = evaluate(network, prepared.split)
    except FloatingPointError:
        what = f"{model}: its weights are too large to compute with"
        raise UserError(f"{what}; train with a smaller train.learning_rate.") from None
    is_right = actual == predicted
    right = [np.flatnonzero((actual == number) & is_right)[:1] for number in range(RIGHT)]
    examples = [
        {"image": in_base64(images[place]), "number": int(actual[place]), "place": place}
        for place in [*np.concatenate(right).tolist(), *mistakes.place[:WRONG].tolist()]
    ]
    return {"accuracy": float(np.mean(is_right)), "examples": examples}


def in_base64(content: np.ndarray | bytes) -> str:
    """Return bytes, or those of an array, as base64."""
    return base64.b64encode(bytes(content)).decode("ascii")
