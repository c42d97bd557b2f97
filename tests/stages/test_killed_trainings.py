"""A training that is killed again and again ends with the bytes of an undisturbed one, and keeps what it had done."""

import os
import random
import re
import signal
import subprocess
import time
from itertools import chain
from pathlib import Path

import psutil
import pytest

from mlp.training import new_state
from pipeline.settings.params import load_params
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.method import method_of
from tests.support.faults import SEED, start_python, times
from tests.support.networks import new_network
from tests.support.project import Project, new_project

pytestmark = pytest.mark.slow

EPOCHS = 60
EVERYTHING: dict[str, object] = {
    "preprocess.validation_size": 100,
    "train.iterations": 5 * EPOCHS,  # 500 images
    "train.activation": "relu",
    "train.weight_init_std": "he",
    "train.learning_rate": 0.05,
    "train.schedule": "cosine",
    "train.warmup": 10,
    "train.momentum": 0.9,
    "train.nesterov": True,
    "train.weight_decay": 0.001,
    "train.max_norm": 2,
    "train.input_dropout": 0.2,
    "train.hidden_dropout": 0.3,
    "train.patience": EPOCHS,
    "train.keep": "best",
    "distort.rotation": 15,
    "distort.shear": 15,
    "distort.scaling": 15,
    "distort.shift": 1,
    "distort.elastic": 1,
    "plot.dpi": 50,
}
ADAM = EVERYTHING | {
    "train.optimizer": "adam",
    "train.nesterov": False,
    "train.learning_rate": 0.003,
    "train.schedule": "linear",
}
CONTINUES = re.compile(r"Training continues after epoch (\d+)\.")

# The train stage, which tells of each epoch that it has finished
STAGE = """
import runpy
from pipeline.training.checkpoint import Checkpoint

def save(self, state, rows, whole=Checkpoint.save):
    print(len(rows), flush=True)
    whole(self, state, rows)

Checkpoint.save = save
runpy.run_module("stages.train", run_name="__main__")
"""


class Training:
    """A project whose train stage writes a checkpoint after every epoch, with the outputs that it should have."""

    def __init__(self, folder: Path, params: dict[str, object]):
        self.project = new_project(folder)
        self.folder = self.project.folder
        module = self.folder / "pipeline" / "training" / "checkpoint.py"
        text = module.read_text(encoding="utf-8")
        module.write_text(re.sub(r"^INTERVAL = .*$", "INTERVAL = 0.0", text, flags=re.MULTILINE), encoding="utf-8")
        self.checkpoints = self.folder / ".dvc" / "tmp" / "checkpoints"
        self.project.environment.pop("TRAIN_CHECKPOINTS")
        self.project.set_params(params)
        self.project.commit("Train as the field trains")
        self.project.run("dvc", "repro", "preprocess")
        self.expected: dict[str, bytes] = {}
        self.run()
        self.expected = self.outputs()

    def start(self) -> subprocess.Popen[str]:
        return start_python(self.project, "-c", STAGE)

    def run(self) -> str:
        """Run the stage to its end. Return what it says."""
        process = self.start()
        stderr = process.communicate()[1]
        assert process.returncode == 0, stderr
        assert not list(self.checkpoints.glob("*.npz"))
        return stderr

    def outputs(self) -> dict[str, bytes]:
        """Return the content of the model, the history and the scores by name."""
        names = ["mlp.npz", "training/history.csv", "training/train.json", "training/validation.json"]
        paths = [self.folder / "models" / name for name in names]
        return {path.name: path.read_bytes() for path in paths if path.exists()}

    def remove_outputs(self) -> None:
        for name in ("mlp.npz", "training/history.csv", "training/train.json", "training/validation.json"):
            (self.folder / "models" / name).unlink(missing_ok=True)


