"""A user's mistake ends a command with one sentence and exit code 1, never with a traceback."""

import functools
from collections.abc import Callable
from typing import Any


class UserError(Exception):
    """Something the user can mend. Its text is the sentence they see: what is wrong, where, what to do."""


def one_sentence_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a command so that a `UserError`, or a file or memory that the system refuses, ends it with one sentence."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except UserError as error:
            sentence = str(error)
        except OSError as error:
            if error.strerror is None:
                raise
            sentence = f"{error.filename or 'a file'}: {error.strerror}."
        except MemoryError as error:
            sentence = f"there is not enough memory{f' ({error})' if str(error) else ''}."
        import typer  # here, because what reads and writes files runs without it

        typer.echo(f"error: {sentence}", err=True)
        raise typer.Exit(1)

    return wrapped


def clip(text: str) -> str:
    """Make a text from a file fit for a sentence: one line, and not a long one."""
    text = "".join(character if character.isprintable() else " " for character in text)
    return text if len(text) <= 80 else text[:77] + "..."
