"""How a command starts: quickly, silently where Ctrl-C ends it, and with one sentence where packages are missing."""

import signal
import subprocess
import sys

import pytest

from tests.support.project import ROOT

WRAPPED = "raise RuntimeError('Error calling __set_name__') from KeyboardInterrupt()"  # so does Python 3.11
# `stages` is imported first, and takes care of what happens in the imports that follow
ENDS = {
    "Ctrl-C": ("raise KeyboardInterrupt", (-signal.SIGINT, 130, 0xC000013A), ""),  # on Unix, from a shell, on Windows
    "wrapped": (WRAPPED, (130,), ""),
    "another error": ("raise ImportError('half installed')", (1,), "ImportError: half installed"),
}


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, encoding="utf-8")


@pytest.mark.parametrize(("code", "ends", "last"), ENDS.values(), ids=list(ENDS))
def test_ctrl_c_while_a_stage_imports_ends_it_silently_and_other_errors_are_shown(code, ends, last):
    done = python("-c", f"import stages; {code}")
    assert done.returncode in ends
    assert done.stdout == ""
    assert done.stderr.startswith("Traceback (most recent call last):") if last else done.stderr == ""
    assert done.stderr.rpartition("\n")[0].endswith(last)


def test_python_without_the_packages_is_one_sentence():
    done = python("-S", "-m", "stages.train")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {sys.executable} lacks ")
    assert done.stderr.count("\n") == 1


def test_help_of_a_stage_imports_only_what_the_stage_needs():
    code = "import atexit, sys; atexit.register(lambda: print(*sys.modules)); from stages.train import train; train()"
    done = python("-c", code, "--help")
    assert done.returncode == 0
    assert not {"matplotlib", "dvc", "aiohttp"} & set(done.stdout.splitlines()[-1].split())