@pytest.mark.parametrize("params", [EVERYTHING, ADAM], ids=["Nesterov", "Adam"])
def test_training_killed(tmp_path, count, params):
    """At random moments: before the first epoch, in an epoch, while a checkpoint is written, at the end."""
    training = Training(tmp_path, params)
    chance = random.Random(f"{SEED} {params['train.learning_rate']}")
    wanted = times(55)
    while count["SIGKILL"] < wanted:
        training.remove_outputs()
        before = 0
        while True:
            process = training.start()
            first = ""
            if chance.random() < 0.2:
                time.sleep(chance.uniform(0, 1))
            elif first := process.stdout.readline():  # the first epoch
                time.sleep(chance.uniform(0, 0.8))
            process.kill()
            stdout, stderr = process.communicate()
            stdout = first + stdout
            found = CONTINUES.search(stderr)
            continued = int(found[1]) if found else 0
            reached = max([continued, *map(int, stdout.split())])
            if process.returncode != -signal.SIGKILL:
                assert process.returncode == 0, stderr
                break
            count["SIGKILL"] += 1
            if before and (found or stdout):
                # It went on where the last run stood, but for the epoch whose checkpoint was being written
                assert continued in (before - 1, before), (before, stderr)
                count["continued"] += 1
                count["kept"] += continued
                count["reached"] += before
            before = max(reached, before)
            if not list(training.checkpoints.glob("*.npz")):  # killed before the first was written, or after its end
                assert before in (0, 1, EPOCHS)
                assert before < EPOCHS or training.outputs() == training.expected
                before = 0
        assert training.outputs() == training.expected
        count["compared"] += len(training.expected)
        assert not list(training.checkpoints.glob("*.npz"))


def wait_for_epochs(training: Training, folder: Path, process: subprocess.Popen | None = None) -> None:
    """Wait until a training has written several checkpoints into the folder."""
    changes, last, end = 0, None, time.monotonic() + 300
    while changes < 5:
        assert time.monotonic() < end, "no training"
        assert process is None or process.poll() is None, process.communicate()
        now = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npz") if path.exists()}
        changes += bool(now) and now != last
        last = now
        time.sleep(0.002)


@pytest.fixture(scope="module")
def training(tmp_path_factory) -> Training:
    """A training that takes a few seconds."""
    return Training(tmp_path_factory.mktemp("training"), EVERYTHING | {"train.iterations": 5 * 250})


@pytest.fixture
def again(training) -> Training:
    """That training, to be done again: no file of it is left, and DVC remembers no run of the stage."""
    training.project.run("git", "checkout", "--quiet", "--force", "HEAD")
    training.project.run("git", "clean", "-qfd")
    training.remove_outputs()
    subprocess.run(
        ["rm", "-rf", ".dvc/cache/runs", ".dvc/tmp/checkpoints", "dvc.lock"], cwd=training.folder, check=True
    )
    return training


