"""The five stages of the pipeline, each a command."""

import sys
from types import TracebackType


def _report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Let Ctrl-C end a stage silently while it still imports, too; Typer sees to it only once a command runs."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = _report
