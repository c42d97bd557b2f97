"""A training that is killed, and DVC with it, ends with the bytes of an undisturbed one, and keeps what it had done."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.support.flow import FLOW, written
from tests.support.project import PLAIN, Project

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("dvc_streams")]

EVERYTHING = PLAIN | {
    "preprocess.validation_size": 100,
    "train.iterations": 500,
    "train.activation": "relu",
    "train.weight_init_std": "he",
    "train.learning_rate": 0.05,
    "train.schedule": "cosine",
    "train.momentum": 0.9,
    "train.nesterov": True,
    "train.hidden_dropout": 0.3,
    "train.patience": 100,
    "train.keep": "best",
    "distort.rotation": 15,
}
CONTINUES = re.compile(r"Training continues after epoch (\d+)\.")


@pytest.mark.parametrize("command", ["dvc repro train", "dvc exp run --temp train"])
def test_dvc_killed(project_with_results: Project, command):
    """The same command goes on.

    A queued experiment runs as one in a temporary folder does: the checkpoint is in the project that started it.
    """
    project = project_with_results
    environment = {key: value for key, value in project.environment.items() if key != "TRAIN_CHECKPOINTS"}
    checkpoints = project.folder / ".dvc" / "tmp" / "checkpoints"
    module = project.folder / "pipeline" / "fitting" / "checkpoint.py"
    text = module.read_text(encoding="utf-8")
    module.write_text(re.sub(r"^INTERVAL = .*$", "INTERVAL = 0.0", text, flags=re.MULTILINE), encoding="utf-8")
    project.set_params(EVERYTHING)
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