@pytest.mark.parametrize("command", [["dvc", "repro"], ["dvc", "exp", "run"]], ids=["dvc repro", "dvc exp run"])
@pytest.mark.parametrize("elsewhere", [False, True], ids=["", "in another folder"])
def test_dvc_killed(again, tmp_path, count, command, elsewhere):
    """DVC and everything that it runs are killed. The same command goes on."""
    project, folder = again.project, again.checkpoints
    environment = project.environment
    if elsewhere:
        folder = tmp_path / "checkpoints"
        environment = environment | {"TRAIN_CHECKPOINTS": str(folder)}
    process = subprocess.Popen(
        command,
        cwd=again.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    wait_for_epochs(again, folder, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    count["SIGKILL"] += 1
    (again.folder / ".dvc" / "tmp" / "rwlock").unlink(missing_ok=True)  # as docs/faults.md says
    done = subprocess.run(command, cwd=again.folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(CONTINUES.search(done.stdout + done.stderr)[1]) >= 4
    count["continued"] += 1
    assert again.outputs() == again.expected
    count["compared"] += len(again.expected)
    assert not list(folder.glob("*.npz"))


def test_queued_experiment_killed(again, count):
    """The stage of a queued experiment is killed. Another experiment of the same parameters goes on."""
    project = again.project
    project.run("dvc", "exp", "run", "--queue", "--name", "first")
    start_queue(project)
    wait_for_epochs(again, again.checkpoints)
    killed = [
        process
        for process in psutil.process_iter(["cmdline", "cwd"])
        if "stages.train" in (process.info["cmdline"] or ()) and str(again.folder) in (process.info["cwd"] or "")
    ]
    assert killed
    for process in killed:
        process.kill()
    count["SIGKILL"] += 1
    wait_for_queue(project)
    assert "Failed" in project.run("dvc", "queue", "status").stdout
    project.run("dvc", "exp", "run", "--queue", "--name", "second")
    start_queue(project)
    wait_for_queue(project)
    log = project.run("dvc", "queue", "logs", "second").stdout
    assert int(CONTINUES.search(log)[1]) >= 4
    count["continued"] += 1
    end = time.monotonic() + 300
    while "second" not in project.run("dvc", "exp", "list", "--name-only").stdout:  # it is collected after its end
        assert time.monotonic() < end
        time.sleep(0.5)
    project.run("dvc", "exp", "apply", "second")
    assert again.outputs() == again.expected
    count["compared"] += len(again.expected)


def start_queue(project: Project) -> None:
    # Its worker lives on. It would hold open the pipes of `Project.run`.
    command = ["dvc", "queue", "start"]
    subprocess.run(
        command,
        cwd=project.folder,
        env=project.environment,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for_queue(project: Project) -> None:
    end = time.monotonic() + 600
    while any(state in (status := project.run("dvc", "queue", "status").stdout) for state in ("Running", "Queued")):
        assert time.monotonic() < end, status
        time.sleep(5)
        if "0 active, 0 idle" in status:  # `dvc queue start` does nothing while the last worker is about to leave
            start_queue(project)


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Return the content of a file after an accident."""
    place, length = chance.randrange(len(content)), chance.choice([1, 1, 8, 100, 4096])
    piece = content[place : place + length]
    match chance.randrange(7):
        case 0:
            return content[:place] + bytes([content[place] ^ (1 << chance.randrange(8))]) + content[place + 1 :]
        case 1:
            return content[:place]
        case 2:
            return content[:place] + bytes(len(piece)) + content[place + len(piece) :]
        case 3:
            return content[:place] + content[place + len(piece) :]
        case 4:
            return content[:place] + piece + content[place:]
        case 5:
            return content[:place] + chance.randbytes(len(piece)) + content[place + len(piece) :]
    other = chance.randrange(len(content))
    return content[:place] + content[other : other + length] + content[place + length :]


def test_damaged_checkpoints(tmp_path, count, monkeypatch):
    """A damaged checkpoint is ignored, unless what it holds is unharmed."""
    training = Training(tmp_path, EVERYTHING)
    process = training.start()
    for _ in range(7):
        process.stdout.readline()
    process.kill()
    process.communicate()
    (path,) = training.checkpoints.glob("*.npz")
    content = path.read_bytes()

    monkeypatch.setenv("TRAIN_CHECKPOINTS", str(tmp_path / "damaged"))
    params = load_params(training.folder / "params.yaml")
    monkeypatch.setattr("pipeline.training.checkpoint.ROOT", training.folder)
    data = [training.folder / "data" / "prepared" / f"{name}.npz" for name in ("train", "validation")]
    checkpoint = Checkpoint(params, data, 1)
    assert checkpoint.path.name == path.name
    checkpoint.path.parent.mkdir()
    method = method_of(params, (28, 28))

    def loaded() -> tuple:
        state = new_state(new_network("exact", (50,), "relu", "he"), method)
        rows = checkpoint.load(state)
        arrays = [
            *state.network.weights,
            *state.network.biases,
            *state.best.parameters,
            *chain.from_iterable(state.memory),
        ]
        return rows, state.iteration, state.best[:2], [array.tobytes() for array in arrays]

    nothing = loaded()
    checkpoint.path.write_bytes(content)
    whole = loaded()
    assert len(whole[0]) >= 6
    chance = random.Random(SEED)
    for _ in range(times(1000)):
        count["damaged"] += 1
        checkpoint.path.write_bytes(damaged(content, chance))
        found = loaded()
        assert found in (nothing, whole)
        count["refused" if found == nothing else "accepted"] += 1
    assert count["refused"] > 0.9 * count["damaged"]

    # The stage ignores it, too
    for _ in range(times(5)):
        path.write_bytes(damaged(content, chance))
        training.remove_outputs()
        training.run()
        assert training.outputs() == training.expected
        count["compared"] += len(training.expected)
