"""The points of a sweep: every combination of the values, each checked and named by what it will run."""

import hashlib
import itertools
import json
import re
from pathlib import Path
from typing import NamedTuple

from pipeline.program.errors import UserError
from pipeline.settings.checked import show
from pipeline.settings.params import load_params

DIGITS = 10  # of a name's hash: two of 10,000 points have the same once in 20,000 sweeps


class Point(NamedTuple):
    """An experiment to run.

    Attributes:
        name: its name in DVC.
        changes: its parameters, such as "train.seed=3".
    """

    name: str
    changes: list[str]


def points(prefix: str, axes: list[str], params: Path, rev: str) -> list[Point]:
    """Return the experiments for every combination of the values of `axes`, such as "train.seed=0,1,2".

    A name is the prefix and a hash of the commit and of all parameters. So the same point always has the same name, and
    two combinations that are the same parameters are one point.

    Raises:
        UserError: an axis has no values, or some combination is not allowed as parameters.
    """
    found: dict[str, Point] = {}
    for changes in itertools.product(*map(_changes, axes)):
        parameters = load_params(params, changes).model_dump(mode="json")
        digest = hashlib.sha256(json.dumps([rev, parameters], sort_keys=True).encode()).hexdigest()[:DIGITS]
        found.setdefault(f"{prefix}-{digest}", Point(f"{prefix}-{digest}", list(changes)))
    return list(found.values())


def _changes(axis: str) -> list[str]:
    """Return a change for each value of an axis. Values are split at commas outside of brackets."""
    key, equals, values = axis.partition("=")
    parts = re.findall(r"(?:\[[^\]]*\]|[^,])+", values)
    if not equals or not parts:
        raise UserError(f"-S is {show(axis)}; expected SECTION.KEY=VALUE,VALUE, such as train.seed=0,1,2.")
    return [f"{key}={part.strip()}" for part in parts]
