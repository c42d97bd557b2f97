"""What DVC keeps is damaged, or two of it run at once: the lock stays true, or a sentence says what to do."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.faults import SEED
from tests.support.flow import written
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
    for path in (path for stage in STAGES for path in written(stage, project.folder)):
        flip(project.folder / path, chance)
    assert "up to date" not in project.dvc("status")
    repro(project, reproduced)
    for folders in (("data", "models", "metrics"), (".dvc/cache", "models")):
        for folder in folders:
            shutil.rmtree(project.folder / folder)
        repro(project, reproduced)


def test_damage_that_dvc_does_not_see(project, reproduced):
    """A bit flips in each file of the cache, and in outputs without a new time: `make check` finds them all."""
    pytest.importorskip("tools.check", reason="part of the tools")
    chance = random.Random(SEED)

    def check() -> subprocess.CompletedProcess:
        return project.run(sys.executable, "-m", "tools.check", check=False)

    assert check().returncode == 0
    files = sorted(project.folder.glob(".dvc/cache/files/md5/??/*"), key=lambda path: path.suffix == ".dir")
    lists = [path for path in files if path.suffix == ".dir"]  # of a folder's files: these, DVC reads
    for path in files[: -len(lists)]:
        flip(path, chance)
    outputs = {"data/raw": "data/raw/t10k-labels-idx1-ubyte"}
    outputs |= {path: path for path in ("models/mlp.npz", "metrics/test.json")}
    for file in outputs.values():
        path = project.folder / file
        times = path.stat()
        flip(path, chance)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "up to date" in project.dvc("status"), "DVC has learnt to look: docs/faults.md can say so"
    for path in lists:
        flip(path, chance)

    found = check()
    assert found.returncode == 1
    assert found.stdout.count("damaged in DVC's cache") == len(files)
    assert all(f"{out}: not what dvc.lock says" in found.stdout for out in outputs)
    repro(project, reproduced)
    assert check().returncode == 0


def test_half_written_by_dvc(project, reproduced):
    """DVC writes its own files in place. Killed just then, it stops the next time. The cures are in docs/faults.md."""
    for name, content, sentence, cure in (
        (".dvc/tmp/rwlock", '{"write": {"', "Unable to read RWLock-file", "rm .dvc/tmp/rwlock"),
        ("dvc.lock", "schema: '2.0'\nsta", "dvc.lock", "git checkout dvc.lock"),
        ("dvc.lock", "", "dvc.lock", "rm dvc.lock"),
    ):
        (project.folder / name).write_text(content)
        stopped = project.run("dvc", "repro", check=False)
        assert stopped.returncode != 0
        assert sentence in stopped.stdout + stopped.stderr
        project.run(*cure.split())
        repro(project, reproduced)
