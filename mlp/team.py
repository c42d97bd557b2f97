"""Processes that share work: a leader, and workers, which are its copies.

Optional reading: docs/parallel.md.
"""

import contextlib
import mmap
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

# Polls of a semaphore, about 0.1 µs each, before a process sleeps: waking up takes longer
POLLS = 5000
NAP = 0.2  # seconds that a process sleeps before it checks that the others are alive
LONGEST_WAIT = 300  # naps, one minute: a process that uses no processor time for so long hangs
LONGEST_START = 50  # naps until the workers' first signals
LEADER = 0
# Of a process's semaphores: its task begins, or in the leader ends. 0 and 1 are for meetings, in
# turns
TURN = 2
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of processor time in a period


def available_processes() -> int:
    """Return how many cores this process may use, by affinity and quota; 1 where no BLAS survives a
    fork (macOS).
    """
    if sys.platform != "linux":
        return 1
    cores = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):  # there is no quota
        quota, period = QUOTA.read_text().split()
        cores = min(cores, int(quota) // int(period))
    return max(cores, 1)


def shared(values: np.ndarray) -> np.ndarray:
    """Return a copy of an array in memory that later forks of this process share.

    A MemoryError says there is none.
    """
    try:
        memory = mmap.mmap(-1, max(values.nbytes, 1))
    except OSError:
        raise MemoryError(f"{values.nbytes} bytes") from None
    copy = np.frombuffer(memory, values.dtype, values.size).reshape(values.shape)
    copy[...] = values
    return copy


def cut_evenly(n: int, parts: int) -> list[slice]:
    """Divide n things into parts, in order.

    Return the slice of each part. Their sizes differ by at most one.
    """
    return [slice(n * part // parts, n * (part + 1) // parts) for part in range(parts)]


class Team:
    """A leader process that runs tasks in one or more parts, and a worker process for each further
    part.

    All run the same task on the same memory, each for its own parts. They meet where one needs a
    result of another. `parts` has the numbers of the parts that this process runs now.
    """

    def __init__(self, parts: int):
        self.parts: Sequence[int] = range(parts)
        self._all = self.parts
        self._me, self._leader = LEADER, os.getpid()
        self._workers: list[int] = []  # their process numbers
        self._active = 1  # processes that run the task

    @contextlib.contextmanager
    def start(self, *tasks: Callable[[], None]) -> Iterator[None]:
        """Start a team for some tasks, inside a `with` block. It has as many workers as the system
        allows.

        A worker is a copy of this process. It sees later changes only in memory from `shared`. If
        one ended at once, a ChildProcessError says so.
        """
        self._tasks = tasks
        try:
            # The system refuses one
            with contextlib.suppress(OSError, ImportError, MemoryError, ValueError):
                if len(self.parts) > 1:
                    self._fork()
            try:
                self._wait(TURN, len(self._workers), LONGEST_START)
            except ChildProcessError:
                if not self._workers:  # one was killed
                    raise
                self.close()  # one gives no signal, or lacks memory: we continue without them
            yield
        finally:
            self._tasks = ()  # their arrays can go
            self.close()

    def _fork(self) -> None:
        # Here, so that one process does not spend start-up time on it
        from multiprocessing import get_context

        parts = len(self.parts)
        self._turn = shared(np.zeros(2, np.int64))  # the task, and how many processes run it
        # Of each process in this task: at its meetings and its end. Views of memory are quicker
        # than NumPy's elements
        self._arrivals = shared(np.zeros(parts, np.int64)).data
        self._arrivals[LEADER] = 1
        # The arrival at which a process tells of an error
        self._failed = shared(np.zeros(parts, np.int64)).data
        self._messages = shared(np.zeros((parts, 4096), np.uint8))  # the error
        self._semaphores = [
            [get_context("fork").Semaphore(0) for _ in range(3)] for _ in self.parts
        ]
        # Only the leader reacts to Ctrl-C. It stays blocked in a worker, which sees that the leader
        # ends.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with warnings.catch_warnings():
                # Python warns of a fork in a process with threads: a lock that a thread holds stays
                # locked in the copy. A worker takes no lock of Python's. If it waits for one of the
                # system's, it gives no signal.
                warnings.simplefilter("ignore", DeprecationWarning)
                for number in self.parts[1:]:
                    if (worker := os.fork()) == 0:
                        self._work(number)
                    self._workers.append(worker)
                    self._active += 1
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _work(self, number: int) -> None:
        """Run parts of tasks for the leader until it ends. A worker does nothing else."""
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._me = number
            # If the BLAS has a locked lock, hang here and not later
            np.ones((64, 64)) @ np.ones((64, 64))
            while True:
                self._arrive(TURN, [LEADER])
                self._wait(TURN, 1)
                task, self._active = self._turn.tolist()
                self.parts = self._all[number :: self._active]
                self._tasks[task]()
        except BaseException as error:
            message = f"{type(error).__name__}: {error}".encode(errors="replace")[:4096]
            self._messages[number, : len(message)] = np.frombuffer(message, np.uint8)
            self._failed[number] = self._arrivals[number] + 1
            for semaphore in self._semaphores[LEADER]:
                semaphore.release()
        finally:
            os._exit(0)  # the copy must never run the code that called the leader

    def run(self, task: int, processes: int | None = None) -> None:
        """Run one of the tasks, by its number. At most so many processes take part; all, if no
        number is given.

        Raises:
            FloatingPointError: the task raised it, in any process.
            ChildProcessError: a worker ended, or hangs.
        """
        self._active = min(processes or len(self._all), 1 + len(self._workers))
        self.parts = self._all[LEADER :: self._active]
        if self._active > 1:
            for number in self._all:
                self._arrivals[number] = 0
            self._turn[:] = task, self._active
            for worker in range(1, self._active):
                self._semaphores[worker][TURN].release()
        self._tasks[task]()
        if self._active > 1:
            self._arrive(TURN)
            self._wait(TURN, self._active - 1)

    def meet(self) -> None:
        """Wait until all processes that run the task are here. Errors are those of `run`."""
        if self._active > 1:
            # By turns, because who is quick may come to the next meeting while another still waits
            # in this one
            turn = self._arrivals[self._me] % 2
            self._arrive(turn, range(self._active))
            self._wait(turn, self._active - 1)

    def _arrive(self, semaphore: int, others: Sequence[int] = ()) -> None:
        """Tell other processes that this one is here."""
        self._arrivals[self._me] += 1
        for other in others:
            if other != self._me:
                self._semaphores[other][semaphore].release()

    def _wait(self, semaphore: int, signals: int, naps: int | None = None) -> None:
        """Wait for so many signals of others: first by polling, then asleep.

        The leader takes so many naps at most.
        """
        for _ in range(signals):
            come = self._semaphores[self._me][semaphore].acquire
            for _ in range(POLLS):
                if come(False):
                    break
            else:
                # We count naps, not seconds: after Ctrl-Z and `fg` the workers have their full time
                # again.
                left, seen = naps or LONGEST_WAIT, b""
                while not come(True, NAP):
                    before, seen = seen, self._state()
                    left = (
                        left - 1 if seen == before and self._me == LEADER else naps or LONGEST_WAIT
                    )
                    if left <= 0 or self._is_alone():
                        raise ChildProcessError(
                            "ended early or hangs, perhaps because memory ran out"
                        )
        if (
            signals
            and self._me == LEADER
            and (arrival := self._arrivals[LEADER]) in (failed := self._failed.tolist())
        ):
            text = (
                self._messages[failed.index(arrival)]
                .tobytes()
                .rstrip(b"\0")
                .decode(errors="replace")
            )
            kind = (
                FloatingPointError if text.startswith("FloatingPointError:") else ChildProcessError
            )
            raise kind(f"failed ({text})")

    def _state(self) -> bytes:
        """Return the system's record of the workers that are late.

        It changes while they compute.
        """
        late = [
            place
            for place in range(self._active - 1)
            if self._arrivals[place + 1] < self._arrivals[LEADER]
        ]
        with contextlib.suppress(OSError, IndexError):  # one has gone, or was never there
            return b"".join(
                Path(f"/proc/{self._workers[place]}/stat").read_bytes() for place in late
            )
        return b""

    def _is_alone(self) -> bool:
        """Return whether another process has ended: for a worker, the leader."""
        if self._me != LEADER:
            return os.getppid() != self._leader
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
            # Something else has seen to it
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(worker, signal.SIGKILL)
                os.waitpid(worker, 0)
        self._workers.clear()
