"""A clone of the project on a worker, and the commands that run in it."""

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from .machine import home_of

BEAT = 1.0  # seconds between two looks at what a worker waits for
WAITS = (1, 2, 4, 8, 15, 30)  # seconds between the tries of a command that needs a remote
STAGE_FAILED = "failed to run: "  # DVC says it of a stage's command, and of nothing else
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


class StoppedError(Exception):
    """The leader wants no more of this sweep."""


class StageError(Exception):
    """A stage of the experiment failed; the end of its log."""


class LostError(Exception):
    """Git, a remote or the machine failed, not the experiment. Another try is worth while."""


class Clone:
    """A clone of the project, and the commands that run in it. A guard kills them when the worker dies.

    Args:
        folder: where to put the clone and its log.
        environment: of the commands.
        cores: where they run; none: anywhere.
        report: is called with each new last line of the log.
        stopped: says whether the leader wants no more.
    """

    def __init__(
        self,
        folder: Path,
        environment: dict[str, str],
        cores: list[int],
        report: Callable[[str], None],
        stopped: Callable[[], bool],
    ):
        self.path = folder / "project"
        self.path.mkdir()
        self.log = folder / "log"
        self.log.touch()
        self._environment, self._cores, self._report, self._stopped = environment, cores, report, stopped

    def make(self, sweep: dict[str, Any]) -> None:
        """Clone the commit, and connect it with DVC's cache.

        Raises:
            LostError: the remote fails.
        """
        if self._stopped():
            raise StoppedError
        self.surely("git", "clone", "--quiet", "--no-checkout", "--origin", "origin", sweep["origin"], ".")
        self.surely("git", "checkout", "--quiet", "--detach", sweep["rev"])
        cache = sweep["cache"] or home_of(sweep["home"]) / "cache"
        (self.path / ".dvc" / "config.local").write_text(f'[cache]\n    dir = "{cache}"\n')

    def run(self, *command: str, output: IO[bytes] | None = None) -> int:
        """Run a command, tell the leader how far it is, and return its exit code. It writes into the log, or `output`.

        Raises:
            StoppedError: the leader wants no more.
        """
        guard = [sys.executable, "-I", "-S", "-c", GUARD, json.dumps(self._cores), *command]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                guard,
                cwd=self.path,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=output or log,
                stderr=log,
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
                if (line := tail(self.log, 1)) != said:
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
        waits = self._waits(command)
        while self.run(*command):
            next(waits)

    def text(self, *command: str) -> str:
        """Return what such a command prints.

        Raises:
            LostError: it failed each time.
        """
        waits = self._waits(command)
        while True:
            with tempfile.TemporaryFile() as output:
                if not self.run(*command, output=output):
                    output.seek(0)
                    return output.read().decode().strip()
            next(waits)

    def reproduce(self, *words: str) -> None:
        """Run DVC, and try again if it fails and no stage does.

        Raises:
            StageError: a stage failed.
            LostError: DVC or its remote failed each time.
        """
        waits = self._waits(["dvc", *words])
        began = self.log.stat().st_size
        while self.run("dvc", *words):
            if STAGE_FAILED.encode() in self.log.read_bytes()[began:]:
                raise StageError(tail(self.log, 8))
            next(waits)

    def pushed(self, ref: str) -> bool:
        """Push a ref that the remote lacks. Say whether that was so: another worker may have been faster.

        Raises:
            LostError: the remote failed each time.
        """
        push = ["git", "push", "--quiet", f"--force-with-lease={ref}:", "origin", f"{ref}:{ref}"]
        waits = self._waits(push)
        while self.run(*push):
            if self.text("git", "ls-remote", "origin", ref):
                return False
            next(waits)
        return True

    def tree(self, ref: str) -> str:
        """Return a hash of the files of an experiment."""
        files = self.text("git", "ls-tree", "-r", "-z", ref).split("\0")
        return hashlib.sha256("\0".join(file for file in files if ARGUMENTS not in file).encode()).hexdigest()[:12]

    def compared(self) -> dict[str, str]:
        """Compare the clone's files with the known experiment. Return a state, with their hash if they are equal."""
        if changed := self.text("git", "diff", "--name-only", KNOWN, "--", ".", ":!.dvc/tmp").split():
            return {"state": "OTHER BYTES", "log": f"other bytes in {', '.join(changed)}"}
        return {"state": "same bytes", "tree": self.tree(KNOWN)}

    def _waits(self, command: Sequence[str]) -> Iterator[None]:
        """Wait between two tries of a command, longer each time. At last raise LostError."""
        for seconds in WAITS:
            ends = time.monotonic() + seconds
            while (left := ends - time.monotonic()) > 0:
                if self._stopped():
                    raise StoppedError
                time.sleep(min(left, BEAT))
            yield
        raise LostError(f"`{' '.join(command[:3])}` failed: {tail(self.log, 3)}")


def tail(log: Path, lines: int) -> str:
    """Return the last lines of a log, those of a progress bar split too."""
    text = log.read_bytes()[-4000:].decode(errors="replace").replace("\r", "\n")
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])
