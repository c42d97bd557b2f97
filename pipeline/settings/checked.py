"""YAML files, read as DVC reads them, and checked by Pydantic models."""

import difflib
import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from pipeline.program.errors import UserError, clip

# Bounds of a file: beyond them, reading would take many seconds
MOST_CHARACTERS, MOST_VALUES, DEEPEST = 100_000, 20_000, 20

Key = tuple[str | int, ...]  # the names and list indices that lead to a value


def load_plain_yaml(path: Path) -> Any:
    """Read the file into dicts, lists and scalars. A UserError says what is wrong with it."""
    try:
        with path.open("rb") as file:
            content = file.read(4 * MOST_CHARACTERS + 4)  # a character has at most four bytes
        # The parser refuses the characters that stand for bytes which are not UTF-8
        return parse_plain_yaml(content.decode(errors="surrogateescape"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}.") from None
    except UserError as error:
        raise UserError(f"{path}: {error}.", about=error.about) from None


def parse_plain_yaml(text: str) -> Any:
    """Read YAML 1.2, as DVC reads parameters: `1e-3` is a number, `010` is 10, `no` is text.

    A UserError says, without a full stop, that the text is too long, too deep, or not YAML.
    """
    if len(text) > MOST_CHARACTERS:
        raise UserError(f"expected at most {MOST_CHARACTERS:,} characters")
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
        if root is not None:
            _check_bounds(root)
        return root and yaml.constructor.construct_document(root)
    except UserError:
        raise
    except Exception as error:  # odd escapes and odd tags raise other errors than YAMLError
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}" if mark else ""
        problem = clip(str(getattr(error, "problem", None) or error))
        raise UserError(f"not YAML{line and f' in {line}'}: {problem}", about=line) from None


def _check_bounds(root: Node) -> None:
    """Raise a UserError if there are too many values, or nested too deeply. Aliases count, too."""
    count, waiting = 0, [(root, 1)]
    while waiting:
        node, depth = waiting.pop()
        count += 1
        if count > MOST_VALUES or depth > DEEPEST:
            expected = f"at most {MOST_VALUES:,} values, nested at most {DEEPEST} deep"
            raise UserError(f"expected {expected}")
        if isinstance(node, SequenceNode):
            waiting += [(item, depth + 1) for item in node.value]
        elif isinstance(node, MappingNode):
            waiting += [(part, depth + 1) for pair in node.value for part in pair]


class Section(BaseModel):
    """A mapping in a file. A field is a Section, or its description says what is expected."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Model = TypeVar("Model", bound=Section)


def check(path: Path, model: type[Model], values: Any, place: Key = ()) -> Model:
    """Return the values of the file `path`, under the key `place`, as a `model`.

    Validators find the folder of `path` in their context. Their ValueErrors say what is expected. A
    UserError names the file, the key, the value found and what is expected.
    """
    try:
        return model.model_validate(values, context=path.parent)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        # A misspelt key is both unknown and missing. The first says more.
        problem = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    about, sentence = _described(problem, model, values, place)
    raise UserError(f"{path}: {sentence}", about=about)


def _described(problem: Any, model: Any, values: Any, place: Key) -> tuple[str, str]:
    """Return the dotted key of a problem that Pydantic has found, and a sentence about it."""
    key: Key = ()
    expected = None
    for name in problem["loc"]:
        if name not in model.model_fields:
            unknown, near = _dotted(place + key + (name,)), nearest(name, model.model_fields)
            right = f"did you mean {_dotted(place + key + (near,))}?" if near else ""
            return unknown, f"unknown key {clip(unknown)}; {right or f'expected {_keys(model)}.'}"
        field = model.model_fields[name]
        key += (name,)
        if expected := field.description:
            break  # a list has one description, and is shown whole
        model = field.annotation
    if problem["type"] == "value_error":
        key, expected = problem["loc"], str(problem["ctx"]["error"])
    expected, about = expected or _keys(model), _dotted(place + key)
    if problem["type"] == "missing":
        return about, f"the key {about} is missing; expected {expected}."
    for name in key:
        values = values[name]
    return about, f"{about or 'the file'} is {show(values)}; expected {expected}."


def _keys(model: type[Section]) -> str:
    return f"the keys {', '.join(model.model_fields)}"


def _dotted(key: Key) -> str:
    steps = [f"[{name}]" if isinstance(name, int) else f".{name}" for name in key]
    return "".join(steps).removeprefix(".")


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the most similar of `names`, if one is similar."""
    return next(iter(difflib.get_close_matches(str(name), list(map(str, names)), n=1)), None)


def show(value: Any) -> str:
    """Return a value as JSON, for a sentence. A long text is cut."""
    encoder = json.JSONEncoder(ensure_ascii=False, default=str, skipkeys=True)
    try:
        return clip("".join(islice(encoder.iterencode(value), 81)))  # at least 81 characters
    except ValueError:  # Python writes no whole number of more than 4300 digits
        return "a number of thousands of digits"
