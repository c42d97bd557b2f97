"""YAML files, read as DVC reads them."""

import re
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import yaml

from pipeline.program.errors import UserError, clip


def load_plain_yaml(path: Path) -> Any:
    """Read the file into dicts, tuples and scalars.

    Raises:
        UserError: the file is missing, is not UTF-8 or not YAML, or a mapping has a key twice.
    """
    try:
        return parse_plain_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}.", path=path) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not YAML: {clip(str(error))}.", path=path) from None
    except UserError as error:
        raise UserError(f"{path}: {error}.", path=path, about=error.about) from None


def parse_plain_yaml(text: str) -> Any:
    """Read text as the file is read. A UserError says what is wrong with it, without a full stop."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}" if error.problem_mark else ""
        place = f" in {line}" if line else ""
        raise UserError(f"not YAML{place}: {clip(error.problem or 'unreadable')}", about=line) from None
    except RecursionError:
        raise UserError("nested too deeply") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # odd escapes
        raise UserError(f"not YAML: {clip(str(error))}") from None


class LongNumber:
    """A whole number so long that it would not be exact as a float. It is no text either, so nothing accepts it."""

    def __init__(self, text: str):
        self._text = text

    def __str__(self) -> str:
        return self._text


class _Loader(yaml.BaseLoader):
    """Reads mappings, lists and text. PyYAML's other loaders read scalars by YAML 1.1, but DVC uses YAML 1.2."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        mapping: dict[Hashable, Any] = {}
        if node.tag != "tag:yaml.org,2002:map":
            raise yaml.MarkedYAMLError(problem="a mapping has a tag", problem_mark=node.start_mark)
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key is not a name", problem_mark=key.start_mark)
            if key.value in mapping:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value} is there twice", problem_mark=key.start_mark)
            mapping[key.value] = self.construct_object(value, deep)
        return mapping


def _read_list(loader: _Loader, node: yaml.SequenceNode) -> tuple[Any, ...]:
    return tuple(loader.construct_sequence(node))


_Loader.add_constructor("tag:yaml.org,2002:seq", _read_list)


def _add_scalar(kind: str, pattern: str, read: Callable[[str], Any]) -> None:
    """Let `read` convert unquoted text that matches `pattern`."""

    def construct(loader: _Loader, node: yaml.ScalarNode) -> Any:
        try:
            return read(loader.construct_scalar(node))  # refuses `!!int [1]`, a list with the tag of a number
        except ValueError:  # `!!int 0x10`: DVC reads it
            raise yaml.MarkedYAMLError(problem=f"not a plain {kind}", problem_mark=node.start_mark) from None

    tag = f"tag:yaml.org,2002:{kind}"
    _Loader.add_implicit_resolver(tag, re.compile(rf"(?:{pattern})\Z"), None)
    _Loader.add_constructor(tag, construct)


# The rules of YAML 1.2, for decimal numbers. By YAML 1.1, `1e-3` would be text, `on` true and `1:30` ninety.
_add_scalar("null", "|~|null|Null|NULL", lambda text: None)
_add_scalar("bool", "true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true")
_add_scalar("int", "[-+]?[0-9]+", lambda text: int(text) if len(text) <= 18 else LongNumber(text))
_add_scalar("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", float)
_add_scalar("infinity", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", lambda text: float(text.replace(".", "")))
