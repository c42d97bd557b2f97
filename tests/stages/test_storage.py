"""What DVC keeps is damaged, gone, or half-written: the lock stays true, or a sentence says what to do."""

import random
import shutil
from pathlib import Path

import pytest

from tests.support.faults import SEED, results
from tests.support.flow import written
from tests.support.project import STAGES, Project

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("dvc_streams")]


def repro(project: Project, reproduced: Project) -> None:
    """Fail unless `dvc repro` has the lock and all outputs as they were."""
    project.dvc("repro")
    assert results(project) == results(reproduced)


def flip(path: Path, chance: random.Random) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def test_outputs_damaged_or_removed(project_with_results, reproduced):
    """Every output has a flipped bit, or is gone; then the cache is gone, too. DVC has all right again."""
    project, chance = project_with_results, random.Random(SEED)
    for path in (path for stage in STAGES for path in written(stage, project.folder)):
        flip(project.folder / path, chance)
    assert "up to date" not in project.dvc("status")
    repro(project, reproduced)
    for folders in (("data", "models", "metrics"), (".dvc/cache", "models")):
        for folder in folders:
            shutil.rmtree(project.folder / folder)
        repro(project, reproduced)


def test_half_written_by_dvc(project_with_results, reproduced):
    """DVC writes its own files in place. Killed just then, it stops the next time. The cures are in docs/faults.md."""
    project = project_with_results
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
