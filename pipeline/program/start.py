"""What happens before a command starts: checks that the packages are there, and that Ctrl-C ends it silently."""

import importlib.util
import sys
from types import TracebackType


def _report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Print no traceback for Ctrl-C while a command imports. Typer takes care of it at other times."""
    if isinstance(error.__cause__, KeyboardInterrupt):  # Python 3.11 wraps it, if it comes while a class is made
        sys.exit(130)
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = _report

if importlib.util.find_spec("typer") is None:  # DVC runs the first `python` that the shell finds
    sys.exit(f"error: {sys.executable} lacks the pipeline's packages; activate its environment: . .venv/bin/activate")
