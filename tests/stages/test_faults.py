"""Kills, Ctrl-C and full disks: no file is half, a sentence says what to do, DVC goes on."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import chdir
from pathlib import Path

import psutil
import pytest

from tests.support.faults import SEED, times
from tests.support.flow import FLOW, HISTORY, is_beginning, results, run_stage, written
from tests.support.project import STAGES, Project

resource = pytest.importorskip(
    "resource", reason="limits and signals are tested where Unix has them"
)
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("dvc_streams")]


def check_results(project: Project, reproduced: Project) -> None:
    """Fail unless a project has the lock and all outputs of an undisturbed one, and DVC says so."""
    assert results(project) == results(reproduced)
    locks = [one.folder / "dvc.lock" for one in (project, reproduced)]
    assert locks[0].read_bytes() == locks[1].read_bytes()
    assert "up to date" in project.dvc("status")


class Pipeline:
    """A small pipeline that has been reproduced. Its stages can be disturbed one by one."""

    def __init__(self, project: Project):
        self.project, self.folder = project, project.folder
        self.expected = {stage: written(stage, self.folder) for stage in STAGES}  # content by path

    def clear(self, stage: str) -> None:
        """Remove the outputs of a stage, and all temporary files."""
        for path in self.parts() | {self.folder / path for path in self.outputs(stage)}:
            path.unlink()

    def start(self, stage: str) -> subprocess.Popen[str]:
        """Start a stage as DVC would: without its outputs."""
        self.clear(stage)
        command, pipe = [sys.executable, *FLOW[stage]["cmd"].split()[1:]], subprocess.PIPE
        options = {"cwd": self.folder, "env": self.project.environment, "encoding": "utf-8"}
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, **options)

    def outputs(self, stage: str) -> dict[str, bytes]:
        """Return the content of each output of a stage as it is now, by path."""
        made = written(stage, self.folder)
        return {path: made[path] for path in made if not path.endswith(".part")}

    def files(self) -> set[Path]:
        """Return all files in the folders of outputs, temporary ones too."""
        folders = [self.folder / name for name in ("data", "models", "metrics")]
        return {path for folder in folders for path in folder.rglob("*")}

    def parts(self) -> set[Path]:
        return {path for path in self.files() if path.name.endswith(".part")}

    def check_nothing_half(self, stage: str) -> None:
        """Fail unless the outputs of a stage that are there are whole, or a history that grew."""
        for path, content in self.outputs(stage).items():
            whole = self.expected[stage][path]
            assert content == whole or (path == HISTORY and is_beginning(content, whole)), path

    def check_recovery(self, stage: str) -> None:
        """Run a stage undisturbed. Fail unless its outputs are then right."""
        process = self.start(stage)
        said = process.communicate()
        assert process.returncode == 0, said
        assert self.outputs(stage) == self.expected[stage]


@pytest.fixture(scope="module")
def pipeline(reproduced: Project, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A copy of the reproduced pipeline, to disturb."""
    folder = tmp_path_factory.mktemp("pipeline") / "project"
    shutil.copytree(reproduced.folder, folder, symlinks=True)
    return Pipeline(Project(folder))


# Kills


