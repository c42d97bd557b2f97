"""What a worker does with one experiment. Dask sends this file to every worker, so it needs Python, Git and DVC alone.

A worker clones the project, runs `dvc exp run` in the clone, pushes the data, and then the experiment's ref. So a ref
in the Git remote says that its data are there too. A hash of its files is one of every byte of the result: dvc.lock is
among them, and has the hashes of what DVC keeps.
"""

import hashlib
import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BEAT = 1.0  # seconds between two looks at a running command
TRIES = 4  # of a push, or of a clone
KNOWN = "refs/known"  # in a clone, the experiment of this name that the remote has
ARGUMENTS = "\t.dvc/tmp/"  # `dvc exp run` also commits its arguments, in a file in .dvc/tmp
# Runs a command in a session of its own, on some cores, and kills all of it when the worker closes the pipe or dies. A
# process that a worker starts would otherwise outlive it.
GUARD = """
import json, os, signal, subprocess, sys, threading
cores = json.loads(sys.argv[1])
if cores:
    os.sched_setaffinity(0, cores)
child = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, start_new_session=True)
def watch():
    os.read(0, 1)
    os.killpg(child.pid, signal.SIGKILL)
threading.Thread(target=watch, daemon=True).start()
os._exit(child.wait() & 255)
"""

Report = Callable[..., None]


class StoppedError(Exception):
    """The leader wants no more of this sweep."""


class LostError(Exception):
    """Git, a remote or the machine failed, not the experiment. Another try is worth while."""


def run_experiment(name: str, changes: list[str], sweep: dict[str, Any], again: bool = False) -> dict[str, Any]:
    """Run one experiment in a clone, and push it.

    Args:
        name: the experiment's name.
        changes: its parameters, such as "train.seed=3".
        sweep: what all experiments share: `id`, `rev` (a commit of `origin`), `refs` (the folder of its experiments'
            refs), `origin` (the Git remote), `home` (the folder for clones), `cache` (DVC's cache, if the leader's is
            in reach; else each worker has one and pushes its data), `packages` (the leader's), `cores` (of each worker
            by name).
        again: it is known; run it without DVC's run cache and without checkpoints, and compare the trees.

    Returns:
        A dict: `state` is "done", "known", "failed", "stopped", "same bytes" or "OTHER BYTES"; also `where`, `seconds`,
        `tree`, and `log`, the end of its output.

    Raises:
        LostError: Git, a remote or the machine failed.
    """
    from distributed import get_worker

    worker, began = get_worker(), time.time()
    host = socket.gethostname()
    home = Path(sweep["home"]).expanduser()
    clones = home / "clones"
    clones.mkdir(parents=True, exist_ok=True)
    remove_leftovers(clones, host)
    clone = Path(tempfile.mkdtemp(prefix=f"{host}-{os.getpid()}-", dir=clones))
    log = clone.with_name(clone.name + ".log")
    result: dict[str, Any] = {"name": name, "where": f"{host}-{worker.name}", "again": again}

    def report(line: str) -> None:
        worker.log_event(sweep["id"], {**result, "line": line})

    def stopped() -> bool:
        return asked_to_stop(worker, sweep["id"])

    def finish(state: str, log: str = "", tree: str = "") -> dict[str, Any]:
        return {**result, "state": state, "seconds": round(time.time() - began, 1), "log": log, "tree": tree}

    try:
        if different := differing_packages(sweep["packages"]):
            raise LostError(f"other packages than the leader's: {different}")
        if stopped():
            return finish("stopped")
        run = Commands(clone, log, home, sweep["cores"].get(str(worker.name), []), report, stopped, again)
        ref = f"{sweep['refs']}/{name}"
        run.surely("git", "clone", "--quiet", "--no-checkout", sweep["origin"], ".")
        if not again and run.text("git", "ls-remote", "origin", ref):
            return finish("known")
        run.surely("git", "checkout", "--quiet", "--detach", sweep["rev"])
        (clone / ".dvc" / "config.local").write_text(f"[cache]\n    dir = {sweep['cache'] or home / 'cache'}\n")
        reproduce = [*([] if sweep["cache"] else ["--pull"]), "--allow-missing"]
        if again:  # with the parameters of the known one, and without what DVC remembers of it
            run.surely("git", "fetch", "--quiet", "origin", f"+{ref}:{KNOWN}")
            run.surely("git", "checkout", "--quiet", KNOWN, "--", "params.yaml")
            run("dvc", "checkout" if sweep["cache"] else "pull", "--quiet", "--allow-missing")
            if run("dvc", "repro", *reproduce, "--no-run-cache"):
                return finish("failed", log=tail(log, 8))
            return finish(*run.compared())
        words = [word for change in changes for word in ("-S", change)]
        if run("dvc", "exp", "run", *reproduce, "--name", name, *words):
            return finish("failed", log=tail(log, 8))
        if not sweep["cache"]:
            run.surely("dvc", "push", "--quiet", "--run-cache")
        if run.push(ref):
            return finish("done", tree=run.tree(ref))
        run.surely("git", "fetch", "--quiet", "origin", f"+{ref}:{KNOWN}")  # another worker was faster
        run.surely("git", "checkout", "--quiet", ref, "--", ".")
        return finish(*run.compared())
    except StoppedError:
        return finish("stopped")
    finally:
        shutil.rmtree(clone, ignore_errors=True)
        log.unlink(missing_ok=True)


