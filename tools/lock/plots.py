"""What a commit could show in plots that no stage makes: a page, or data in a template."""

import json
from pathlib import Path
from typing import Any

from pipeline.program.errors import UserError, clip

DATA = "<DVC_METRIC_DATA>"  # DVC's mark in a template, in place of the data


def check_plots(folder: Path) -> None:
    """Check the files of a commit, before `.dvc` is deleted.

    Raises:
        UserError: `.dvc/config` names a page for plots, or a template has data of its own.
    """
    config = folder / ".dvc" / "config"
    if config.exists() and b"html_template" in config.read_bytes().lower():
        raise UserError(".dvc/config has html_template: the page may show what no stage makes.")
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        if content.lstrip().startswith((b"{", b"[")):
            try:
                template = json.loads(content)
                is_own = DATA in _values(template) and _has_data(template)
            except (ValueError, RecursionError):  # DVC cannot read it either
                continue
            if is_own:
                name = clip(path.relative_to(folder).as_posix())
                raise UserError(f"the template {name} has data of its own; expected {DATA}.")


def _values(value: Any) -> list[Any]:
    """Return all texts, numbers and so on in a JSON document."""
    if isinstance(value, dict):
        value = list(value.values())
    return [one for part in value for one in _values(part)] if isinstance(value, list) else [value]


def _has_data(value: Any, key: str = "") -> bool:
    """Return whether a Vega document has data, or an address of data, that DVC does not fill in."""
    if isinstance(value, list):
        return any(_has_data(one, key) for one in value)
    if not isinstance(value, dict):
        return False
    own = [value[name] for name in ("values", "url") if name in value and value[name] != DATA]
    is_own = key == "datasets" or (key == "data" and own)
    return bool(is_own) or any(_has_data(one, name) for name, one in value.items())
