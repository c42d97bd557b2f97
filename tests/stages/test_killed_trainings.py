"""A training that is killed again and again ends with the bytes of an undisturbed one, and keeps what it had done."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.faults import SEED, times
from tests.support.files import save_prepared
from tests.support.flow import FLOW, HISTORY, arguments, by_name, is_beginning, run_stage, written
from tests.support.networks import digits
from tests.support.project import PLAIN, ROOT, Project

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("dvc_streams")]

EPOCHS = 60
EVERYTHING = PLAIN | {
    "preprocess.validation_size": 100,
    "train.iterations": 5 * EPOCHS,
    "train.activation": "relu",
    "train.weight_init_std": "he",
    "train.learning_rate": 0.05,
    "train.schedule": "cosine",
    "train.momentum": 0.9,
    "train.nesterov": True,
    "train.hidden_dropout": 0.3,
    "train.patience": EPOCHS,
    "train.keep": "best",
    "distort.rotation": 15,
}
CONTINUES = re.compile(r"Training continues after epoch (\d+)\.")

# The train stage, which has a checkpoint after each epoch, and tells of each that it has finished
STAGE = """
import runpy
from pipeline.fitting import checkpoint

def save(self, state, rows, whole=checkpoint.Checkpoint.save):
    print(len(rows), flush=True)
    whole(self, state, rows)

checkpoint.INTERVAL, checkpoint.Checkpoint.save = 0.0, save
runpy.run_module("stages.train", run_name="__main__", alter_sys=True)
"""


def test_training_killed(tmp_path, monkeypatch, write_params):
    """At random moments: before the first epoch, in an epoch, while a checkpoint is written."""
    monkeypatch.chdir(tmp_path)
    images, labels = digits("train")
    save_prepared(Path("data/prepared/train.npz"), images[:500], labels[:500])
    save_prepared(Path("data/prepared/validation.npz"), images[500:], labels[500:])
    write_params(EVERYTHING)
    assert run_stage("train").exit_code == 0
    expected = by_name("train")
    for path in written("train"):
        Path(path).unlink()

    environment = os.environ | {"TRAIN_CHECKPOINTS": "checkpoints", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", STAGE, *arguments("train")]
    chance = random.Random(SEED)
    before = kept = 0
    for number in range(times(5) + 1):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        first = ""
        if number < times(5):
            if number != 1:  # that one perhaps before it has begun
                first = process.stdout.readline()
            time.sleep(chance.uniform(0, 0.3))
            process.kill()
        stdout, stderr = process.communicate()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, stderr
        continued = CONTINUES.search(stderr)
        reached = [int(number) for number in (first + stdout).split()]
        if continued or reached:
            # It went on where the last run stood, but for the epoch whose checkpoint was being written
            at = int(continued[1]) if continued else 0
            assert at in (before - 1, before), (before, stderr)
            kept += at > 0
            before = max([at, *reached])
        for path, content in written("train").items():
            assert path == HISTORY
            assert is_beginning(content, expected["history.csv"])
    assert process.returncode == 0, stderr
    assert kept or CONTINUES.search(stderr)
    assert by_name("train") == expected
    assert not list(Path("checkpoints").glob("*.npz"))


@pytest.mark.parametrize("command", ["dvc repro train", "dvc exp run --temp train"])
def test_dvc_killed(project_with_results: Project, command):
    """DVC and everything that it runs are killed. The same command goes on.

    A queued experiment runs as one in a temporary folder does: the checkpoint is in the project that started it.
    """
    project = project_with_results
    environment = {key: value for key, value in project.environment.items() if key != "TRAIN_CHECKPOINTS"}
    checkpoints = project.folder / ".dvc" / "tmp" / "checkpoints"
    module = project.folder / "pipeline" / "fitting" / "checkpoint.py"
    text = module.read_text(encoding="utf-8")
    module.write_text(re.sub(r"^INTERVAL = .*$", "INTERVAL = 0.0", text, flags=re.MULTILINE), encoding="utf-8")
    project.set_params(EVERYTHING | {"train.iterations": 5 * 100})
    project.commit("Train as the field trains")

    options = {"cwd": project.folder, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command.split(), start_new_session=True, text=True, **options)
    seen, end = set(), time.monotonic() + 300
    while len(seen) < 4:
        assert time.monotonic() < end, "no training"
        assert process.poll() is None, process.communicate()
        seen |= {path.stat().st_mtime_ns for path in checkpoints.glob("*.npz") if path.exists()}
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (project.folder / ".dvc" / "tmp" / "rwlock").unlink(missing_ok=True)  # as docs/faults.md says
    done = subprocess.run(command.split(), text=True, **options)
    assert done.returncode == 0, done.stdout
    assert int(CONTINUES.search(done.stdout)[1]) >= 2
    assert not list(checkpoints.glob("*.npz"))

    if "--temp" in command:
        (experiment,) = project.dvc("exp", "list", "--name-only").split()
        project.dvc("exp", "apply", experiment)
    result = written("train", project.folder)
    undisturbed = project.run(sys.executable, *FLOW["train"]["cmd"].split()[1:], "--fresh")
    assert not CONTINUES.search(undisturbed.stderr)
    assert written("train", project.folder) == result
