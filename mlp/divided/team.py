"""Processes that share work: a leader, and workers, which are its copies."""

import contextlib
import mmap
import os
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

POLLS = 5000  # of a semaphore, 0.1 µs each, before a process sleeps: waking up takes longer
NAP = 0.2  # seconds that a process sleeps before it checks that the others are alive
LONGEST_WAIT = 300  # naps, one minute: a process that uses no processor time for so long hangs
LONGEST_START = 50  # naps until a worker's first signal
LEADER = 0


def shared(values: np.ndarray) -> np.ndarray:
    """Return a copy of an array in memory that later forks share, or raise a MemoryError."""
    try:
        memory = mmap.mmap(-1, max(values.nbytes, 1))
    except OSError:
        raise MemoryError(f"{values.nbytes} bytes") from None
    copy = np.frombuffer(memory, values.dtype, values.size).reshape(values.shape)
    copy[...] = values
    return copy


def cut_evenly(n: int, parts: int) -> list[slice]:
    """Return the slices that divide n things into parts, in order, of almost the same size."""
    return [slice(n * part // parts, n * (part + 1) // parts) for part in range(parts)]


class Team:
    """A leader process, which runs tasks in one or more parts, and workers for further parts.

    All processes run the same task on the same memory, each for its own parts. They meet at a
    barrier where one needs another's result. `parts` has the numbers of this process's parts.

    A worker has two semaphores: it releases `arrived` at a barrier, and then waits for `go`. The
    leader waits for `arrived` of each worker in turn, and then releases `go` of each. So nobody can
    come to the next barrier before all have left this one, and the leader always knows which worker
    is late. A worker waits for a task at a barrier, too.
    """

    def __init__(self, parts: int):
        self.parts: Sequence[int] = range(parts)
        self._all = self.parts
        self._me, self._leader = LEADER, os.getpid()
        self._workers: list[int] = []  # their process numbers; worker n runs part n + 1 at first
        self._active = 0  # workers that run the task

    @contextlib.contextmanager
    def start(self, *tasks: Callable[[], None]) -> Iterator[None]:
        """Start a team for some tasks in a `with` block, with as many workers as the system allows.

        A worker is a copy of this process. It sees later changes only in memory from `shared`. If
        one ended at once, a ChildProcessError says so.
        """
        self._tasks = tasks
        try:
            # The system may refuse a process, a semaphore or memory
            with contextlib.suppress(OSError, ImportError, MemoryError, ValueError):
                if len(self.parts) > 1:
                    self._fork()
            try:
                for worker in range(len(self._workers)):
                    self._wait_for(worker, LONGEST_START)
            except ChildProcessError:
                if not self._workers:  # a worker was killed
                    raise
                self.close()  # no signal, or no memory: we continue without workers
            yield
        finally:
            self._tasks = ()  # their arrays can go
            self.close()

    def _fork(self) -> None:
        # Here, so that one process does not spend start-up time on it
        from multiprocessing import get_context

        workers = range(len(self.parts) - 1)
        self._turn = shared(np.zeros(2, np.int64))  # the task, and how many workers run it
        # Which of them have failed, and by what error. A view is quicker than NumPy's elements
        self._failed = shared(np.zeros(len(workers), np.bool_)).data
        self._messages = shared(np.zeros((len(workers), 4096), np.uint8))
        semaphore = get_context("fork").Semaphore
        self._arrived, self._go = ([semaphore(0) for _ in workers] for _ in range(2))
        # Only the leader reacts to Ctrl-C. It stays blocked in a worker, which ends with the leader
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with warnings.catch_warnings():
                # Python warns of a fork in a process with threads: a lock that a thread holds stays
                # locked in the copy. A worker takes no lock of Python's. If it waits for one of the
                # system's, it gives no signal.
                warnings.simplefilter("ignore", DeprecationWarning)
                for number in workers:
                    if (worker := os.fork()) == 0:
                        self._work(number)
                    self._workers.append(worker)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _work(self, number: int) -> None:
        """Run parts of tasks for the leader until it ends. A worker does nothing else."""
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._me = number + 1
            # If the BLAS has a locked lock, hang here and not later
            np.ones((64, 64)) @ np.ones((64, 64))
            while True:
                self._arrive()
                task, self._active = self._turn.tolist()
                self.parts = self._all[self._me :: self._active + 1]
                self._tasks[task]()
        except BaseException as error:
            message = f"{type(error).__name__}: {error}".encode(errors="replace")[:4096]
            self._messages[number, : len(message)] = np.frombuffer(message, np.uint8)
            self._failed[number] = True
            self._arrived[number].release()  # the leader sees it at its next barrier
        finally:
            os._exit(0)  # the copy must never run the code that called the leader

    def run(self, task: int, processes: int | None = None) -> None:
        """Run a task, by its number. At most so many processes take part; without a number, all.

        Raises:
            FloatingPointError: the task raised it, in any process.
            ChildProcessError: a worker ended, or hangs.
        """
        self._active = min((processes or len(self._all)) - 1, len(self._workers))
        self.parts = self._all[LEADER :: self._active + 1]
        if self._active:
            self._turn[:] = task, self._active
            self._let_go()
        self._tasks[task]()
        self._gather()

    def barrier(self) -> None:
        """Wait until all processes that run the task are here. Errors are those of `run`."""
        if self._me != LEADER:
            self._arrive()
        elif self._active:
            self._gather()
            self._let_go()

    def _gather(self) -> None:
        """Wait, as the leader, until all workers that run the task have arrived."""
        for worker in range(self._active):
            self._wait_for(worker, LONGEST_WAIT)
        if self._active and any(self._failed):
            message = self._messages[self._failed.tolist().index(True)].tobytes()
            text = message.rstrip(b"\0").decode(errors="replace")
            diverged = text.startswith("FloatingPointError:")
            raise (FloatingPointError if diverged else ChildProcessError)(f"failed ({text})")

    def _let_go(self) -> None:
        for go in self._go[: self._active]:
            go.release()

    def _wait_for(self, worker: int, naps: int) -> None:
        """Wait, as the leader, for a worker. It may use no processor time for so many naps."""
        arrived = self._arrived[worker]
        if polled(arrived):
            return
        # We count naps, not seconds: after Ctrl-Z and `fg` a worker has its full time again
        left, seen = naps, b""
        while not arrived.acquire(True, NAP):
            before, seen = seen, self._record_of(worker)
            left = left - 1 if seen == before else naps
            if left <= 0 or self._has_lost_one():
                raise ChildProcessError("ended early or hangs, perhaps because memory ran out")

    def _arrive(self) -> None:
        """Tell the leader, as a worker, that this one is here. Wait until all may go on."""
        number = self._me - 1
        self._arrived[number].release()
        if not polled(self._go[number]):
            while not self._go[number].acquire(True, NAP):
                if os.getppid() != self._leader:
                    raise ChildProcessError("the leader ended")

    def _record_of(self, worker: int) -> bytes:
        """Return the system's record of a worker. It changes while the worker computes."""
        with contextlib.suppress(OSError):  # it has gone
            return Path(f"/proc/{self._workers[worker]}/stat").read_bytes()
        return b""

    def _has_lost_one(self) -> bool:
        """Return whether a worker has ended. Then the others are killed."""
        for worker in self._workers:
            with contextlib.suppress(ChildProcessError):  # something else has waited for it
                if os.waitpid(worker, os.WNOHANG)[0] == 0:
                    continue
            self._workers.remove(worker)
            self.close()
            return True
        return False

    def close(self) -> None:
        """Kill the workers."""
        for worker in self._workers:
            # Something else may have seen to it
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(worker, signal.SIGKILL)
                os.waitpid(worker, 0)
        self._workers.clear()


def polled(semaphore: Any) -> bool:
    """Try for about half a millisecond to acquire a semaphore. Return whether that worked."""
    return any(semaphore.acquire(False) for _ in range(POLLS))
