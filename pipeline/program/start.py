"""The start of a command, before its own imports. The packages of commands import this module."""

import importlib.util
import os
import sys
from typing import Any


def _report(kind: Any, error: BaseException, traceback: Any) -> None:
    """Print no traceback for Ctrl-C while a command imports. Later, Typer prints none."""
    if isinstance(error.__cause__, KeyboardInterrupt):  # Python 3.11 wraps it in a class's body
        sys.exit(130)
    if not isinstance(error, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)


def start() -> None:
    """Make this process one of a command, or end it with a sentence."""
    sys.excepthook = _report
    python = f"{sys.executable} is Python {sys.version.split()[0]}"
    if sys.version_info < (3, 11, 4):  # older ones write other ZIP files
        sys.exit(f"error: {python}; expected 3.11.4 or newer")
    if importlib.util.find_spec("typer") is None:  # DVC runs the first `python` in the PATH
        what = "lacks the pipeline's packages; activate its environment: . .venv/bin/activate"
        sys.exit(f"error: {sys.executable} {what}")
    if sys.platform == "linux":  # several processes train: more threads would wait for each other
        for library in ("OPENBLAS", "OMP", "MKL", "BLIS"):  # NumPy's BLAS reads its variable once
            os.environ[f"{library}_NUM_THREADS"] = "1"


if sys.argv[:1] == ["-m"]:  # so it is while Python imports the package of `python -m package.name`
    start()
