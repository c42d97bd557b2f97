"""Random numbers from the integers of PCG64 alone.

NumPy promises that a bit generator's raw stream never changes. It does not promise that of `standard_normal`,
`permutation` and `choice`, and some of them call the system's mathematics library.
"""

import numpy as np

# The purposes of random numbers. No purpose moves what another draws.
WEIGHTS, ORDER, SAMPLE = 1, 2, 3


def stream(seed: int, purpose: int, number: int = 0) -> np.random.PCG64:
    """Return the random stream for a purpose, a function of its arguments alone: there is no state to be kept.

    `seed` is 0 to 2³² − 1; `number` is that of the epoch, where each has a stream of its own.
    """
    return np.random.PCG64(np.random.SeedSequence([seed, purpose, number]))


def permutation(source: np.random.PCG64, n: int) -> np.ndarray:
    """Return the numbers 0 to n − 1 in random order, shape `(n,)`, dtype int64.

    Every number gets a random key in the high bits of a word and itself in the low ones: no two words are equal, so
    there is one sorted order, whichever sorting algorithm finds it.
    """
    low = np.uint64((1 << max(n - 1, 1).bit_length()) - 1)
    words = (source.random_raw(n) & ~low) | np.arange(n, dtype=np.uint64)
    words.sort()
    return (words & low).astype(np.int64)


def normal_like(source: np.random.PCG64, shape: tuple[int, ...]) -> np.ndarray:
    """Return numbers of mean 0 and standard deviation 1 that are distributed almost normally, float64.

    Each is the sum of twelve uniform numbers less its mean (the Irwin-Hall distribution), so none is beyond ±6. Twelve
    uniform 16-bit integers have variance 2³² − 1: division by 2¹⁶ brings it to 1, less 2⁻³², and rounds nothing.
    """
    words = source.random_raw(3 * int(np.prod(shape))).astype("<u8").view("<u2").reshape(-1, 12)
    sums = words.sum(axis=1, dtype=np.int64)  # integers: exact
    return ((sums - 6 * 0xFFFF) / 0x10000).reshape(shape)
