"""How many of a team's processes take the steps now."""

import itertools
import math

# Seconds of steps by as many processes as are fastest, and by another number
SPELL, TRIAL = 1.0, 0.05
LONGEST_GAP = 16  # spells between two trials: 1 at first, then 2, 4, 8, 16


class Pace:
    """How many processes take the steps: as many as are fastest now.

    Other numbers have a short trial now and then. On a busy machine many processes are slower than
    one: all wait whenever one of them loses its processor to another program.
    """

    def __init__(self, most: int):
        numbers = [*itertools.takewhile(lambda n: n < most, (1, 2, 4, 8, 16, 32)), most]
        self.best, self.seconds = most, math.inf  # a step takes so long
        self._numbers = itertools.cycle(numbers)
        self._most = most
        self._due = self._gap = 1  # spells before the next trial

    def next(self) -> tuple[int, float]:
        """Return how many processes take the next steps, and for how many seconds."""
        if self._due > 0 or self._most == 1:
            return self.best, SPELL if self.seconds < math.inf else TRIAL
        return next(number for number in self._numbers if number != self.best), TRIAL

    def tell(self, processes: int, seconds: float) -> None:
        """Say how many seconds a step of these processes took."""
        if processes == self.best:
            self._due = 0 if seconds > 1.5 * self.seconds else self._due - 1
            self.seconds = seconds
        elif seconds < 0.9 * self.seconds:
            self.best, self.seconds, self._due, self._gap = processes, seconds, 1, 1
        else:
            self._due = self._gap = min(2 * self._gap, LONGEST_GAP)
