"""The five stages of the pipeline, each a command."""

import importlib.util
import sys
from types import TracebackType


def _report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Let Ctrl-C end a stage silently while it still imports, too; Typer sees to it only once a command runs."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = _report

if importlib.util.find_spec("typer") is None:  # DVC runs the first `python` that the shell finds
    sys.exit(f"error: {sys.executable} lacks the pipeline's packages; activate its environment: . .venv/bin/activate")
