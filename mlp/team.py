"""Two processes that do the same work on the same memory, each its own share, and meet in between."""

import contextlib
import mmap
import os
import signal
import sys
import time
import traceback

SHARES = 2  # of the work: as many for one process as for two, so that the bits are the same
PATIENCE = 1000  # looks at an empty pipe, of about a microsecond each, before a process goes to sleep
MOST_WAITING = 0.5  # of its time, above which the first process is quicker alone
LONGEST_ALONE = 16  # pieces of work that it then does before it tries again: 1 at first, then 2, 4, 8, 16
NOT_FINITE = b"n"  # what the second process says before it ends with a FloatingPointError


def available_processes() -> int:
    """Return how many processes a team can have here: 2, or 1 where a second one is impossible or no gain.

    macOS has fork too, but its mathematics library does not survive it.
    """
    return 2 if sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1 else 1


class Team:
    """One process with all shares of the work, or two with one share each.

    Inside `with team:` the second process exists. It is a copy of the first, goes on with the same code, and ends where
    the block does. What both are to see stands in `memory`; each sees what the other wrote once they have met.

        team = Team(processes=2)
        results = team.memory(SHARES)
        with team:
            team.begin()
            for share in team.shares:
                results[share] = work(share)
            team.meet()
            if team.leads:
                print(results[0] + results[1])

    Attributes:
        leads: whether this is the first process.
        shares: the numbers of the shares that this process does.
    """

    def __init__(self, processes: int):
        self.leads = True
        self.shares = range(SHARES)
        self._processes = processes
        self._together = False
        self._to_do_alone, self._next_alone = 0, 1
        self._began = self._met = self._waited = 0.0  # in seconds: when the piece began and when they last met in it

    def memory(self, size: int) -> mmap.mmap:
        """Return `size` bytes, all 0, that both processes have in common if it is called before `with`.

        Raises:
            MemoryError: there are not so many.
        """
        try:
            return mmap.mmap(-1, max(size, 1))
        except OSError:
            raise MemoryError(f"{size} bytes") from None

    def __enter__(self) -> None:
        if self._processes == 1:
            return
        first_in, second_out = os.pipe()
        second_in, first_out = os.pipe()
        # Ctrl-C is for the first process; the second sees that it ends. Between fork and signal it has to wait.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._second = os.fork()
            self.leads = self._second != 0
            if not self.leads:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
        except OSError:  # too many processes, or too little memory for another: then without it
            for end in (first_in, second_out, second_in, first_out):
                os.close(end)
            self._processes = 1
            return
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if self.leads:
            self._in, self._out, *others = first_in, first_out, second_in, second_out
        else:
            self._in, self._out, *others = second_in, second_out, first_in, first_out
        for end in others:  # so that a pipe breaks when the process at its other end has ended
            os.close(end)
        os.set_blocking(self._in, False)

    def begin(self) -> None:
        """Begin a piece of work: decide who does which shares of it.

        On a busy machine two processes that wait for each other are slower than one: each stands still whenever either
        has to leave its processor to somebody else. Then the first does all shares, and the second none.

        Raises:
            ChildProcessError: the first process has ended.
        """
        if self._processes == 1:
            return
        if self.leads:
            if self._together and self._waited > MOST_WAITING * (self._met - self._began):
                self._to_do_alone, self._next_alone = self._next_alone, min(2 * self._next_alone, LONGEST_ALONE)
            elif self._together:
                self._next_alone = 1
            self._together = self._to_do_alone == 0
            self._to_do_alone = max(self._to_do_alone - 1, 0)
            self._began, self._waited = time.perf_counter(), 0.0
            self._write(b"t" if self._together else b"a")
            self.shares = range(SHARES)[: 1 if self._together else SHARES]
        else:
            self._together = self._read() == b"t"
            self.shares = range(SHARES)[1 if self._together else SHARES :]

    def meet(self) -> None:
        """Wait until both processes have come here.

        Raises:
            FloatingPointError: the second process ended with one.
            ChildProcessError: the other process has ended.
        """
        if not self._together:
            return
        began = time.perf_counter()
        self._write(b".")
        self._read()
        self._met = time.perf_counter()
        self._waited += self._met - began

    def _write(self, byte: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # the other has ended: reading tells how
            os.write(self._out, byte)

    def _read(self) -> bytes:
        """Wait for a byte from the other process, and return it."""
        byte = self._next_byte()
        if not byte:
            raise ChildProcessError("the other process has ended")
        if byte == NOT_FINITE:
            raise FloatingPointError("a number in the second process is not finite")
        return byte

    def _next_byte(self) -> bytes:
        # To sleep and be woken up takes longer than most waits: fifty microseconds. So look again and again at first.
        for _ in range(PATIENCE):
            try:
                return os.read(self._in, 1)
            except BlockingIOError:
                pass
        os.set_blocking(self._in, True)
        byte = os.read(self._in, 1)
        os.set_blocking(self._in, False)
        return byte

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if self._processes == 1:
            return
        if not self.leads:
            try:
                if kind and issubclass(kind, FloatingPointError):
                    self._write(NOT_FINITE)
                elif kind and not issubclass(kind, ChildProcessError):
                    traceback.print_exception(error, file=sys.__stderr__)
            finally:
                os._exit(0)  # it must never return to what called the first process
        os.close(self._in)
        os.close(self._out)
        with contextlib.suppress(ProcessLookupError, ChildProcessError):  # somebody else has seen to it
            if kind:
                os.kill(self._second, signal.SIGKILL)  # nobody wants its work
            os.waitpid(self._second, 0)
