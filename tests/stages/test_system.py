"""The disk is full, or can only be read: one sentence with the file's name, nothing half-written, and recovery."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

import pytest

from tests.support.faults import Pipeline, resource, results
from tests.support.flow import run_stage
from tests.support.project import STAGES, new_project

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("dvc_streams")]

# A folder that a stage writes into, and reads nothing from
FOLDERS = {
    "download": "data/raw",
    "preprocess": "data/prepared",
    "train": "models",
    "evaluate": "metrics",
    "plot": "metrics/figures",
}
AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]


@contextmanager
def mounted(*arguments: object) -> Iterator[None]:
    """Mount something while the block runs, where we may. Continuous integration must be allowed to."""
    *_, place = arguments
    if subprocess.run([*AS_ROOT, "mount", *map(str, arguments)], capture_output=True).returncode != 0:
        (pytest.fail if "CI" in os.environ else pytest.skip)("only root can mount a small disk")
    try:
        yield
    finally:
        subprocess.run([*AS_ROOT, "umount", place], check=True)


@contextmanager
def short_files(folder: str, limit: int) -> Iterator[str]:
    """A limit on the length of a file stops a stage in the middle of writing one, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield "File too large"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def read_only(folder: str, limit: int) -> Iterator[str]:
    """The folder is read-only."""
    if os.geteuid() == 0:  # whom permissions do not stop
        with mounted("--bind", folder, folder):
            subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
            yield "Read-only file system"
    else:
        Path(folder).chmod(0o555)
        yield "Permission denied"
        Path(folder).chmod(0o755)


@pytest.mark.parametrize(("stage", "fault"), [*((stage, short_files) for stage in STAGES), ("train", read_only)])
def test_disk_that_refuses(pipeline: Pipeline, stage: str, fault):
    """The stage ends with a sentence that names a file, or its folder, and the reason; then it can run again."""
    folder, expected = FOLDERS[stage], pipeline.expected[stage]
    longest = max(len(content) for path, content in expected.items() if path.startswith(folder))
    with chdir(pipeline.folder):
        pipeline.clear(stage)
        with fault(folder, longest // 2) as reason:
            result = run_stage(stage)
        assert result.exit_code == 1, result.output
        sentence = re.fullmatch(rf"error: (.+): {reason}\.", result.stderr.splitlines()[-1])
        assert sentence, result.output
        assert any(path == sentence[1] or path.startswith(f"{sentence[1]}/") for path in expected), sentence
        pipeline.check_nothing_half(stage)
        assert not pipeline.parts()
        assert run_stage(stage).exit_code == 0
    assert pipeline.outputs(stage) == expected


def test_repro_on_a_full_disk(tmp_path, reproduced):
    """DVC's own files meet the full disk, too. With room again, `dvc repro` goes on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted("-t", "tmpfs", "-o", "size=64m", "none", disk):
        project = new_project(disk)
        used = int(project.run("du", "-sk", str(disk)).stdout.split()[0])
        for more in (600, 3000):
            project.run(*AS_ROOT, "mount", "-o", f"remount,size={used + more}k", str(disk))
            full = project.run("dvc", "repro", check=False)
            assert full.returncode != 0
            assert "No space left on device" in full.stderr or "disk is full" in full.stderr, full.stderr
        project.run(*AS_ROOT, "mount", "-o", "remount,size=64m", str(disk))
        project.run("dvc", "repro")
        assert results(project) == results(reproduced)
