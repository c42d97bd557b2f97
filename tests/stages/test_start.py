"""How a command starts: quickly, silently where Ctrl-C ends it, and with one sentence where packages are missing."""

import signal
import subprocess
import sys

import pytest

from tests.support.project import ROOT


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, encoding="utf-8")


# `stages` is imported first, and takes care of what happens while the stage's own imports go on


def test_ctrl_c_while_a_stage_imports_ends_it_silently():
    done = python("-c", "import stages; raise KeyboardInterrupt")
    assert (done.stdout, done.stderr) == ("", "")
    assert done.returncode in (-signal.SIGINT, 130, 0xC000013A)  # on Unix, from a shell, on Windows


@pytest.mark.parametrize(
    ("before", "call"),
    [("", "fail()"), ("import typer; app = typer.Typer(pretty_exceptions_enable=False)", "app.command()(fail); app()")],
)
def test_ctrl_c_that_python_wraps_ends_it_silently(before, call):
    """So does Python 3.11, in `__set_name__`."""
    fail = "def fail(): raise RuntimeError('Error calling __set_name__') from KeyboardInterrupt()"
    done = python("-c", "\n".join(["import stages", before, fail, call]))
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 130)


def test_other_errors_while_a_stage_imports_are_shown_whole():
    done = python("-c", "import stages; raise ImportError('half installed')")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):")
    assert done.stderr.splitlines()[-1] == "ImportError: half installed"


def test_python_without_the_packages_is_one_sentence():
    done = python("-S", "-m", "stages.train")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {sys.executable} lacks ")
    assert done.stderr.count("\n") == 1


HELP = """
import runpy, sys
sys.argv = ["train", "--help"]
try:
    runpy.run_module("stages.train", run_name="__main__")
except SystemExit as end:
    print(end.code, *{name.partition(".")[0] for name in sys.modules})
"""


def test_help_of_a_stage_imports_only_what_the_stage_needs():
    *_, modules = python("-c", HELP).stdout.splitlines()
    code, *names = modules.split()
    assert code == "0"
    assert not {"matplotlib", "dvc", "aiohttp"} & set(names)
