"""What DVC keeps is damaged, or two of it run at once: the lock stays true, or a sentence says what to do."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.faults import SEED
from tests.support.flow import outs, written
from tests.support.project import STAGES, Project

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("dvc_streams")]


@pytest.fixture
def project(project_with_results: Project) -> Project:
    """The pipeline after `dvc repro`, which DVC has looked at once since it was copied."""
    assert "up to date" in project_with_results.dvc("status")
    return project_with_results


def results(project: Project) -> dict[str, bytes]:
    """Return the lock and all outputs."""
    found = {path: content for stage in STAGES for path, content in written(stage, project.folder).items()}
    return found | {"dvc.lock": (project.folder / "dvc.lock").read_bytes()}


def repro(project: Project, reproduced: Project) -> None:
    """Fail unless `dvc repro` has the lock and all outputs as they were."""
    project.dvc("repro")
    assert results(project) == results(reproduced)


def check(project: Project) -> subprocess.CompletedProcess:
    return project.run(sys.executable, "-m", "tools.check", check=False)


def flip(path: Path, chance: random.Random) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(mode)


def test_outputs_damaged_or_removed(project, reproduced):
    """Every output has a flipped bit, or is gone; then the cache is gone, too. DVC has all right again."""
    chance = random.Random(SEED)
    for stage in STAGES:
        for path in written(stage, project.folder):
            flip(project.folder / path, chance)
    assert "up to date" not in project.dvc("status")
    repro(project, reproduced)
    for folder in ("data", "models", "metrics"):
        shutil.rmtree(project.folder / folder)
    repro(project, reproduced)
    for folder in (".dvc/cache", "models"):
        shutil.rmtree(project.folder / folder)
    repro(project, reproduced)


def test_damage_that_dvc_does_not_see(project, reproduced):
    """A bit flips in each file of the cache, and in outputs without a new time: `make check` finds them all."""
    pytest.importorskip("tools.check", reason="part of the tools")
    chance = random.Random(SEED)
    assert check(project).returncode == 0
    files = sorted(project.folder.glob(".dvc/cache/files/md5/??/*"))
    lists = [path for path in files if path.suffix == ".dir"]  # of a folder's files: these, DVC reads
    for path in files:
        if path not in lists:
            flip(path, chance)
    outputs = {next(iter(outs(stage))): next(iter(written(stage, project.folder))) for stage in ("download", "train")}
    outputs["metrics/test.json"] = "metrics/test.json"
    for file in outputs.values():
        path = project.folder / file
        times = path.stat()
        flip(path, chance)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "up to date" in project.dvc("status"), "DVC has learnt to look: docs/faults.md can say so"
    for path in lists:
        flip(path, chance)

    found = check(project)
    assert found.returncode == 1
    assert found.stdout.count("damaged in DVC's cache") == len(files)
    for out in outputs:
        assert f"{out}: not what dvc.lock says" in found.stdout
    repro(project, reproduced)
    assert check(project).returncode == 0


def test_two_repros_at_once(project, reproduced):
    """The second stops and says why; the first is not disturbed."""
    command = ["dvc", "repro", "--force", "--no-run-cache", "preprocess"]
    options = {"cwd": project.folder, "env": project.environment, "text": True, "stderr": subprocess.PIPE}
    runs = [subprocess.Popen(command, stdout=subprocess.DEVNULL, **options) for _ in range(2)]
    ends = [(run.communicate()[1], run.returncode) for run in runs]
    assert 0 in [returncode for _, returncode in ends], ends
    for stderr, returncode in ends:
        assert returncode == 0 or "is busy, it is being blocked by" in stderr or "Unable to acquire lock" in stderr
        assert "Traceback" not in stderr
    repro(project, reproduced)


@pytest.mark.parametrize(
    ("name", "content", "sentence", "cure"),
    [
        (".dvc/tmp/rwlock", "", "Unable to read RWLock-file", ["rm", ".dvc/tmp/rwlock"]),
        (".dvc/tmp/rwlock", '{"write": {"', "Unable to read RWLock-file", ["rm", ".dvc/tmp/rwlock"]),
        ("dvc.lock", "schema: '2.0'\nsta", "dvc.lock", ["git", "checkout", "dvc.lock"]),
        ("dvc.lock", "", "dvc.lock", ["rm", "dvc.lock"]),
    ],
    ids=str,
)
def test_half_written_by_dvc(project, reproduced, name, content, sentence, cure):
    """DVC writes its own files in place. Killed just then, it leaves a half one, and stops there with a sentence."""
    (project.folder / name).write_text(content)
    stopped = project.run("dvc", "repro", check=False)
    assert stopped.returncode != 0
    assert sentence in stopped.stdout + stopped.stderr
    assert "Traceback" not in stopped.stderr
    project.run(*cure)
    repro(project, reproduced)
