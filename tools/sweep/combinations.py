"""The experiments of a sweep: all combinations of values, checked, and named by what they run."""

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.program.errors import UserError
from pipeline.settings.checked import check, parse_plain_yaml, show
from pipeline.settings.params import Params, load_params, read_values


def combinations(
    prefix: str, axes: list[str], params: Path, rev: str, recipes: Sequence[Path] = ()
) -> list[dict[str, Any]]:
    """Return an experiment for every combination of `recipes` and values: "train.seed=0,1,2".

    A recipe is a parameter file in place of `params`. The same parameters are one experiment, and
    always have the same name in the same commit.

    Returns:
        Of each its `name`, its `changes` of `params`, such as 'train.activation="relu"', and as
        text the `parameters` that tell it from the others.

    Raises:
        UserError: the prefix, an axis, a file or a combination is not allowed.
    """
    if not re.fullmatch(r"\w[\w.-]{0,99}", prefix) or ".." in prefix:
        expected = "at most 100 letters, digits, -, _ and ., such as rate"
        raise UserError(f"NAME is {show(prefix)}; expected {expected}.")
    values: dict[str, list[str]] = {}
    for axis in axes:
        key, _, text = axis.partition("=")
        parts = re.findall(r"(?:\[[^\]]*\]|[^,])+", text)  # split at commas outside of brackets
        if not text or ",".join(parts) != text:
            expected = "SECTION.KEY=VALUE,VALUE, such as train.seed=0,1,2"
            raise UserError(f"-S is {show(axis)}; expected {expected}.")
        values.setdefault(key, []).extend(f"{key}={part.strip()}" for part in parts)
    shown = [key for key in values if len(values[key]) > 1] or list(values)
    old = _flat(load_params(params))
    found: dict[str, dict[str, Any]] = {}
    for file in recipes or [params]:
        for combination in itertools.product(*values.values()):
            new = _flat(load_changed(file, combination))
            # Of 10 digits, two of 10,000 experiments have the same once in 20,000 sweeps
            whole = json.dumps([rev, new], sort_keys=True).encode()
            digest = hashlib.sha256(whole).hexdigest()[:10]
            # DVC's -S has the grammar of Hydra, which reads JSON as JSON
            changed = [key for key in new if new[key] != old[key]]
            changes = [f"{key}={json.dumps(new[key])}" for key in changed]
            texts = [f"{key}={_text(new[key])}" for key in shown]
            parameters = ", ".join([str(file), *texts] if recipes else texts)
            one = {"name": f"{prefix}-{digest}", "changes": changes, "parameters": parameters}
            found.setdefault(digest, one)
    return list(found.values())


def load_changed(path: Path, changes: Iterable[str]) -> Params:
    """Read and check a parameter file, with some values replaced: "train.seed=3". A value is YAML.

    Raises:
        UserError: the file or a change is not right. The sentence names it.
    """
    load_params(path)  # a mistake of the file is not one of a change
    values = read_values(path)
    changed: dict[str, str] = {}
    for change in changes:
        parts = re.fullmatch(r"(\w+)\.(\w+)=(.+)", change)
        if not parts:
            expected = "SECTION.KEY=VALUE, such as train.seed=3"
            raise UserError(f"-S is {show(change)}; expected {expected}.")
        section, key, text = parts.groups()
        try:
            values.setdefault(section, {})[key] = parse_plain_yaml(text)
        except UserError as error:
            raise UserError(f"-S is {show(change)}: {error}.") from None
        changed |= {f"{section}.{key}": change, section: change}
    try:
        return check(path, Params, values)
    except UserError as error:
        if error.about not in changed:
            raise
        what = f"-S is {show(changed[error.about])}: {str(error).removeprefix(f'{path}: ')}"
        raise UserError(what, about=error.about) from None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _flat(params: Params) -> dict[str, Any]:
    """Return the parameters by their dotted keys."""
    sections = params.model_dump(mode="json")
    return {
        f"{section}.{key}": value
        for section, values in sections.items()
        for key, value in values.items()
    }