def wait(process: subprocess.Popen, seconds: float, until=lambda: False) -> None:
    """Wait so long, until the process has ended, or until something is so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None and not until():
        time.sleep(0.0005)


@pytest.mark.parametrize("stage", STAGES)
def test_stage_killed_or_interrupted(pipeline, stage):
    """Every other time while a file is being written; every third time by Ctrl-C."""
    chance = random.Random(f"{SEED} {stage}")
    begun, ends = time.monotonic(), []
    pipeline.check_recovery(stage)
    seconds = time.monotonic() - begun
    for number in range(times(6)):
        process = pipeline.start(stage)
        before = pipeline.files()
        if number % 2:
            wait(process, 60, lambda before=before: pipeline.files() != before)
            wait(process, chance.choice([0, 0, 0.001, 0.01]))
        else:
            wait(process, chance.uniform(0, seconds))
        interrupted = number % 3 == 2
        process.send_signal(signal.SIGINT if interrupted else signal.SIGKILL)
        stderr = process.communicate()[1]
        ends.append(process.returncode)
        pipeline.check_nothing_half(stage)
        # Ctrl-C ends a Python that starts in ways of its own, the import below with a traceback
        starting = ("Could not import runpy module", "Fatal Python error: init")
        if interrupted and not stderr.startswith(starting):
            assert process.returncode in (0, 130, -signal.SIGINT), stderr
            early = "import pipeline.program.start" in stderr
            assert early or "Traceback" not in stderr or str(pipeline.folder) not in stderr, stderr
            assert not pipeline.parts()
    assert -signal.SIGKILL in ends
    pipeline.check_recovery(stage)


def children(process: subprocess.Popen) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children()
    except psutil.NoSuchProcess:
        return []


# DVC writes its own files in place: half of one, and what DVC then says
HALF_WRITTEN = [
    (".dvc/tmp/rwlock", '{"write": {"', "Unable to read RWLock-file"),
    ("dvc.lock", "schema: '2.0'\nsta", "dvc.lock"),
    ("dvc.lock", "", "dvc.lock"),
]


def test_repro_killed(project, reproduced):
    """DVC with all its processes, or the stage that it runs. What is done stays done."""
    chance = random.Random(SEED)
    options = {"cwd": project.folder, "env": project.environment, "stderr": subprocess.DEVNULL}
    for number in range(times(4)):
        process = subprocess.Popen(["dvc", "repro", "--quiet"], start_new_session=True, **options)
        wait(process, 60, lambda process=process: children(process))
        wait(process, chance.uniform(0, 1.5))
        if number % 2:
            for stage in children(process):
                stage.kill()
        elif process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    project.run(sys.executable, "-m", "pipeline.mend")
    project.run("dvc", "repro")
    check_results(project, reproduced)


CONTINUES = re.compile(r"Training continues after epoch (\d+)\.")


@pytest.mark.parametrize("command", ["dvc repro train", "dvc exp run --temp train"])
def test_dvc_killed(project_with_results: Project, command):
    """The same command goes on. The project that started an experiment has its checkpoint."""
    project = project_with_results
    environment = project.environment.copy()
    environment.pop("TRAIN_CHECKPOINTS", None)
    checkpoints = project.folder / ".dvc" / "tmp" / "checkpoints"
    module = project.folder / "pipeline" / "fitting" / "checkpoint.py"
    text = module.read_text(encoding="utf-8")
    text = re.sub(r"^INTERVAL = .*$", "INTERVAL = 0.0", text, flags=re.MULTILINE)
    module.write_text(text, encoding="utf-8")
    values = {"train.iterations": 1000, "train.hidden_dropout": 0.3, "distort.rotation": 15}
    project.set_params(project.small | values)
    project.commit("Train for longer")

    options = {"cwd": project.folder, "env": environment}
    options |= {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command.split(), start_new_session=True, text=True, **options)
    seen, end = set(), time.monotonic() + 300
    while len(seen) < 4:
        assert time.monotonic() < end, "no training"
        assert process.poll() is None, process.communicate()
        seen |= {path.stat().st_mtime_ns for path in checkpoints.glob("*.npz") if path.exists()}
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    project.run(sys.executable, "-m", "pipeline.mend")
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


def test_half_written_by_dvc(project_with_results, reproduced):
    """Killed while it wrote one, DVC stops the next time. `make repro` mends the file first."""
    project = project_with_results
    for name, content, sentence in HALF_WRITTEN:
        (project.folder / name).write_text(content)
        stopped = project.run("dvc", "repro", check=False)
        assert stopped.returncode != 0
        assert sentence in stopped.stdout + stopped.stderr
        assert name in project.run(sys.executable, "-m", "pipeline.mend").stderr
        project.dvc("repro")
        check_results(project, reproduced)


# Disks


@pytest.mark.parametrize("stage", STAGES)
def test_disk_that_refuses(pipeline: Pipeline, stage: str):
    """A limit on a file's length stops a stage while it writes one, as a full disk does."""
    expected = pipeline.expected[stage]
    longest = max(map(len, expected.values()))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with chdir(pipeline.folder):
        pipeline.clear(stage)
        resource.setrlimit(resource.RLIMIT_FSIZE, (longest // 2, before[1]))
        result = run_stage(stage)
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert result.exit_code == 1, result.output
        sentence = re.fullmatch(r"error: (.+): File too large\.", result.stderr.splitlines()[-1])
        assert sentence, result.output
        assert any(f"{path}/".startswith(f"{sentence[1]}/") for path in expected), sentence
        pipeline.check_nothing_half(stage)
        assert not pipeline.parts()
        assert run_stage(stage).exit_code == 0
    assert pipeline.outputs(stage) == expected


def test_repro_on_a_disk_that_refuses(project, reproduced):
    """DVC's own files meet the limit, too. Without it, `dvc repro` goes on."""
    for longest in (20_000, 400_000):  # bytes of a file
        refused = project.run("prlimit", f"--fsize={longest}", "dvc", "repro", check=False)
        assert refused.returncode != 0
        assert re.search("disk I/O error|File too large", refused.stderr), refused
    project.run("dvc", "repro")
    check_results(project, reproduced)
