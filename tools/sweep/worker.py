"""What a worker does with an experiment. Dask sends this file to every worker: it needs Python,
Git, DVC and Dask.

It clones the project, runs `dvc exp run` in the clone, pushes the data, and then the experiment's
ref. So a ref in the Git remote says that its data are there too.
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
KNOWN = "refs/known"  # in a clone, the experiment of this name that the remote has
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
    """Run one experiment in a clone, and push it.

    Args:
        experiment: its `name`, `changes` and `parameters`: see combinations.py; `again`: it is
            known, so run it without DVC's run cache and checkpoints, and compare the files;
            `avoided`: by this worker, if there is another one.
        sweep: what all experiments share: see __main__.py.

    Returns:
        `where` it ran, for how many `seconds`, and its `state`; perhaps a `log`, and `lock`, Git's
        hash of dvc.lock.

    Raises:
        LostError: a remote failed for a minute, or packages differ.
        Reschedule: to another worker. Dask steals work for idle workers, whatever the leader
            prefers.
    """
    from distributed import Event, Reschedule, get_client, get_worker

    worker, began, reported = get_worker(), time.monotonic(), -REPORT
    where = f"{socket.gethostname()}-{worker.name}"
    if (
        where == experiment.get("avoided")
        and len(get_client().scheduler_info(n_workers=-1)["workers"]) > 1
    ):
        time.sleep(BEAT)
        raise Reschedule

    def watch(line: str) -> None:
        nonlocal reported
        with suppress(OSError):  # a scheduler that does not answer has asked nothing
            if Event(sweep["id"]).is_set():
                raise StoppedError
        if time.monotonic() - reported > REPORT:
            reported = time.monotonic()
            worker.log_event(
                sweep["id"], f"{experiment['parameters']}: {line or 'begins'} ({where})"
            )

    sweep = sweep | {"home": prepare(sweep)}
    owner = f"{os.getpid()}-{socket.gethostname()}-"  # see `prepare`
    with tempfile.TemporaryDirectory(
        prefix=owner, dir=f"{sweep['home']}/clones", ignore_cleanup_errors=True
    ) as folder:
        try:
            clone = Clone(Path(folder), _environment(sweep["home"], experiment["again"]), watch)
            outcome = _run_in(clone, experiment, sweep)
        except StoppedError:
            outcome = {"state": "stopped"}
    return outcome | {"where": where, "seconds": time.monotonic() - began}


def _run_in(clone: "Clone", experiment: dict[str, Any], sweep: dict[str, Any]) -> dict[str, Any]:
    again, pull = experiment["again"], [] if sweep["cache"] else ["--pull"]
    ref = f"{sweep['refs']}/{experiment['name']}"
    clone.surely(
        "git", "clone", "--quiet", "--no-checkout", "--origin", "origin", sweep["origin"], "."
    )
    if clone.fetch(ref) and not again:
        return {"state": "known"}
    clone.surely("git", "checkout", "--quiet", "--detach", sweep["rev"])
    cache = sweep["cache"] or f"{sweep['home']}/cache"
    (clone.path / ".dvc" / "config.local").write_text(f'[cache]\n    dir = "{cache}"\n')
    if again:
        clone.surely("git", "checkout", "--quiet", KNOWN, "--", "params.yaml")
        clone.run("dvc", "pull" if pull else "checkout", "--quiet", "--allow-missing")
        command = ["repro", "--no-run-cache"]  # `dvc exp run` has no such option
    else:
        changes = [word for change in experiment["changes"] for word in ("-S", change)]
        command = ["exp", "run", "--name", experiment["name"], *changes]
    command += ["--allow-missing", *pull]
    if not clone.surely("dvc", *command, hopeless=lambda: STAGE_FAILED in clone.log.read_bytes()):
        return {"state": "failed", "log": clone.tail(8)}
    lock = clone.git("hash-object", "dvc.lock")[:12]
    if not again:
        if pull:
            clone.surely("dvc", "push", "--quiet", "--run-cache")
        push = ["git", "push", "--quiet", f"--force-with-lease={ref}:", "origin", f"{ref}:{ref}"]
        # Another worker may have been faster
        if clone.surely(*push, hopeless=lambda: clone.fetch(ref)):
            return {"state": "done", "lock": lock}
    # `dvc exp run` also commits its arguments, in a file in .dvc/tmp
    if changed := clone.git("diff", "--name-only", KNOWN, "--", ".", ":!.dvc/tmp").split():
        return {"state": "OTHER BYTES", "lock": lock, "log": f"other bytes in {', '.join(changed)}"}
    return {"state": "same bytes", "lock": lock}


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
        """Run a command that may need a remote. If it fails, try again for a minute, then raise
        LostError.

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

    def fetch(self, ref: str) -> bool:
        """Fetch an experiment as KNOWN. Say whether the remote has it."""
        # a pattern may find nothing
        self.surely("git", "fetch", "--quiet", "origin", f"+{ref}*:{KNOWN}*")
        return bool(self.git("for-each-ref", KNOWN))

    def git(self, *words: str) -> str:
        """Return what a command of Git prints that needs no remote."""
        return subprocess.check_output(
            ["git", *words], cwd=self.path, env=self._environment, text=True
        ).strip()

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
        found = next(
            (one.version for one in importlib.metadata.distributions(name=package.name)), "missing"
        )
        if str(package.specifier) != f"=={found}" and (
            not package.marker or package.marker.evaluate()
        ):
            wrong.append(f"{package.name} {found} for {str(package.specifier).removeprefix('==')}")
    if wrong:
        raise LostError(f"other packages than requirements.txt says: {', '.join(wrong)}")
    return str(home)  # the leader's Python may not read a Path


def _environment(home: str, again: bool) -> dict[str, str]:
    git = {
        f"GIT_{role}_{key}": "sweep"
        for role in ("AUTHOR", "COMMITTER")
        for key in ("NAME", "EMAIL")
    }
    return os.environ | git | {
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": f"{home}/site-cache",
        "TRAIN_CHECKPOINTS": "" if again else f"{home}/checkpoints",
        "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"],
    }  # fmt: skip
