"""What the tests of several tools share."""

import subprocess
import sys
from contextlib import chdir

import pytest

from tests.support.project import captured


@pytest.fixture
def quick_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools that start `python -m dvc` get it in this process, where it starts at once."""
    start = subprocess.run

    def run(command, cwd=".", env=None, **options):
        if command[:3] != [sys.executable, "-m", "dvc"]:
            return start(command, cwd=cwd, env=env, **options)
        from dvc.cli import main

        with monkeypatch.context() as patch, chdir(cwd), captured() as printed:
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            code = main(command[3:])
        text = printed[0] if options.keys() & {"text", "encoding"} else printed[0].encode()
        return subprocess.CompletedProcess(command, code, stdout=text, stderr=text[:0])

    monkeypatch.setattr(subprocess, "run", run)
