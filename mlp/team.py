"""Two processes that share work: a leader, and a worker, which is its copy. Optional reading: docs/parallel.md.

They meet where one needs a result of the other. A team of one process does all the work itself.
"""

import contextlib
import math
import mmap
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

POLLS = 5000  # polls of a semaphore, about 0.1 µs each, before a process sleeps: waking up takes longer
NAP = 0.2  # seconds that a process sleeps before it checks that the other one is alive
LONGEST_WAIT = 300  # naps, one minute: a process that uses no processor time for so long hangs
LONGEST_START = 50  # naps until the worker's first signal
MOST_WAITING = 0.5  # share of a task's time; if the leader waits longer, it is faster alone
LONGEST_ALONE = 16  # runs of a task alone before it tries again: 1 at first, then 2, 4, 8, 16
LEADER, WORKER = 0, 1


def available_processes() -> int:
    """Return how many processes can share a step on this machine: 2 or 1. (macOS's BLAS does not survive a fork.)"""
    return 2 if sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1 else 1


def shared(values: np.ndarray) -> np.ndarray:
    """Return a copy of an array in memory that this process shares with all processes that it forks later.

    Raises:
        MemoryError: there is not enough memory.
    """
    try:
        memory = mmap.mmap(-1, max(values.nbytes, 1))
    except OSError:
        raise MemoryError(f"{values.nbytes} bytes") from None
    copy = np.frombuffer(memory, values.dtype, values.size).reshape(values.shape)
    copy[...] = values
    return copy


