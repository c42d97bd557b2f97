"""What DVC keeps is damaged, or two of it run at once: the lock stays true, or a sentence says what to do."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.faults import SEED, Pipeline
from tests.support.project import Project

pytestmark = pytest.mark.slow


@pytest.fixture
def project(pipeline, tmp_path) -> Project:
    """A copy of the pipeline after `dvc repro`."""
    pipeline.lock()
    shutil.copytree(pipeline.folder, tmp_path / "project", copy_function=shutil.copy)
    project = Project(tmp_path / "project")
    project.run("dvc", "config", "core.site_cache_dir", str(tmp_path / "site-cache"), "--local")
    assert "up to date" in project.run("dvc", "status").stdout
    return project


def assert_whole(project: Project, pipeline: Pipeline) -> None:
    """Fail unless the lock and all outputs are what they were."""
    assert (project.folder / "dvc.lock").read_bytes() == pipeline.lock()
    for name, content in pipeline.new.items():
        assert (project.folder / name).read_bytes() == content, name


def flip(path: Path, chance: random.Random) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(mode)


def check(project: Project) -> subprocess.CompletedProcess:
    return project.run(sys.executable, "-m", "tools.check", check=False)


def test_outputs_damaged(project, pipeline, count):
    """Every output has a flipped bit: DVC sees it, and has it right again."""
    chance = random.Random(SEED)
    for name in pipeline.new:
        flip(project.folder / name, chance)
        count["storage"] += 1
    assert "up to date" not in project.run("dvc", "status").stdout
    project.run("dvc", "repro")
    assert_whole(project, pipeline)


def test_outputs_removed(project, pipeline, count):
    for folder in ("data", "models", "metrics"):
        shutil.rmtree(project.folder / folder)
        count["storage"] += 1
    project.run("dvc", "repro")
    assert_whole(project, pipeline)


def test_damage_that_dvc_does_not_see(project, pipeline, count):
    """A bit flips in each file of the cache, and in outputs without a new time: `make check` finds them all."""
    chance = random.Random(SEED)
    assert check(project).returncode == 0
    files = sorted(project.folder.glob(".dvc/cache/files/md5/??/*"))
    lists = [path for path in files if path.suffix == ".dir"]  # of a folder's files: these, DVC reads
    for path in files:
        if path not in lists:
            flip(path, chance)
    outputs = ["models/mlp.npz", "data/raw/train-images-idx3-ubyte", "metrics/test.json"]
    for name in outputs:
        path = project.folder / name
        times = path.stat()
        flip(path, chance)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "up to date" in project.run("dvc", "status").stdout, "DVC has learnt to look: docs/faults.md can say so"
    for path in lists:
        flip(path, chance)
    count["storage"] += len(files) + len(outputs)

    found = check(project)
    assert found.returncode == 1
    assert found.stdout.count("damaged in DVC's cache") == len(files)
    for out in ("models/mlp.npz", "data/raw", "metrics/test.json"):
        assert f"{out}: not what dvc.lock says" in found.stdout
    project.run("dvc", "repro")
    assert_whole(project, pipeline)
    assert check(project).returncode == 0


def test_cache_removed(project, pipeline, count):
    """Nothing is lost: what is in the cache can be made again."""
    shutil.rmtree(project.folder / ".dvc" / "cache")
    shutil.rmtree(project.folder / "models")
    count["storage"] += 1
    project.run("dvc", "repro")
    assert_whole(project, pipeline)


def test_two_repros_at_once(project, pipeline, count):
    """The second stops and says why; the first is not disturbed."""
    command = ["dvc", "repro", "--force", "--no-run-cache"]
    runs = [
        subprocess.Popen(
            command,
            cwd=project.folder,
            env=project.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    ends = [(run.communicate()[1], run.returncode) for run in runs]
    assert 0 in [returncode for _, returncode in ends], ends
    for stderr, returncode in ends:
        assert returncode == 0 or "is busy, it is being blocked by" in stderr or "Unable to acquire lock" in stderr
        assert "Traceback" not in stderr
    count["storage"] += 1
    project.run("dvc", "repro")
    assert_whole(project, pipeline)


def test_half_written_by_dvc(project, pipeline, count):
    """DVC writes its own files in place. Killed just then, it leaves a half one, and stops there with a sentence."""
    identity = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]
    project.run("git", "add", "dvc.lock")
    project.run("git", *identity, "commit", "-q", "-m", "Results", "dvc.lock")
    for name, content, sentence, cure in [
        (".dvc/tmp/rwlock", "", "Unable to read RWLock-file", ["rm", ".dvc/tmp/rwlock"]),
        (".dvc/tmp/rwlock", '{"write": {"', "Unable to read RWLock-file", ["rm", ".dvc/tmp/rwlock"]),
        ("dvc.lock", "schema: '2.0'\nsta", "dvc.lock", ["git", "checkout", "dvc.lock"]),
        ("dvc.lock", "", "dvc.lock", ["rm", "dvc.lock"]),
    ]:
        (project.folder / name).write_text(content)
        stopped = project.run("dvc", "repro", check=False)
        assert stopped.returncode != 0
        assert sentence in stopped.stdout + stopped.stderr
        assert "Traceback" not in stopped.stderr
        count["storage"] += 1
        project.run(*cure)
        project.run("dvc", "repro")
        assert_whole(project, pipeline)
