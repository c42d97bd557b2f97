"""YAML files, read as DVC reads them: by ruamel.yaml, in YAML 1.2. By YAML 1.1, `1e-3` would be text and `no` false."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.program.errors import UserError, clip


def load_plain_yaml(path: Path) -> Any:
    """Read the file into dicts, lists and scalars.

    Raises:
        UserError: the file is missing, is not UTF-8 or not YAML, or a mapping has a key twice.
    """
    try:
        # ruamel.yaml refuses what is no UTF-8 after it was escaped
        return parse_plain_yaml(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}.", path=path) from None
    except UserError as error:
        raise UserError(f"{path}: {error}.", path=path, about=error.about) from None


def parse_plain_yaml(text: str) -> Any:
    """Read text as the file is read. A UserError says what is wrong with it, without a full stop."""
    try:
        return YAML(typ="safe").load(text)
    except Exception as error:  # odd escapes and deep nesting raise other errors than YAMLError
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}" if mark else ""
        problem = clip(str(getattr(error, "problem", None) or error))
        raise UserError(f"not YAML{line and f' in {line}'}: {problem}", about=line) from None
