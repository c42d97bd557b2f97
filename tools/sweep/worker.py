"""What a worker does with an experiment. Dask sends this file; it needs Git, DVC and Dask.

It clones the project, runs `dvc exp run` in the clone, pushes the data, and returns the commit.
Only the leader makes an experiment of it: see results.py.
"""

import importlib.metadata
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

BEAT = 1.0  # seconds between two looks at what a worker waits for
REPORT = 60.0  # seconds between two reports of how far a command is
WAITS = (1, 2, 4, 8, 15, 30)  # seconds between the tries of a command that needs a remote
STAGE_FAILED = b"failed to run: "  # DVC says it of a stage's command, and of nothing else
# Runs a command in a session of its own, and kills all of it when the worker closes the pipe or
# dies. A process that a worker starts would otherwise outlive it.
GUARD = """
import os, signal, subprocess, sys, threading
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
def watch():
    os.read(0, 1)
    os.killpg(child.pid, signal.SIGKILL)
threading.Thread(target=watch, daemon=True).start()
os._exit(child.wait() & 255)
"""


class StoppedError(Exception):
    """The leader wants no more of this sweep."""


class LostError(Exception):
    """Git, a remote or the machine failed, not the experiment. Another try is worth while."""


def run_experiment(experiment: dict[str, Any], sweep: dict[str, Any]) -> dict[str, Any]:
    """Run one experiment in a clone.

    Args:
        experiment: its `name`, `changes` and `parameters`: see combinations.py; `again`: run it
            without checkpoints, because its files are compared; `avoided`: by this worker, if
            there is another one.
        sweep: what all experiments share: see __main__.py.

    Returns:
        `where` it ran, for how many `seconds`, and its `state`. A "failed" one has a `log`, and a
        "done" one a `bundle` of Git with its commit, and `lock`, Git's hash of dvc.lock.

    Raises:
        LostError: a remote failed for a minute, or packages differ.
        Reschedule: Dask gave it to the worker to avoid, because that one was idle.
    """
    from distributed import Event, Reschedule, get_client, get_worker

    worker, began, reported = get_worker(), time.monotonic(), -REPORT
    where = f"{worker.name}@{socket.gethostname()}"
    workers = get_client().scheduler_info(n_workers=-1)["workers"]
    if where == experiment.get("avoided") and len(workers) > 1:
        time.sleep(BEAT)
        raise Reschedule

    def watch(line: str) -> None:
        nonlocal reported
        with suppress(OSError):  # a scheduler that does not answer has asked nothing
            if Event(sweep["id"]).is_set():
                raise StoppedError
        if time.monotonic() - reported > REPORT:
            reported = time.monotonic()
            event = f"{experiment['parameters']}: {line or 'begins'} ({where})"
            worker.log_event(sweep["id"], event)

    sweep = sweep | {"home": prepare(sweep)}
    owner = f"{os.getpid()}-{socket.gethostname()}-"  # see `prepare`
    with tempfile.TemporaryDirectory(
        prefix=owner, dir=f"{sweep['home']}/clones", ignore_cleanup_errors=True
    ) as folder:
        environment = _environment(sweep["home"], where, experiment["again"])
        try:
            outcome = _run_in(Clone(Path(folder), environment, watch), experiment, sweep)
        except StoppedError:
            outcome = {"state": "stopped"}
    return outcome | {"where": where, "seconds": time.monotonic() - began}


def _run_in(clone: "Clone", experiment: dict[str, Any], sweep: dict[str, Any]) -> dict[str, Any]:
    name, rev = experiment["name"], sweep["rev"]
    clone.surely("git", "clone", "--quiet", "--no-checkout", sweep["origin"], ".")
    clone.surely("git", "checkout", "--quiet", "--detach", rev)
    # Clones share the cached files, which have their hashes for names. DVC's run cache would also
    # share what a bad worker has made
    files, folder = Path(sweep["cache"] or f"{sweep['home']}/cache", "files"), clone.path / ".dvc"
    files.mkdir(parents=True, exist_ok=True)
    (folder / "cache").mkdir()
    (folder / "cache" / "files").symlink_to(files)
    (folder / "config.local").write_text("[cache]\n    dir = cache\n")
    if not sweep["cache"]:
        clone.surely("dvc", "pull", "--quiet", "--allow-missing")
    changes = [word for change in experiment["changes"] for word in ("-S", change)]
    command = ["dvc", "exp", "run", "--allow-missing", "--name", name, *changes]
    if not clone.surely(*command, hopeless=lambda: STAGE_FAILED in clone.log.read_bytes()):
        return {"state": "failed", "log": clone.tail(8)}
    if not sweep["cache"]:
        clone.surely("dvc", "push", "--quiet")
    clone.git("bundle", "create", "--quiet", "../bundle", f"{sweep['refs']}/{name}", f"^{rev}")
    bundle = (clone.path.parent / "bundle").read_bytes()
    return {"state": "done", "lock": clone.git("hash-object", "dvc.lock")[:12], "bundle": bundle}


