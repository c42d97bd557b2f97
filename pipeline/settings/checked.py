"""YAML files, read as DVC reads them, and checked by Pydantic models.

A mistake becomes one sentence.
"""

import difflib
import json
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.program.errors import UserError, clip

Key = tuple[str | int, ...]  # the names and list indices that lead to a value


class _Loader(yaml.SafeLoader):
    """PyYAML's, with the scalars of YAML 1.2, which DVC reads.

    By YAML 1.1, `1e-3` is text, `010` 8 and `no` false.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        for place, (key, _) in enumerate(node.value):
            if key.value in [other.value for other, _ in node.value[:place]]:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value} is there twice", problem_mark=key.start_mark
                )
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {}
_SCALARS: list[tuple[str, str, Callable[[str], Any]]] = [
    ("null", "|~|null|Null|NULL", lambda text: None),
    ("bool", "true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true"),
    ("int", "[-+]?[0-9]+", int),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", float),
    ("special", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", lambda text: float(text.replace(".", ""))),
]
for _kind, _pattern, _read in _SCALARS:
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_pattern})\Z"), None
    )
    _Loader.add_constructor(
        f"tag:yaml.org,2002:{_kind}", partial(lambda read, loader, node: read(node.value), _read)
    )


def load_plain_yaml(path: Path) -> Any:
    """Read the file into dicts, lists and scalars.

    A UserError names the file, and says what is wrong with it.
    """
    try:
        # PyYAML refuses what is no UTF-8 after it was escaped
        return parse_plain_yaml(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}.", path=path) from None
    except UserError as error:
        raise UserError(f"{path}: {error}.", path=path, about=error.about) from None


def parse_plain_yaml(text: str) -> Any:
    """Read text as DVC reads a file: YAML 1.2, in which `1e-3` is a number, `010` is 10, and `no`
    is text.

    A UserError says, without a full stop, why it is not YAML, or which key of a mapping is there
    twice.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except Exception as error:  # odd escapes and deep nesting raise other errors than YAMLError
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}" if mark else ""
        problem = clip(str(getattr(error, "problem", None) or error))
        raise UserError(f"not YAML{line and f' in {line}'}: {problem}", about=line) from None


class Section(BaseModel):
    """A mapping in a file.

    Each field is a Section, or has a description of what is expected: "a number above 0".
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Model = TypeVar("Model", bound=Section)


def check(path: Path, model: type[Model], values: Any, place: Key = ()) -> Model:
    """Return the values of the file `path`, under the key `place`, as a `model`.

    The validators of the model find the folder of `path` in their context. Their ValueErrors say
    what is expected.

    Raises:
        UserError: a key is unknown or missing, or a value is not as expected. The sentence names
            the file, the key, the value found and what is expected.
    """
    try:
        return model.model_validate(values, context=path.parent)
    except ValidationError as error:
        # A misspelt key is both unknown and missing. The first says more.
        problem = min(
            error.errors(include_url=False),
            key=lambda problem: problem["type"] != "extra_forbidden",
        )
    about, sentence = _described(problem, model, values, place)
    raise UserError(f"{path}: {sentence}", path=path, about=about)


def _described(problem: Any, model: Any, values: Any, place: Key) -> tuple[str, str]:
    """Return the dotted key of a problem that Pydantic has found, and a sentence about it."""
    key: Key = ()
    expected = None
    for name in problem["loc"]:
        if name not in model.model_fields:
            unknown, near = _dotted(place + key + (name,)), nearest(name, model.model_fields)
            hint = (
                f"did you mean {_dotted(place + key + (near,))}?"
                if near
                else f"expected {_keys(model)}."
            )
            return unknown, f"unknown key {clip(unknown)}; {hint}"
        field = model.model_fields[name]
        key += (name,)
        if expected := field.description:
            break  # a list has one description, and is shown whole
        # An optional section is `Section | None`
        model = next(iter(get_args(field.annotation)), field.annotation)
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
    return "".join(
        f"[{name}]" if isinstance(name, int) else f".{name}" for name in key
    ).removeprefix(".")


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the most similar of `names`, if one is similar."""
    return next(iter(difflib.get_close_matches(str(name), list(map(str, names)), n=1)), None)


def show(value: Any) -> str:
    """Return a value as JSON, for a sentence. A long text is cut."""
    return clip(json.dumps(value, ensure_ascii=False, default=str))
