"""A function as a command: its arguments from the command line, its errors as one sentence."""

import functools
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.program.errors import UserError, visible

SOURCES = "The file that says where the datasets come from."
ParamsFile = Annotated[Path, typer.Option("--params", help="The parameter file.")]
DatasetsFile = Annotated[Path, typer.Option("--datasets", help=SOURCES)]


def command(function: Callable[..., None]) -> typer.Typer:
    """Turn `function` into a command with Typer's help.

    After a UserError, or without a file, space or memory, it ends with exit code 1 and a sentence.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # not if it is closed
                stream.reconfigure(errors="replace")  # a terminal may lack some characters
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if isinstance(error.__context__, KeyboardInterrupt):  # then zipfile may fail to close
                raise KeyboardInterrupt from None
            if isinstance(error, UserError):
                sentence = str(error)
            elif isinstance(error, OSError) and error.strerror is not None:
                sentence = f"{error.filename or 'the output'}: {error.strerror}."
            elif isinstance(error, MemoryError):
                sentence = f"there is not enough memory{f' ({error})' if str(error) else ''}."
            else:
                raise
        typer.echo("\n".join(map(visible, f"error: {sentence}".split("\n"))), err=True)
        raise typer.Exit(1)

    app.command()(wrapped)
    return app
