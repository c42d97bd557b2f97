"""What happens when a command begins, before its own imports: packages are there, Ctrl-C ends it
silently, the BLAS has one thread. The packages of commands import this module.
"""

import importlib.util
import os
import sys
from types import TracebackType


def _report(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Print no traceback for Ctrl-C while a command imports. Later, Typer prints none."""
    # Python 3.11 wraps it, if it comes while a class is made
    if isinstance(error.__cause__, KeyboardInterrupt):
        sys.exit(130)
    if not issubclass(kind, KeyboardInterrupt):
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
    # NumPy's BLAS reads these once. On Linux several processes train: more threads would mostly
    # wait for each other
    if sys.platform == "linux":
        libraries = ("OPENBLAS", "OMP", "MKL", "BLIS")
        os.environ |= {f"{library}_NUM_THREADS": "1" for library in libraries}


# While Python imports the package of `python -m package.command`, this is its first argument. Who
# imports the package for other reasons keeps the process as it is.
if sys.argv[:1] == ["-m"]:
    start()
