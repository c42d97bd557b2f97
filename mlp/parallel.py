"""A training step that two processes share, with the bits of `mlp.network.step` in exact arithmetic. Optional reading.

Sums on one grid need no order, so the work may be divided in any way (docs/parallel.md). `DividedStep` is the step in
parts. `Team` runs one of two parts in a second process, the worker.
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
from mlp.optimizers import Memory, Optimizer
from mlp.regularization import KEEP_ALL, Mask, limit_norms

POLLS = 5000  # polls of a semaphore, about 0.1 µs each, before a process sleeps: waking up takes longer
NAP = 0.2  # seconds that a process sleeps before it checks that the other one is alive
LONGEST_WAIT = 300  # naps, one minute: a process that uses no processor time for so long hangs
LONGEST_START = 50  # naps until the worker's first signal
MOST_WAITING = 0.5  # share of a task's time; if the leader waits longer, it is faster alone
LONGEST_ALONE = 16  # runs of a task alone before it tries again: 1 at first, then 2, 4, 8, 16
ROWS = 1000  # images read or copied at once: they fit into the processor's cache
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


class DividedStep:
    """`mlp.network.step` for mini-batches of a fixed size, in parts that two processes can run at the same time.

    In the first layer a part is some of the pixels: columns of X, and rows of W₁. Between X W₁ and the gradients a part
    is some of the images. For the update of a later W a part is some of its rows; for `limit_norms`, some columns.

    Args:
        network: the network to train. Its parameters are in shared memory.
        images: one array for each part: its pixels of the images, (n, pixels) uint8. They may change between steps.
        ends: one array for each part: how many of its pixels each image needs, (n,). Its others are black.
        batch_size: number of images in a mini-batch.
        optimizer: the rule by which a gradient changes a parameter.
        memory: what the optimizer remembers, in shared memory.
        team: the team. It says which parts this process runs.
        cut: a function that divides n things into parts, cut(n, parts).
    """

    def __init__(
        self,
        network: Network,
        images: list[np.ndarray],
        ends: list[np.ndarray],
        batch_size: int,
        optimizer: Optimizer,
        memory: Memory,
        team: Team,
        cut: Callable[[int, int], list[slice]] = cut_evenly,
    ):
        self.network, self.images, self.ends, self.team = network, images, ends, team
        self.optimizer, self.memory = optimizer, memory
        dtype = network.arithmetic.dtype
        stops = accumulate(part.shape[1] for part in images)
        first, *later = network.weights
        self.rows_of_W = [[slice(stop - part.shape[1], stop) for stop, part in zip(stops, images, strict=True)]]
        self.rows_of_W += [cut(len(W), len(images)) for W in later]
        self.columns_of_W = [cut(W.shape[1], len(images)) for W in network.weights]
        self.rows = cut(batch_size, len(images))
        self.batch_size = batch_size
        self.bits = operand_bits(batch_size)
        self.ones: np.ndarray = np.ones((1, batch_size), dtype)

        # Arrays that one process writes and the other reads
        self.products = [shared(np.zeros((batch_size, first.shape[1]), dtype)) for _ in images]
        self.exponents = shared(np.zeros(len(images), np.int64))  # the exponent that each part of W₁ needs
        self.exponent = shared(np.zeros(1, np.int64))  # the exponent of the grid of W₁
        self.h = [shared(np.zeros((batch_size, len(W)), dtype)) for W in later]
        self.da = [shared(np.zeros((batch_size, W.shape[1]), dtype)) for W in network.weights]

        # The large arrays of each part, allocated once
        self.bytes = [np.empty((batch_size, part.shape[1]), np.uint8) for part in images]
        self.X: list[np.ndarray] = [np.empty(part.shape, dtype) for part in self.bytes]
        self.used = [0] * len(images)  # how many of a part's pixels this batch needs: the others are black in it
        # Each buffer holds first W₁ on its grid, then the gradient of W₁
        self.buffers: list[np.ndarray] = [np.empty((part.shape[1], first.shape[1]), dtype) for part in images]

    def __call__(
        self, batch: np.ndarray, t: np.ndarray, terms: np.ndarray, iteration: int, masks: Sequence[Mask] = ()
    ) -> None:
        """Take one step.

        Args:
            batch: the numbers of the images, (batch,) integers.
            t: their labels, one-hot, (batch, classes) uint8.
            terms: the array for the terms of the loss, (2, batch).
            iteration: the number of steps before this one.
            masks: what dropout keeps of the inputs of each layer; all, if not given.

        Raises:
            FloatingPointError: a number is not finite, or too large.
            ChildProcessError: the worker ended, or hangs.
        """
        team = self.team
        self.masks = masks or [KEEP_ALL] * len(self.network.weights)
        for part in team.parts:
            # mode="clip" lets NumPy write straight into `out`; no index is out of range
            np.take(self.images[part], batch, axis=0, out=self.bytes[part], mode="clip")
            X = widen(self.network, self.bytes[part], self.X[part])
            if (kept := self.masks[0].kept) is not None:
                X *= kept[:, self.rows_of_W[0][part]]
            self.used[part] = int(np.maximum.reduce(self.ends[part][batch]))
        while True:
            exponent = int(self.exponent[0])
            for part in team.parts:
                self.multiply(part, exponent)
            team.meet()
            if (largest := max(self.exponents.tolist())) == exponent:
                break
            # Usually the last exponent is still right, so we try it first. Here W₁ has grown beyond a power of two, or
            # shrunk below one. Both processes write the same number.
            self.exponent[0] = largest
        for part in team.parts:
            rows = self.rows[part]
            self.forward_backward(rows, t[rows], terms[:, rows])
        team.meet()
        self.update(iteration)
        if self.optimizer.max_norm:
            team.meet()
            for part in team.parts:
                for W, columns in zip(self.network.weights, self.columns_of_W, strict=True):
                    limit_norms(self.network.arithmetic, W[:, columns[part]], self.optimizer.max_norm)
            team.meet()

    def multiply(self, part: int, exponent: int) -> None:
        """Compute X W₁ over a part's pixels, with W₁ on the grid of `exponent`. Store the exponent that W₁ needs."""
        A, W = self.network.arithmetic, self.network.weights[0]
        rows = self.rows_of_W[0][part]
        self.exponents[part] = A.exponent(W[rows])
        n = self.used[part]
        on_grid = A.grid(W[rows][:n], operand_bits(len(W)), exponent, out=self.buffers[part][:n])
        A.matmul(self.X[part][:, :n], on_grid, out=self.products[part])

    def forward_backward(self, rows: slice, t: np.ndarray, terms: np.ndarray) -> None:
        """Go forward from X W₁ to the loss, and backward to every ∂L/∂a, for some images of the batch."""
        network, batch_size = self.network, self.batch_size
        A, f = network.arithmetic, network.activation
        # One grid serves h W and da Wᵀ, unless one has so many more terms that its operands need fewer bits
        weights = [A.grid(W, operand_bits(len(W))) for W in network.weights[1:]]

        product = self.products[0][rows]
        for other in self.products[1:]:
            product = product + other[rows]
        first, *later = self.masks
        a = network.preparation.scale * first.gain * product + network.biases[0]
        for h, W, b, mask in zip(self.h, weights, network.biases[1:], later, strict=True):
            own = f.function(A, a)
            if mask.kept is not None:
                own *= mask.kept[rows]
            h[rows] = own
            a = mask.gain * A.matmul(A.grid_rows(own, operand_bits(len(W)), f.exponent), W) + b
        y, shifted, total = softmax(A, a)
        terms[...] = loss_terms(shifted, total, t)

        da = self.da[-1][rows] = (y - t) / batch_size
        exponent: int | None = math.frexp(1 / batch_size)[1]
        for layer in reversed(range(len(weights))):
            W, bits = weights[layer], operand_bits(weights[layer].shape[1])
            if bits != operand_bits(len(W)):
                W = A.grid(network.weights[layer + 1], bits)
            dh = A.matmul(A.grid_rows(da, bits, exponent), W.T)
            if (kept := later[layer].kept) is not None:
                dh *= kept[rows]
                dh *= later[layer].gain
            da = self.da[layer][rows] = dh * f.gradient(self.h[layer][rows])
            exponent = None

    def update(self, iteration: int) -> None:
        """Update the rows of every W that belong to this process's parts. Each b belongs to one part."""
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
                    dW[:n] *= network.preparation.scale * self.masks[0].gain
                    dW[n:] = 0.0
                else:
                    dW = A.matmul(A.grid_rows(self.h[layer - 1][:, rows].T, self.bits, f.exponent), da)
                    dW *= self.masks[layer].gain
                optimizer.update(W[rows], dW, [array[rows] for array in self.memory[layer]], iteration)
            if layer % len(self.images) in parts:
                b, db = network.biases[layer], A.matmul(self.ones, da)[0]
                optimizer.update(b, db, self.memory[len(self.da) + layer], iteration)
