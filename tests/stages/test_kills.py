"""Killed or interrupted at any moment, a stage leaves each file old or new, and `dvc repro` goes on from there."""

import os
import random
import signal
import subprocess
import time

import psutil
import pytest

from mlp.team import available_processes
from tests.support.faults import NEW, SEED, STAGES, times
from tests.support.project import Project, new_project

pytestmark = pytest.mark.slow


def wait(process: subprocess.Popen, seconds: float, until=lambda: False) -> None:
    """Wait so long, or until the process has ended, or until something is so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None and not until():
        time.sleep(0.0005)


@pytest.mark.parametrize("stage", STAGES)
def test_stage_killed(pipeline, count, stage):
    """Every other kill waits for the moment in which a file is being written."""
    chance = random.Random(f"{SEED} {stage}")
    wanted = times(10)
    while count["SIGKILL"] < wanted:
        pipeline.reset(stage)
        known = pipeline.parts(stage)
        process = pipeline.start(stage)
        if count["SIGKILL"] % 2:
            wait(process, 60, lambda known=known: pipeline.parts(stage) - known)
            wait(process, chance.choice([0, 0, 0.001, 0.01]))
        else:
            wait(process, chance.uniform(0, pipeline.seconds[stage]))
        process.kill()
        process.communicate()
        count["SIGKILL"] += process.returncode == -signal.SIGKILL
        count["compared"] += pipeline.check_nothing_half(stage)
    count["compared"] += pipeline.check_recovery(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c(pipeline, count, stage):
    chance = random.Random(f"{SEED} {stage}")
    wanted = times(4)
    while count["Ctrl-C"] < wanted:
        pipeline.reset(stage)
        for part in pipeline.parts(stage):
            part.unlink()
        process = pipeline.start(stage)
        wait(process, chance.uniform(0, pipeline.seconds[stage]))
        process.send_signal(signal.SIGINT)
        stderr = process.communicate()[1]
        if stderr.startswith("Could not import runpy module"):
            continue  # Python itself had not started, and says so with exit code 1
        assert process.returncode in (0, 130, -signal.SIGINT), stderr
        # Before Python has read the first line of this project, a traceback is Python's own
        assert "Traceback" not in stderr or str(pipeline.folder) not in stderr, stderr
        count["Ctrl-C"] += process.returncode != 0
        count["compared"] += pipeline.check_nothing_half(stage)
        assert not pipeline.parts(stage)
    count["compared"] += pipeline.check_recovery(stage)


@pytest.fixture
def endless(pipeline):
    """The same pipeline with a training that does not end by itself; its old outputs are in place."""
    pipeline.reset("train")
    pipeline.project.set_params(NEW | {"train.iterations": 10**8})
    yield pipeline
    pipeline.project.set_params(NEW)
    pipeline.check_recovery("train")


@pytest.mark.skipif(available_processes() < 2, reason="training has one process here")
def test_second_process_of_training_killed(endless, count):
    """In its first moments, or in a step, or between two."""
    chance = random.Random(SEED)
    before = endless.outputs("train")
    for _ in range(times(20)):
        process = endless.start("train")
        wait(process, 60, lambda process=process: children(process))
        (worker,) = children(process)
        time.sleep(chance.choice([0, 0.001, chance.uniform(0, 1)]))
        worker.kill()
        count["SIGKILL"] += 1
        stderr = process.communicate(timeout=60)[1]
        assert process.returncode == 1
        assert stderr.startswith("error: training's second process ended early")
        assert stderr.count("\n") == 1
        assert not worker.is_running()
        assert endless.outputs("train") == before
        assert not endless.parts("train")


# DVC's own files that it writes in place, and what it says when one of them is half
HALF_WRITTEN = {".dvc/tmp/rwlock": "Unable to read RWLock-file", "dvc.lock": "dvc.lock"}


@pytest.mark.parametrize("victim", ["dvc with all its processes", "the stage it runs"])
def test_repro_killed(tmp_path, pipeline, count, victim):
    """Kill again and again, and begin again each time; what is done stays done."""
    chance = random.Random(f"{SEED} {victim}")
    for number in range(times(1)):
        project = new_project(tmp_path / str(number))
        project.set_params(NEW)
        for _ in range(6):
            process = start_repro(project)
            wait(process, 60, lambda process=process: children(process))
            wait(process, chance.uniform(0, 1.5))
            if victim == "the stage it runs":
                for stage in children(process):
                    count["SIGKILL"] += 1
                    stage.kill()
                process.wait()
            elif process.poll() is None:
                count["SIGKILL"] += 1
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        repro_again(project)
        assert (project.folder / "dvc.lock").read_bytes() == pipeline.lock()
        assert "up to date" in project.run("dvc", "status").stdout
        for name, content in pipeline.new.items():
            assert (project.folder / name).read_bytes() == content, name


def repro_again(project: Project) -> None:
    """Run `dvc repro` after kills. Where one left a file of DVC's own half-written, do what docs/faults.md says."""
    for _ in HALF_WRITTEN:
        done = project.run("dvc", "repro", check=False)
        if done.returncode == 0:
            return
        found = [name for name, sentence in HALF_WRITTEN.items() if sentence in done.stdout + done.stderr]
        assert found, done.stderr
        (project.folder / found[0]).unlink()
    project.run("dvc", "repro")


def start_repro(project: Project) -> subprocess.Popen:
    return subprocess.Popen(
        ["dvc", "repro"],
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def children(process: subprocess.Popen) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children()
    except psutil.NoSuchProcess:
        return []
