"""What a commit could show in plots that no stage makes: a page, or data in a template."""

import json
from collections.abc import Iterator
from contextlib import suppress
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
            with suppress(ValueError, RecursionError):  # DVC cannot read it either
                parts = list(_parts(json.loads(content)))
                is_template = any(part == DATA for _, part in parts)
                if is_template and any(_is_data(*pair) for pair in parts):
                    name = clip(path.relative_to(folder).as_posix())
                    raise UserError(f"the template {name} has data of its own; expected {DATA}.")


def _parts(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all parts of a JSON document, each with the last key before it."""
    yield key, value
    pairs = value.items() if isinstance(value, dict) else ()
    for name, part in [(key, one) for one in value] if isinstance(value, list) else pairs:
        yield from _parts(part, name)


def _is_data(key: str, part: Any) -> bool:
    if key != "data" or not isinstance(part, dict):
        return key == "datasets"
    return "url" in part or part.get("values", DATA) != DATA