class Clone:
    """A clone of the project, and the commands that run in it. A guard kills them when the worker
    dies.

    Args:
        folder: where to put the clone and its log.
        environment: of the commands.
        watch: is called each second with the last line of the log. What it raises ends a command.
    """

    def __init__(self, folder: Path, environment: dict[str, str], watch: Callable[[str], None]):
        self.path, self.log = folder / "project", folder / "log"
        self.path.mkdir()
        self.log.touch()
        self._environment, self._watch = environment, watch

    def surely(self, *command: str, hopeless: Callable[[], bool] = lambda: False) -> bool:
        """Run a command that may need a remote. It has a minute of tries, then LostError is raised.

        If it fails and that is `hopeless`, return False.
        """
        for wait in (*WAITS, 0):
            if self.run(*command) == 0:
                return True
            if hopeless():
                return False
            self.run("sleep", str(wait))
        raise LostError(f"`{' '.join(command[:3])}` failed: {self.tail(3)}")

    def run(self, *command: str) -> int:
        """Run a command that writes into the log, and return its exit code."""
        self._watch(self.tail(1))
        with (
            self.log.open("ab") as log,
            subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", GUARD, *command],
                cwd=self.path, env=self._environment,
                stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
            ) as process,  # at its end the pipe is closed, and the guard kills what still runs
        ):  # fmt: skip
            while True:
                try:
                    return process.wait(BEAT)
                except subprocess.TimeoutExpired:
                    self._watch(self.tail(1))

    def git(self, *words: str) -> str:
        """Return what a command of Git prints that needs no remote."""
        command, environment = ["git", *words], self._environment
        return subprocess.check_output(command, cwd=self.path, env=environment, text=True).strip()

    def tail(self, lines: int) -> str:
        """Return the last lines of the log, those of a progress bar split too."""
        text = self.log.read_bytes()[-4000:].decode(errors="replace").replace("\r", "\n")
        return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


def prepare(sweep: dict[str, Any]) -> str:
    """Remove the clones that this host's dead workers have left; return the sweep's home.

    Raises:
        LostError: packages are missing, or have other versions than the lines of requirements.txt
            in `sweep`.
    """
    import psutil  # type: ignore[import-untyped]
    from packaging.requirements import Requirement

    home = Path(sweep["home"]).expanduser().resolve()  # absolute: commands run in other folders
    (home / "clones").mkdir(parents=True, exist_ok=True)
    for clone in (home / "clones").iterdir():
        owner, _, rest = clone.name.partition("-")
        if rest.rpartition("-")[0] == socket.gethostname() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(clone, ignore_errors=True)
    wrong = []
    for package in map(Requirement, sweep["packages"]):
        installed = importlib.metadata.distributions(name=package.name)
        found = next((one.version for one in installed), "missing")
        is_needed = not package.marker or package.marker.evaluate()
        expected = str(package.specifier).removeprefix("==")
        if is_needed and found != expected:
            wrong.append(f"{package.name} {found} for {expected}")
    if wrong:
        raise LostError(f"other packages than requirements.txt says: {', '.join(wrong)}")
    return str(home)  # the leader's Python may not read a Path


def _environment(home: str, where: str, again: bool) -> dict[str, str]:
    git = {f"GIT_{role}_EMAIL": "sweep" for role in ("AUTHOR", "COMMITTER")}
    return os.environ | git | {
        "GIT_AUTHOR_NAME": where,
        "GIT_COMMITTER_NAME": "sweep",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": f"{home}/site-cache",
        "TRAIN_CHECKPOINTS": "" if again else f"{home}/checkpoints",
        "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"],
    }  # fmt: skip