class Commands:
    """Runs commands in a clone; a guard kills them when the worker dies."""

    def __init__(
        self,
        clone: Path,
        log: Path,
        home: Path,
        cores: list[int],
        report: Callable[[str], None],
        stopped: Callable[[], bool],
        again: bool,
    ):
        self._clone, self._log, self._cores, self._report, self._stopped = clone, log, cores, report, stopped
        who = {f"GIT_{role}_{key}": "sweep" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
        self._environment = (
            os.environ
            | who
            | {
                "DVC_NO_ANALYTICS": "1",
                "DVC_SITE_CACHE_DIR": str(home / "site-cache"),
                "TRAIN_CHECKPOINTS": "" if again else str(home / "checkpoints"),
                "PYTHONUNBUFFERED": "1",
                "GIT_TERMINAL_PROMPT": "0",
                "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"],
            }
        )

    def __call__(self, *command: str) -> int:
        """Run a command, tell the leader how far it is, and return its exit code.

        Raises:
            StoppedError: the leader wants no more.
        """
        guard = [sys.executable, "-c", GUARD, json.dumps(self._cores), *command]
        with self._log.open("ab") as out:
            process = subprocess.Popen(
                guard,
                cwd=self._clone,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        said = ""
        try:
            while True:
                try:
                    return process.wait(BEAT)
                except subprocess.TimeoutExpired:
                    if self._stopped():
                        raise StoppedError from None
                if (line := tail(self._log, 1)) != said:
                    self._report(line)
                    said = line
        finally:
            if process.stdin:
                process.stdin.close()  # the guard kills what still runs
            process.wait()

    def surely(self, *command: str) -> None:
        """Run a command that needs a remote, and try again if it fails.

        Raises:
            LostError: it failed each time.
        """
        for trial in range(TRIES):
            if not self(*command):
                return
            time.sleep(2.0**trial)
        raise LostError(f"`{' '.join(command[:3])}` failed: {tail(self._log, 3)}")

    def push(self, ref: str) -> bool:
        """Push a ref that the remote lacks. Say whether that was so: another worker may have been faster.

        Raises:
            LostError: the remote fails.
        """
        for trial in range(TRIES):
            if not self("git", "push", "--quiet", f"--force-with-lease={ref}:", "origin", f"{ref}:{ref}"):
                return True
            if self.text("git", "ls-remote", "origin", ref):
                return False
            time.sleep(2.0**trial)
        raise LostError(f"`git push` failed: {tail(self._log, 3)}")

    def tree(self, ref: str) -> str:
        """Return a hash of the files of an experiment."""
        files = self.text("git", "ls-tree", "-r", "-z", ref).split("\0")
        return hashlib.sha256("\0".join(file for file in files if ARGUMENTS not in file).encode()).hexdigest()[:12]

    def compared(self) -> tuple[str, str, str]:
        """Compare the clone's files with the known experiment; return a state, a sentence, and their hash if equal."""
        if changed := self.text("git", "diff", "--name-only", KNOWN, "--", ".", ":!.dvc/tmp").split():
            return "OTHER BYTES", f"other bytes in {', '.join(changed)}", ""
        return "same bytes", "", self.tree(KNOWN)

    def text(self, *command: str) -> str:
        """Return what a quick command prints.

        Raises:
            LostError: it failed.
        """
        done = subprocess.run(command, cwd=self._clone, env=self._environment, capture_output=True, text=True)
        if done.returncode:
            raise LostError(f"`{' '.join(command[:3])}` failed: {done.stderr.strip()[-300:]}")
        return done.stdout.strip()


def remove_leftovers(clones: Path, host: str) -> None:
    """Remove clones and logs of this host's workers that are dead."""
    for path in clones.glob(f"{host}-*"):
        owner = path.name.removeprefix(f"{host}-").partition("-")[0]
        if owner.isdigit() and not _lives(int(owner)):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def asked_to_stop(worker: Any, sweep: str) -> bool:
    """Say whether the leader has asked this sweep to stop. A scheduler that does not answer has asked nothing."""
    from distributed import Variable

    try:
        return bool(Variable(f"stop-{sweep}", client=worker._get_client()).get(timeout=2))
    except (TimeoutError, OSError):
        return False


def installed(names: list[str]) -> dict[str, str]:
    """Return the version of each of these packages that is installed."""
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def differing_packages(expected: dict[str, str]) -> str:
    """Return what is installed here in another version than expected, or not at all: at most three packages."""
    found = installed(list(expected))
    wrong = [
        f"{name} {found.get(name, 'missing')} for {version}"
        for name, version in expected.items()
        if found.get(name) != version
    ]
    return ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")


def tail(log: Path, lines: int) -> str:
    """Return the last lines of a log, those of a progress bar split too."""
    text = log.read_bytes()[-4000:].decode(errors="replace").replace("\r", "\n")
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])
