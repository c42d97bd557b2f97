"""The plain part of YAML, read as DVC reads it, from files that anyone may have written."""

import re
from pathlib import Path
from typing import Any

import yaml

from pipeline.program.errors import UserError, clip

MAX_BYTES = 65_536  # YAML is slow to parse: a much longer file would take minutes


def load_plain_yaml(path: Path) -> Any:
    """Parse the file into dicts, tuples and scalars.

    Raises:
        UserError: the file is missing, too long, not UTF-8, or not plain YAML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UserError(f"{path}: longer than {MAX_BYTES} bytes.")
        node = yaml.compose(content.decode(), Loader=_Composer)
        return None if node is None else _value(node)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}).") from None
    except RecursionError:
        raise UserError(f"{path}: nested too deeply.") from None
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{path}: not plain YAML{line}: {clip(error.problem or 'unreadable')}.") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # PyYAML lets chr() and int() fail on odd escapes
        raise UserError(f"{path}: not plain YAML: {clip(' '.join(str(error).split()))}.") from None


class _Composer(yaml.SafeLoader):
    """Parses YAML; refuses anchors, aliases and tags, which this project has no use for and attacks have."""

    def compose_node(self, parent: Any, index: Any) -> yaml.Node:
        event = self.peek_event()
        if getattr(event, "anchor", None) is not None or getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(problem="anchors, aliases and tags are not read", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


def _value(node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        # A style is a kind of quotation mark
        return _plain_scalar(node.value) if node.style is None else node.value
    if isinstance(node, yaml.SequenceNode):
        return tuple(_value(item) for item in node.value)
    values: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a key that is not a name", problem_mark=key.start_mark)
        if key.value in values:
            raise yaml.MarkedYAMLError(problem=f"the key {clip(key.value)} stands twice", problem_mark=key.start_mark)
        values[key.value] = _value(value)
    return values


def _plain_scalar(text: str) -> Any:
    """Read an unquoted scalar as DVC does, by YAML 1.2; PyYAML's own 1.1 takes `1e-3` for text and `on` for true."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text.lower() == "true"
    if re.fullmatch(r"[-+]?[0-9]{1,18}", text):
        return int(text)
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", text):
        return float(text)
    if re.fullmatch(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", text):
        return float(text.replace(".", ""))
    return text
