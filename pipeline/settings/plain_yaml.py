"""YAML files, read as DVC reads them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from pipeline.program.errors import UserError, clip


def load_plain_yaml(path: Path) -> Any:
    """Read the file into dicts whose keys are text, tuples, and scalars.

    Raises:
        UserError: the file is missing, is not UTF-8 or not YAML, or a key stands twice in a mapping.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}.") from None
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{path}: not YAML{line}: {clip(error.problem or 'unreadable')}.") from None
    except RecursionError:
        raise UserError(f"{path}: nested too deeply.") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # not UTF-8; odd escapes
        raise UserError(f"{path}: not YAML: {clip(str(error))}.") from None


class _Loader(yaml.BaseLoader):
    """Reads mappings, lists and text. PyYAML's other loaders read scalars by YAML 1.1, and DVC by YAML 1.2."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key that is not a name", problem_mark=key.start_mark)
            if key.value in mapping:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value} stands twice", problem_mark=key.start_mark)
            mapping[key.value] = self.construct_object(value, deep)
        return mapping

    def construct_sequence(self, node: yaml.SequenceNode, deep: bool = False) -> tuple[Any, ...]:
        return tuple(super().construct_sequence(node, deep))


def _add_scalar(kind: str, pattern: str, read: Callable[[str], Any]) -> None:
    """Read unquoted text that matches `pattern` with the function `read`."""
    tag = f"tag:yaml.org,2002:{kind}"
    _Loader.add_implicit_resolver(tag, re.compile(rf"(?:{pattern})\Z"), None)
    _Loader.add_constructor(tag, lambda loader, node: read(loader.construct_scalar(node)))


# The rules of YAML 1.2 in decimal. By those of 1.1, `1e-3` would be text, `on` true and `1:30` ninety.
_add_scalar("null", "|~|null|Null|NULL", lambda text: None)
_add_scalar("bool", "true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true")
_add_scalar("int", "[-+]?[0-9]{1,18}", int)  # a longer one would not be exact as a float
_add_scalar("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", float)
_add_scalar("infinity", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", lambda text: float(text.replace(".", "")))
