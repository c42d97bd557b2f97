"""The points of a sweep: every combination of the values, each checked and named by what it will run."""

import hashlib
import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.program.errors import UserError
from pipeline.settings.checked import show
from pipeline.settings.params import Params, load_params
from pipeline.settings.plain_yaml import load_plain_yaml, parse_plain_yaml

DIGITS = 10  # of a name's hash: two of 10,000 points have the same once in 20,000 sweeps


class Point(NamedTuple):
    """An experiment to run.

    Attributes:
        name: its name in DVC.
        changes: its parameters, such as "train.seed=3".
    """

    name: str
    changes: list[str]


def points(prefix: str, axes: list[str], params: Path, rev: str, recipes: Sequence[Path] = ()) -> list[Point]:
    """Return the experiments for every combination of the values of `axes`, such as "train.seed=0,1,2".

    The parameter files of `recipes` take part in the combinations. What one says otherwise than `params` becomes
    changes, except of the parameters that `axes` has.

    A name is the prefix and a hash of the commit and of all parameters. So the same point always has the same name, and
    two combinations that are the same parameters are one point.

    Raises:
        UserError: the prefix is no name, an axis has no values or is given twice, DVC would read a value otherwise, a
            recipe is no parameter file, or some combination is not allowed as parameters.
    """
    if not re.fullmatch(r"\w[\w.-]*", prefix) or ".." in prefix:
        raise UserError(f"NAME is {show(prefix)}; expected letters, digits, -, _ and ., such as rate.")
    keys = [axis.partition("=")[0] for axis in axes]
    if twice := {key for key in keys if keys.count(key) > 1}:
        raise UserError(f"-S has {', '.join(sorted(twice))} twice; give all values at once: KEY=VALUE,VALUE.")
    values = [_changes(axis) for axis in axes]
    bases = [_differences(params, recipe, keys) for recipe in recipes] or [[]]
    found: dict[str, Point] = {}
    for changes in ([*base, *last] for base in bases for last in itertools.product(*values)):
        parameters = load_params(params, changes).model_dump(mode="json")
        digest = hashlib.sha256(json.dumps([rev, parameters], sort_keys=True).encode()).hexdigest()[:DIGITS]
        found.setdefault(f"{prefix}-{digest}", Point(f"{prefix}-{digest}", changes))
    for change in itertools.chain(*bases, *values):  # last, because load_params says more of what is wrong
        _check_grammar(change)
    return list(found.values())


def _changes(axis: str) -> list[str]:
    """Return a change for each value of an axis. Values are split at commas outside of brackets."""
    key, _, values = axis.partition("=")
    parts = re.findall(r"(?:\[[^\]]*\]|[^,])+", values)
    if not values or ",".join(parts) != values:
        raise UserError(f"-S is {show(axis)}; expected SECTION.KEY=VALUE,VALUE, such as train.seed=0,1,2.")
    return [f"{key}={part.strip()}" for part in parts]


def _differences(params: Path, recipe: Path, without: list[str]) -> list[str]:
    """Return the changes that turn `params` into `recipe`, except those of the keys `without`."""
    for path in (params, recipe):
        load_params(path)  # checks it
    old, new = load_plain_yaml(params), load_plain_yaml(recipe)
    return [
        f"{section}.{key}={json.dumps(value)}"
        for section in sorted(Params.model_fields.keys() - {"record"})
        for key, value in new[section].items()
        if value != old[section][key] and f"{section}.{key}" not in without
    ]


def _check_grammar(change: str) -> None:
    """Raise a UserError unless DVC reads a change as this project does: its `-S` has the grammar of Hydra."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        read = OverridesParser.create().parse_override(change).value()
    except HydraException:
        raise UserError(f"-S is {show(change)}, which DVC cannot read; put the value in quotes.") from None
    if json.dumps(read) != json.dumps(parse_plain_yaml(change.partition("=")[2])):
        raise UserError(f"-S is {show(change)}, where DVC reads {show(read)}; write the value in another way.")
