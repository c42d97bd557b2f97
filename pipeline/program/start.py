"""What happens before a stage's own imports: packages are there, Ctrl-C ends it silently, the BLAS
has one thread.
"""

import importlib.util
import os
import sys
from types import TracebackType


def _report(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Print no traceback for Ctrl-C while a command imports.

    Typer takes care of it at other times.
    """
    # Python 3.11 wraps it, if it comes while a class is made
    if isinstance(error.__cause__, KeyboardInterrupt):
        sys.exit(130)
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = _report

if sys.version_info < (3, 11, 4):  # older ones write other ZIP files
    sys.exit(
        f"error: {sys.executable} is Python {sys.version.split()[0]}; expected 3.11.4 or newer"
    )

LARGE = 1e16  # whose neighbours are 2 away: x87 rounds 2.9999 to 3, and then to 4
if LARGE + 2.9999 != LARGE + 2.0:
    sys.exit("error: this Python rounds twice (x87), so its results differ; use a 64-bit one")

if importlib.util.find_spec("typer") is None:  # DVC runs the first `python` that the shell finds
    sys.exit(
        f"error: {sys.executable} lacks the pipeline's packages; activate its environment: . "
        ".venv/bin/activate"
    )

# NumPy's BLAS reads these once. On Linux several processes train: more threads would mostly wait
# for each other
if sys.platform == "linux":
    threads = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
    os.environ |= dict.fromkeys(threads, "1")
