"""Killed or interrupted at any moment, a stage leaves no half file, and `dvc repro` goes on from there."""

import os
import random
import signal
import subprocess
import time

import psutil
import pytest

from tests.support.faults import SEED, results, times
from tests.support.project import STAGES

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("dvc_streams")]


def wait(process: subprocess.Popen, seconds: float, until=lambda: False) -> None:
    """Wait so long, until the process has ended, or until something is so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None and not until():
        time.sleep(0.0005)


@pytest.mark.parametrize("stage", STAGES)
def test_stage_killed_or_interrupted(pipeline, stage):
    """Every other time in the moment in which a file is being written; every third time by Ctrl-C."""
    chance = random.Random(f"{SEED} {stage}")
    begun, ends = time.monotonic(), []
    pipeline.check_recovery(stage)
    seconds = time.monotonic() - begun
    for number in range(times(6)):
        process = pipeline.start(stage)
        before = pipeline.files()
        if number % 2:
            wait(process, 60, lambda before=before: pipeline.files() != before)
            wait(process, chance.choice([0, 0, 0.001, 0.01]))
        else:
            wait(process, chance.uniform(0, seconds))
        interrupted = number % 3 == 2
        process.send_signal(signal.SIGINT if interrupted else signal.SIGKILL)
        stderr = process.communicate()[1]
        ends.append(process.returncode)
        pipeline.check_nothing_half(stage)
        # Before Python has started, or has read the first line of this project, Ctrl-C ends it in ways of its own
        if interrupted and not stderr.startswith("Could not import runpy module"):
            assert process.returncode in (0, 130, -signal.SIGINT), stderr
            assert "Traceback" not in stderr or str(pipeline.folder) not in stderr, stderr
            assert not pipeline.parts()
    assert -signal.SIGKILL in ends
    pipeline.check_recovery(stage)


def children(process: subprocess.Popen) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children()
    except psutil.NoSuchProcess:
        return []


# DVC's own files that it writes in place, and what it says when one of them is half; docs/faults.md says to remove it
HALF_WRITTEN = {".dvc/tmp/rwlock": "Unable to read RWLock-file", "dvc.lock": "dvc.lock"}


def test_repro_killed(project, reproduced):
    """DVC with all its processes, or the stage that it runs. Begin again each time; what is done stays done."""
    chance = random.Random(SEED)
    options = {"cwd": project.folder, "env": project.environment, "stderr": subprocess.DEVNULL}
    for number in range(times(4)):
        process = subprocess.Popen(["dvc", "repro", "--quiet"], start_new_session=True, **options)
        wait(process, 60, lambda process=process: children(process))
        wait(process, chance.uniform(0, 1.5))
        if number % 2:
            for stage in children(process):
                stage.kill()
        elif process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    while (done := project.run("dvc", "repro", check=False)).returncode != 0:
        said = done.stdout + done.stderr
        half = [name for name, sentence in HALF_WRITTEN.items() if sentence in said]
        assert half, said
        (project.folder / half[0]).unlink()
    assert results(project) == results(reproduced)
    assert "up to date" in project.dvc("status")