def cut_evenly(n: int, parts: int) -> list[slice]:
    """Divide n things into parts, in order. Return the slice of each part. Their sizes differ by at most one."""
    return [slice(n * part // parts, n * (part + 1) // parts) for part in range(parts)]


class Team:
    """A leader process that runs tasks in one or more parts. If there are two parts, a worker process runs the second.

    Both run the same task on the same memory, each for its own parts. They meet where one needs a result of the other.
    `parts` has the numbers of the parts that this process runs now.
    """

    def __init__(self, parts: int):
        self.parts: Sequence[int] = range(parts)
        self._all = self.parts
        self._me, self._leader = LEADER, os.getpid()
        self._worker: int | None = None
        self._together = False
        self._waited = 0.0  # seconds in this task
        self._signals = 0  # of the worker so far: sent, in the worker, and received, in the leader

    @contextlib.contextmanager
    def start(self, *tasks: Callable[[], None]) -> Iterator[None]:
        """Start a team for some tasks, inside a `with` block. With two parts it has a worker, if the system allows it.

        The worker is a copy of this process. It sees later changes only in memory from `shared`.

        Raises:
            ChildProcessError: the worker ended at once.
        """
        self._tasks = tasks
        self._to_do_alone, self._next_alone = [0] * len(tasks), [1] * len(tasks)  # times, of each task
        try:
            if len(self.parts) == 2:
                with contextlib.suppress(OSError, ImportError, MemoryError, ValueError):  # the system refuses it
                    self._fork()
            if self._worker is not None:
                try:
                    self._wait(LONGEST_START)
                except ChildProcessError:
                    if self._worker is None:  # it was killed
                        raise
                    self.close()  # it gives no signal, or lacks memory: we continue without it
            yield
        finally:
            self._tasks = ()  # their arrays can go
            self.close()

    def _fork(self) -> None:
        from multiprocessing import get_context  # here, so that one process does not spend start-up time on it

        self._task = shared(np.zeros(1, np.int64))
        self._message = mmap.mmap(-1, 4096)  # the worker's error, if it had one
        self._last = shared(np.zeros(1, np.int64))  # the number, from 1, of the worker's signal that reports the error
        self._semaphores = [get_context("fork").Semaphore(0) for _ in self.parts]
        # Only the leader reacts to Ctrl-C. It stays blocked in the worker, which sees that the leader ends.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with warnings.catch_warnings():
                # Python warns of a fork in a process with threads: a lock that a thread holds stays locked in the copy.
                # The worker takes no lock of Python's. If it waits for one of the system's, it gives no signal.
                warnings.simplefilter("ignore", DeprecationWarning)
                self._worker = os.fork()
            if self._worker == 0:
                self._work()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _work(self) -> None:
        """Run parts of tasks for the leader until it ends. The worker does nothing else."""
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._me, self.parts, self._together = WORKER, [WORKER], True
            np.ones((64, 64)) @ np.ones((64, 64))  # if the BLAS has a locked lock, hang here and not later
            self._signal()
            while True:
                self._wait(math.inf)
                self._tasks[self._task[0]]()
                self._signal()
        except BaseException as error:
            message = f"{type(error).__name__}: {error}".encode(errors="replace")[: len(self._message)]
            self._message[: len(message)] = message
            self._last[0] = self._signals + 1
            self._signal()
        finally:
            os._exit(0)  # the copy must never run the code that called the leader

    def run(self, task: int) -> None:
        """Run one of the tasks, by its number.

        On a busy machine two processes are slower than one: both wait whenever one loses its processor to another
        program. Then the leader runs all parts for a while.

        Raises:
            FloatingPointError: the task raised it, in either process.
            ChildProcessError: the worker ended, or hangs.
        """
        self._together = self._worker is not None and self._to_do_alone[task] == 0
        self.parts = [LEADER] if self._together else self._all
        if not self._together:
            self._to_do_alone[task] = max(self._to_do_alone[task] - 1, 0)
            self._tasks[task]()
            return
        self._task[0] = task
        self._waited, began = 0.0, time.perf_counter()
        self._signal()
        self._tasks[task]()
        self._wait(LONGEST_WAIT)
        if self._waited > MOST_WAITING * (time.perf_counter() - began):
            self._to_do_alone[task] = self._next_alone[task]
            self._next_alone[task] = min(2 * self._next_alone[task], LONGEST_ALONE)
        else:
            self._next_alone[task] = 1

    def meet(self) -> None:
        """Wait until both processes are here. Errors are those of `run`."""
        if self._together:
            self._signal()
            self._wait(LONGEST_WAIT if self._me == LEADER else math.inf)

    def _signal(self) -> None:
        """Tell the other process that this one is here."""
        self._signals += self._me == WORKER
        self._semaphores[1 - self._me].release()

    def _wait(self, naps: float) -> None:
        """Wait for the other process's signal: first by polling, then asleep, for at most so many naps."""
        come = self._semaphores[self._me].acquire
        began = time.perf_counter()
        for _ in range(POLLS):
            if come(False):
                break
        else:
            # We count naps, not seconds: after Ctrl-Z and `fg` the worker has its full time again.
            left, seen = naps, b""
            while not come(True, NAP):
                before, seen = seen, self._state()
                left = left - 1 if seen == before else naps
                if left <= 0 or self._is_alone():
                    raise ChildProcessError("ended early or hangs, perhaps because memory ran out")
        self._waited += time.perf_counter() - began
        self._signals += self._me == LEADER
        if self._me == LEADER and self._last[0] == self._signals:
            text = self._message[:].rstrip(b"\0").decode(errors="replace")
            raise (FloatingPointError if text.startswith("FloatingPointError:") else ChildProcessError)(
                f"failed ({text})"
            )

    def _state(self) -> bytes:
        """Return the system's record of the other process. It changes while that process computes."""
        with contextlib.suppress(OSError):
            return Path(f"/proc/{self._worker or self._leader}/stat").read_bytes()
        return b""

    def _is_alone(self) -> bool:
        """Return whether the other process has ended."""
        if self._me == WORKER:
            return os.getppid() != self._leader
        with contextlib.suppress(ChildProcessError):  # something else has waited for it
            if self._worker and os.waitpid(self._worker, os.WNOHANG)[0] == 0:
                return False
        self._worker = None
        return True

    def close(self) -> None:
        """Kill the worker."""
        if self._worker is not None:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):  # something else has seen to it
                os.kill(self._worker, signal.SIGKILL)
                os.waitpid(self._worker, 0)
            self._worker = None
