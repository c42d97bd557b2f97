"""A training step that two processes share, in exact arithmetic with the bits of `mlp.network.step`. Optional reading.

Sums on one grid need no order, so the work may be divided in any way (docs/parallel.md). `DividedStep` is the step in
parts; `Team` has a second process, the worker, do one of two parts.
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
from itertools import accumulate
from pathlib import Path

import numpy as np

from mlp.arithmetic import operand_bits
from mlp.layers import loss_terms, softmax
from mlp.network import Network, widen
from mlp.optimizers import GradientDescent

POLLS = 5000  # of a semaphore, some 0.1 µs each, before a process goes to sleep: to wake up takes longer
NAP = 0.2  # seconds asleep before a process looks whether the other one still lives
LONGEST_WAIT = 300  # naps, one minute: a process that uses no processor time for so long stands still
LONGEST_START = 50  # naps for the worker's first sign of life
MOST_WAITING = 0.5  # of a task's time, above which the leader is quicker alone
LONGEST_ALONE = 16  # times that it then does this task before it tries again: 1 at first, then 2, 4, 8, 16
ROWS = 1000  # images to look at or to copy at a time: they stay in the processor's cache
LEADER, WORKER = 0, 1


def available_processes() -> int:
    """Return how many processes can share a step here: 2, or 1. (macOS's BLAS does not survive a fork.)"""
    return 2 if sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1 else 1


def shared(values: np.ndarray) -> np.ndarray:
    """Return a copy of an array in memory that this process and those that it forks later have in common.

    Raises:
        MemoryError: there is not so much memory.
    """
    try:
        memory = mmap.mmap(-1, max(values.nbytes, 1))
    except OSError:
        raise MemoryError(f"{values.nbytes} bytes") from None
    copy = np.frombuffer(memory, values.dtype, values.size).reshape(values.shape)
    copy[...] = values
    return copy


def cut_evenly(n: int, parts: int) -> list[slice]:
    """Return which of n things each part has, in order; their numbers differ by one at most."""
    return [slice(n * part // parts, n * (part + 1) // parts) for part in range(parts)]


def ends(images: np.ndarray) -> np.ndarray:
    """Return how many pixels each of the images, (n, pixels) uint8, has up to its last lit one: (n,)."""
    found = np.full(len(images), images.shape[1])
    for start in range(0, len(images) if images.size else 0, ROWS):
        found[start : start + ROWS] -= (images[start : start + ROWS, ::-1] != 0).argmax(axis=1)
    return found


class Team:
    """A process, the leader, that does tasks in one or more parts; of two parts, a worker process does the second.

    Both run the same task on the same memory, each its own parts, and meet where one needs what the other did. `parts`
    has the numbers of those that this process does now.
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
        """Take on some tasks inside a `with` block: with a worker if they have two parts, where one can be had.

        The worker is a copy of this process. It sees later changes only of what is in memory from `shared`.

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
                    self.close()  # it gives no sign of life, or lacks memory: we do without it
            yield
        finally:
            self._tasks = ()  # their arrays can go
            self.close()

    def _fork(self) -> None:
        from multiprocessing import get_context  # here, so that one process does not spend start-up time on it

        self._task = shared(np.zeros(1, np.int64))
        self._message = mmap.mmap(-1, 4096)  # what went wrong in the worker, if anything did,
        self._last = shared(np.zeros(1, np.int64))  # and which of its signals, counted from 1, says so
        self._semaphores = [get_context("fork").Semaphore(0) for _ in self.parts]
        # Ctrl-C is for the leader. The worker, for which it stays blocked, sees that the leader ends.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with warnings.catch_warnings():
                # Python warns of a fork beside threads: they may hold locks, which stay locked in the copy for ever.
                # The worker takes no lock of Python's. If it meets one of the system's, it gives no sign of life.
                warnings.simplefilter("ignore", DeprecationWarning)
                self._worker = os.fork()
            if self._worker == 0:
                self._work()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _work(self) -> None:
        """Do parts of tasks as the leader asks, until it ends. This is all that the worker does."""
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._me, self.parts, self._together = WORKER, [WORKER], True
            np.ones((64, 64)) @ np.ones((64, 64))  # stands still here, rather than later, where a lock is taken
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
            os._exit(0)  # it must never return to what called the leader

    def run(self, task: int) -> None:
        """Do one of the tasks, by its number.

        On a busy machine two processes that wait for each other are slower than one: each stands still whenever either
        has to leave its processor to another program. Then the leader does all parts for a while.

        Raises:
            FloatingPointError: the task raised it, in either process.
            ChildProcessError: the worker ended, or stands still.
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
        """Wait until both processes have come here. Errors are those of `run`."""
        if self._together:
            self._signal()
            self._wait(LONGEST_WAIT if self._me == LEADER else math.inf)

    def _signal(self) -> None:
        """Tell the other process that this one has come so far."""
        self._signals += self._me == WORKER
        self._semaphores[1 - self._me].release()

    def _wait(self, naps: float) -> None:
        """Wait for the other process to come so far: at first awake, then asleep for as many naps as that."""
        come = self._semaphores[self._me].acquire
        began = time.perf_counter()
        for _ in range(POLLS):
            if come(False):
                break
        else:
            # Naps, not seconds, are counted: after Ctrl-Z and `fg` the worker has its time again.
            left, seen = naps, b""
            while not come(True, NAP):
                before, seen = seen, self._state()
                left = left - 1 if seen == before else naps
                if left <= 0 or self._is_alone():
                    raise ChildProcessError("ended early or stands still, perhaps because memory ran out")
        self._waited += time.perf_counter() - began
        self._signals += self._me == LEADER
        if self._me == LEADER and self._last[0] == self._signals:
            text = self._message[:].rstrip(b"\0").decode(errors="replace")
            raise (FloatingPointError if text.startswith("FloatingPointError:") else ChildProcessError)(
                f"failed ({text})"
            )

    def _state(self) -> bytes:
        """Return the system's account of the other process, which changes while that computes."""
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
        """End the worker, whatever it does."""
        if self._worker is not None:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):  # something else has seen to it
                os.kill(self._worker, signal.SIGKILL)
                os.waitpid(self._worker, 0)
            self._worker = None


class DividedStep:
    """`mlp.network.step` for mini-batches of a fixed size, in parts that two processes can do at the same time.

    In the first layer each part has some of the pixels: columns of X, and rows of W₁. In between, where everything is
    done image by image, each has some of the images; and where the later weights change, some of their rows.

    Args:
        network: to train; its parameters are in shared memory.
        images: of each part, its pixels of all training images, (n, pixels) uint8.
        batch_size: that of each mini-batch.
        optimizer: makes a change of each gradient.
        team: says which parts this process does.
        cut: cut(n, parts) divides n things into parts.
    """

    def __init__(
        self,
        network: Network,
        images: list[np.ndarray],
        batch_size: int,
        optimizer: GradientDescent,
        team: Team,
        cut: Callable[[int, int], list[slice]] = cut_evenly,
    ):
        self.network, self.images, self.optimizer, self.team = network, images, optimizer, team
        dtype = network.arithmetic.dtype
        stops = accumulate(part.shape[1] for part in images)
        first, *later = network.weights
        self.rows_of_W = [[slice(stop - part.shape[1], stop) for stop, part in zip(stops, images, strict=True)]]
        self.rows_of_W += [cut(len(W), len(images)) for W in later]
        self.rows = cut(batch_size, len(images))
        self.batch_size = batch_size
        self.bits = operand_bits(batch_size)
        self.ones: np.ndarray = np.ones((1, batch_size), dtype)

        # What one process writes and another reads
        self.products = [shared(np.zeros((batch_size, first.shape[1]), dtype)) for _ in images]
        self.exponents = shared(np.zeros(len(images), np.int64))  # that each part of W₁ needs,
        self.exponent = shared(np.zeros(1, np.int64))  # and that of the grid of all
        self.h = [shared(np.zeros((batch_size, len(W)), dtype)) for W in later]
        self.da = [shared(np.zeros((batch_size, W.shape[1]), dtype)) for W in network.weights]

        # The large arrays of each part, allocated once
        self.bytes = [np.empty((batch_size, part.shape[1]), np.uint8) for part in images]
        self.X: list[np.ndarray] = [np.empty(part.shape, dtype) for part in self.bytes]
        black = network.preparation.shift == 0.0  # pixels add nothing
        self.ends = [ends(part) if black else np.full(len(part), part.shape[1]) for part in images]
        self.used = [0] * len(images)  # how many of a part's pixels matter to this batch: the others are black in it
        # Each holds the gridded W₁ first, then its gradient
        self.buffers: list[np.ndarray] = [np.empty((part.shape[1], first.shape[1]), dtype) for part in images]

    def __call__(self, batch: np.ndarray, t: np.ndarray, terms: np.ndarray) -> None:
        """Take one step.

        Args:
            batch: (batch,) integers: which images.
            t: their labels, one-hot, (batch, classes) uint8.
            terms: (2, batch), where to write the terms of the loss.

        Raises:
            FloatingPointError: a number is not finite, or too large.
            ChildProcessError: the worker ended, or stands still.
        """
        team = self.team
        for part in team.parts:
            # mode="clip" lets NumPy write straight into `out`; no index is out of range
            np.take(self.images[part], batch, axis=0, out=self.bytes[part], mode="clip")
            widen(self.network, self.bytes[part], self.X[part])
            self.used[part] = int(np.maximum.reduce(self.ends[part][batch]))
        while True:
            exponent = int(self.exponent[0])
            for part in team.parts:
                self.multiply(part, exponent)
            team.meet()
            if (largest := max(self.exponents.tolist())) == exponent:
                break
            # W₁ has grown beyond a power of two, or shrunk below one. Usually the last exponent is still right, so we
            # try it first. Both processes write the same number here.
            self.exponent[0] = largest
        for part in team.parts:
            rows = self.rows[part]
            self.forward_backward(rows, t[rows], terms[:, rows])
        team.meet()
        self.update()

    def multiply(self, part: int, exponent: int) -> None:
        """Form X W₁ over a part's pixels, with W₁ on the grid of `exponent`; note which exponent its weights need."""
        A, W = self.network.arithmetic, self.network.weights[0]
        rows = self.rows_of_W[0][part]
        self.exponents[part] = A.exponent(W[rows])
        n = self.used[part]
        on_grid = A.grid(W[rows][:n], operand_bits(len(W)), exponent, out=self.buffers[part][:n])
        A.matmul(self.X[part][:, :n], on_grid, out=self.products[part])

    def forward_backward(self, rows: slice, t: np.ndarray, terms: np.ndarray) -> None:
        """Go forward from X W₁ to the loss, and back to every ∂L/∂a, for some images of the batch."""
        network, batch_size = self.network, self.batch_size
        A, f = network.arithmetic, network.activation
        # one grid serves h W and da Wᵀ, unless the sums of one have so many more terms that they leave fewer bits
        weights = [A.grid(W, operand_bits(len(W))) for W in network.weights[1:]]

        product = self.products[0][rows]
        for other in self.products[1:]:
            product = product + other[rows]
        a = network.preparation.scale * product + network.biases[0]
        for h, W, b in zip(self.h, weights, network.biases[1:], strict=True):
            h[rows] = own = f.function(A, a)
            a = A.matmul(A.grid_rows(own, operand_bits(len(W)), f.exponent), W) + b
        y, shifted, total = softmax(A, a)
        terms[...] = loss_terms(shifted, total, t)

        da = self.da[-1][rows] = (y - t) / batch_size
        exponent: int | None = math.frexp(1 / batch_size)[1]
        for layer in reversed(range(len(weights))):
            W, bits = weights[layer], operand_bits(weights[layer].shape[1])
            if bits != operand_bits(len(W)):
                W = A.grid(network.weights[layer + 1], bits)
            dh = A.matmul(A.grid_rows(da, bits, exponent), W.T)
            da = self.da[layer][rows] = dh * f.gradient(self.h[layer][rows])
            exponent = None

    def update(self) -> None:
        """Change the rows of every W that belong to this process's parts. Each b belongs to one of the parts."""
        network, parts, optimizer = self.network, self.team.parts, self.optimizer
        A, f = network.arithmetic, network.activation
        for layer, da in enumerate(self.da):
            da = A.grid(da, self.bits)
            W = network.weights[layer]
            for part in parts:
                rows = self.rows_of_W[layer][part]
                if layer == 0:
                    dW, n = self.buffers[part], self.used[part]
                    A.matmul(self.X[part][:, :n].T, da, out=dW[:n])
                    dW[:n] *= network.preparation.scale
                    dW[n:] = 0.0
                else:
                    dW = A.matmul(A.grid_rows(self.h[layer - 1][:, rows].T, self.bits, f.exponent), da)
                optimizer.update(W[rows], dW)
            if layer % len(self.images) in parts:
                optimizer.update(network.biases[layer], A.matmul(self.ones, da)[0])
