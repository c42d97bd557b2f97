"""The error that a user can mend, and texts that a terminal can show."""

import sys
from contextlib import suppress

LONGEST_NAME = 100  # characters
JOINERS = "\u200c\u200d"  # Persian words have the first one, many emoji the second one


class UserError(Exception):
    """A user's mistake. Its text is the sentence they see: what is wrong, where, what to do."""

    def __init__(self, sentence: str, *, about: str = ""):
        super().__init__(sentence)
        self.about = about  # the wrong part of a file: a key ("train.seed"), an array, a line, ….


def visible(text: str, instead: str = "?") -> str:
    """Return `text` with `instead` for control characters, which a terminal would obey."""
    return "".join(one if one.isprintable() or one in JOINERS else instead for one in text)


def clip(text: str, most: int = 80) -> str:
    """Make a text from a file fit for a sentence: one line, of at most `most` characters."""
    text = visible(text[: most + 1], " ")
    return text if len(text) <= most else text[: most - 3] + "..."


def is_name(text: str) -> bool:
    """Return whether `text` fits a table: one line, not blank, not above `LONGEST_NAME`."""
    return text == visible(text) and 0 < len(text.strip(f" {JOINERS}")) <= len(text) <= LONGEST_NAME


def note(line: str) -> None:
    """Print a line on standard error, if somebody can read it."""
    if sys.stderr is not None:  # it is closed
        with suppress(OSError):
            print(line, file=sys.stderr, flush=True)
