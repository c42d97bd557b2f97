"""How a command starts: quickly, silently where Ctrl-C ends it, and with one sentence where packages are missing."""

import signal
import subprocess
import sys

import pytest

from tests.support.project import ROOT, STAGES


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
import importlib, sys
from typer.testing import CliRunner
for stage in sys.argv[1:]:
    app = getattr(importlib.import_module(f"stages.{stage}"), stage)
    print(CliRunner().invoke(app, ["--help"]).exit_code)
print(*{name.partition(".")[0] for name in sys.modules})
"""


def test_help_answers_at_once():
    """It does not wait for the imports that take most of a stage's start."""
    *codes, modules = python("-c", HELP, *STAGES).stdout.splitlines()
    assert codes == ["0"] * len(STAGES)
    assert not {"numpy", "matplotlib", "pydantic", "yaml", "dvc"} & set(modules.split())
