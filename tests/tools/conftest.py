"""What the tests of several tools share."""

import subprocess
import sys
from contextlib import chdir

import pytest

from tests.support.project import captured
from tests.support.sweeps import AXES, POINTS, Sweeps, rows, states, trees


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


@pytest.fixture(scope="session")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Sweeps:
    """A project with remotes, to start sweeps in. Its folder has a name that needs quotes."""
    return Sweeps(tmp_path_factory.mktemp("sweeps") / "a, b #1")


@pytest.fixture(scope="session")
def undisturbed(sweeps: Sweeps) -> dict[str, str]:
    """The files of each experiment, from a sweep on this machine that nothing disturbs. Two are controlled."""
    printed = sweeps.run("local", *AXES, "--workers", "2", "--control", "0.4")
    assert sorted(states(printed)) == ["done"] * POINTS + ["same bytes"] * 2
    assert len({(name, worker) for name, _, _, worker, *_ in rows(printed)}) == POINTS + 2, "controls are elsewhere"
    found = trees(printed)
    assert len(found) == len(set(found.values())) == POINTS
    return found
