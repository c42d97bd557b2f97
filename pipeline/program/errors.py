"""The error that a user can mend, and texts that a terminal can show."""

import sys
from contextlib import suppress
from pathlib import Path

LONGEST_NAME = 100  # characters


class UserError(Exception):
    """A user's mistake. Its text is the sentence they see: what is wrong, where, what to do.

    `path` is the file that is wrong, if it is one; `about` its wrong part: a key ("train.seed"), an
    array, a line, ….
    """

    def __init__(self, sentence: str, *, path: Path | None = None, about: str = ""):
        super().__init__(sentence)
        self.path, self.about = path, about


def visible(text: str) -> str:
    """Return `text` with "?" for control characters, which a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)


def clip(text: str) -> str:
    """Make a text from a file fit for a sentence: one line, and not a long one."""
    text = "".join(character if character.isprintable() else " " for character in text[:81])
    return text if len(text) <= 80 else text[:77] + "..."


def is_name(text: str) -> bool:
    """Return whether `text` fits into a table: one line, not blank, not longer than a name."""
    return bool(text.strip()) and text.isprintable() and len(text) <= LONGEST_NAME


def note(line: str) -> None:
    """Print a line on standard error, if somebody can read it."""
    if sys.stderr is not None:  # it is closed
        with suppress(OSError):
            print(line, file=sys.stderr, flush=True)
