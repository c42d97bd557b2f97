"""What a killed DVC left is mended, unless a DVC runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.mend import BUSY, main

LOCK = "schema: '2.0'\nstages:\n  train:\n    cmd: x\n"
BUSY_WITH = {"write": {"/x/models/mlp.npz": {"pid": 1, "cmd": "dvc repro"}}, "read": {}}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    BUSY.parent.mkdir(parents=True)
    Path("dvc.lock").write_text(LOCK)
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", "add", "dvc.lock"], check=True)
    who = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
    subprocess.run(["git", *who, "commit", "-qm", "Lock"], check=True)


def mended() -> str:
    done = CliRunner().invoke(main, [])
    assert (done.exit_code, done.stdout) == (0, "")
    return done.stderr


def test_what_is_whole_stays():
    other = LOCK.replace("cmd: x", "cmd: y")
    Path("dvc.lock").write_text(other)
    for text in ("{}", '{"read": {}, "write": {}}'):
        BUSY.write_text(text)
        assert mended() == ""
        assert (BUSY.read_text(), Path("dvc.lock").read_text()) == (text, other)


@pytest.mark.parametrize("text", ["", '{"write": {"', "[]", json.dumps(BUSY_WITH)])
def test_a_list_that_is_half_or_of_a_dvc_that_is_gone_is_removed(text):
    BUSY.write_text(text)
    assert str(BUSY) in mended()
    assert not BUSY.exists()


@pytest.mark.parametrize("length", [0, 3, 20, len(LOCK) - 5])
def test_a_lock_that_is_half_becomes_the_committed_one_or_none(length):
    half = LOCK[:length]
    Path("dvc.lock").write_text(half)
    assert "dvc.lock" in mended()
    assert Path("dvc.lock").read_text() == LOCK
    subprocess.run(["git", "rm", "-q", "--cached", "dvc.lock"], check=True)
    who = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
    subprocess.run(["git", *who, "commit", "-qm", "None"], check=True)
    Path("dvc.lock").write_text(half)
    mended()
    assert not Path("dvc.lock").exists()


@pytest.mark.skipif(os.name == "nt", reason="needs a process with a name of its own")
def test_nothing_is_touched_while_a_dvc_runs(tmp_path):
    wait = [sys.executable, "-c", "import sys; print(); sys.stdin.read()", "dvc", "repro"]
    BUSY.write_text("")
    (tmp_path / "below").mkdir()
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(wait, cwd=tmp_path / "below", **streams) as dvc:
        dvc.stdout.readline()
        assert mended() == ""
        assert BUSY.exists()
        dvc.stdin.close()
    assert str(BUSY) in mended()
