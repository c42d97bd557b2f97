"""How a wrong file is refused, by a function and by a command."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.program.errors import UserError


def refused(load: Callable[..., object], path: Path, *arguments: object) -> UserError:
    """Return the error with which `load` refuses the file `path`, in one sentence with its name."""
    with pytest.raises(UserError) as caught:
        load(path, *arguments)
    # . is not a line end
    assert re.fullmatch(rf"{re.escape(str(path))}\b.*[.?]", str(caught.value))
    return caught.value


def numbers(error: UserError) -> list[int]:
    """Return the whole numbers in an error's sentence, in order, after the file's name."""
    _, _, sentence = str(error).partition(": ")
    return [int(digits) for digits in re.findall(r"\d+", sentence)]


def refusal(result, path: Path | str = "", *words: str) -> str:
    """Return the line with which a command ended. It names the file `path` and all `words`."""
    assert (result.exit_code, result.stdout) == (1, "")
    assert isinstance(result.exception, SystemExit)
    assert re.fullmatch("error: .*\n", result.stderr)
    assert str(path) in result.stderr
    rest = result.stderr.replace(str(path), "")
    for word in words:
        assert re.search(rf"(?<!\w){re.escape(word)}(?!\w)", rest), rest
    return result.stderr
