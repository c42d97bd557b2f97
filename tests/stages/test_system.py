"""The disk is full, or can only be read: one sentence with the file's name, nothing half-written, and recovery."""

import os
import random
import resource
import subprocess
import sys
from contextlib import contextmanager

import pytest

from tests.support.faults import NEW, SEED, STAGES, times
from tests.support.project import new_project

pytestmark = pytest.mark.slow


def assert_one_sentence(process: subprocess.Popen, reasons: tuple[str, ...], names: list[str]) -> None:
    """Fail unless the process ends with exit code 1 and a sentence that names a file, or its folder, and the reason."""
    stderr = process.communicate()[1]
    assert process.returncode == 1, stderr
    *_, sentence = stderr.splitlines()
    name, _, reason = sentence.removeprefix("error: ").rpartition(": ")
    assert "Traceback" not in stderr
    assert sentence.startswith("error: ")
    assert reason in reasons, sentence
    assert any(known == name or known.startswith(f"{name}/") for known in names), sentence


AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]


@contextmanager
def mounted(*arguments: object):
    """Mount something while the block runs, where we may. Continuous integration must be allowed to."""
    *_, place = arguments
    if subprocess.run([*AS_ROOT, "mount", *map(str, arguments)], capture_output=True).returncode != 0:
        (pytest.fail if "CI" in os.environ else pytest.skip)("only root can mount a small disk")
    try:
        yield
    finally:
        subprocess.run([*AS_ROOT, "umount", place], check=True)


@pytest.mark.parametrize("stage", STAGES)
def test_file_size_limit(pipeline, count, stage):
    """A limit on the length of a file stops a stage in the middle of writing one."""
    chance = random.Random(f"{SEED} {stage}")
    longest = max(map(len, pipeline.expected(stage).values()))
    for _ in range(times(3)):
        pipeline.reset(stage)
        limit = chance.randrange(longest)
        process = pipeline.start(stage, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))  # noqa: B023
        assert_one_sentence(process, ("File too large.",), list(pipeline.expected(stage)))
        count["compared"] += pipeline.check_nothing_half(stage)
        assert not pipeline.parts(stage)
        count["system"] += 1
    count["compared"] += pipeline.check_recovery(stage)


def test_six_trainings_at_once(pipeline, tmp_path):
    """On a machine with too few processors for all of them, each gives the result that it gives alone."""
    command = pipeline.stages["train"]["cmd"].split()[1:]
    trainings = [
        subprocess.Popen(
            [sys.executable, *(word.replace("models/", f"{tmp_path}/{number}/") for word in command)],
            cwd=pipeline.folder,
            env=pipeline.project.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(6)
    ]
    for number, training in enumerate(trainings):
        assert training.wait(120) == 0, training.stderr.read()
        for name, content in pipeline.expected("train").items():
            assert (tmp_path / str(number) / name.removeprefix("models/")).read_bytes() == content


FOLDERS = {
    "download": "data/raw",
    "preprocess": "data/prepared",
    "train": "models",
    "evaluate": "models/evaluation",
    "plot": "models/figures",
}


@pytest.mark.parametrize("stage", STAGES)
def test_disk_full(pipeline, count, stage):
    """The output folder is a disk of a few blocks, too small for the longest output there."""
    chance = random.Random(f"{SEED} {stage}")
    folder = pipeline.folder / FOLDERS[stage]
    inside = {name: content for name, content in pipeline.expected(stage).items() if name.startswith(FOLDERS[stage])}
    blocks = max(1, max(map(len, inside.values())) // 4096 - 1)
    for _ in range(times(1)):
        with mounted("-t", "tmpfs", "-o", f"size={4 * chance.randint(1, blocks)}k", "none", folder):
            (folder / "filler").write_bytes(bytes(3000))
            process = pipeline.start(stage)
            assert_one_sentence(process, ("No space left on device.",), list(inside))
            assert not list(folder.glob(".*.part"))
            for name, content in pipeline.outputs(stage).items():
                assert name.endswith("/filler") or content in (pipeline.new[name], pipeline.old.get(name))
        count["system"] += 1
    count["compared"] += pipeline.check_recovery(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_read_only_folder(pipeline, count, stage):
    folder = pipeline.folder / FOLDERS[stage]
    pipeline.reset(stage)
    names = [name for name in pipeline.expected(stage) if name.startswith(FOLDERS[stage])]
    if os.geteuid() == 0:  # whom permissions do not stop
        with mounted("--bind", folder, folder):
            subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
            assert_one_sentence(pipeline.start(stage), ("Read-only file system.",), names)
    else:
        folder.chmod(0o555)
        assert_one_sentence(pipeline.start(stage), ("Permission denied.",), names)
        folder.chmod(0o755)
    count["system"] += 1
    count["compared"] += pipeline.check_nothing_half(stage)
    count["compared"] += pipeline.check_recovery(stage)


@pytest.mark.parametrize("stage", ["download", "preprocess", "train", "plot"])
def test_file_in_place_of_the_folder(pipeline, count, stage):
    folder = pipeline.folder / FOLDERS[stage]
    aside = pipeline.folder / "aside"
    folder.rename(aside)
    folder.write_text("no folder")
    reasons = ("File exists.", "Not a directory.")
    assert_one_sentence(pipeline.start(stage), reasons, list(pipeline.expected(stage)))
    count["system"] += 1
    folder.unlink()
    aside.rename(folder)
    count["compared"] += pipeline.check_nothing_half(stage)


def test_repro_on_a_full_disk(tmp_path, pipeline, count):
    """DVC's own files meet the full disk, too. With room again, `dvc repro` goes on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted("-t", "tmpfs", "-o", "size=64m", "none", disk):
        project = new_project(disk)
        project.set_params(NEW)
        used = int(project.run("du", "-sk", str(disk)).stdout.split()[0])
        for more in (600, 1600, 3000):
            project.run(*AS_ROOT, "mount", "-o", f"remount,size={used + more}k", str(disk))
            full = project.run("dvc", "repro", check=False)
            assert full.returncode != 0
            assert "No space left on device" in full.stderr or "disk is full" in full.stderr, full.stderr
            count["system"] += 1
        project.run(*AS_ROOT, "mount", "-o", "remount,size=64m", str(disk))
        project.run("dvc", "repro")
        assert (project.folder / "dvc.lock").read_bytes() == pipeline.lock()
        for name, content in pipeline.new.items():
            assert (project.folder / name).read_bytes() == content, name
