"""What several modules of this folder share."""

import logging
from contextlib import redirect_stderr, redirect_stdout

import pytest


@pytest.fixture(scope="session")
def dvc_streams() -> None:
    """DVC keeps the streams that it finds when it is imported: `Project.dvc` reads them."""
    options = {"encoding": "utf-8", "buffering": 1, "closefd": False}
    out, err = (open(number, "w", **options) for number in (1, 2))  # noqa: SIM115
    with redirect_stdout(out), redirect_stderr(err):
        import colorama
        import dvc.logger

        colorama.init()
    for handler in logging.getLogger("dvc").handlers:
        if isinstance(handler, dvc.logger.LoggerHandler):
            handler.setStream(err if handler.level >= logging.WARNING else out)
