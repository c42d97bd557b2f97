"""Random numbers from the integers of PCG64 alone.

NumPy promises that a bit generator's raw stream never changes. It promises nothing for
`standard_normal` and `permutation`, and may call the system's mathematics library in them.
"""

import numpy as np

# Purposes of random numbers, each with a stream of its own: none changes another's numbers.
WEIGHTS, ORDER, SAMPLE, DROPOUT, DISTORTION = 1, 2, 3, 4, 5


def stream(seed: int, purpose: int, number: int = 0) -> np.random.PCG64:
    """Return the random stream for a purpose. Its arguments alone decide: there is no state.

    `seed` is from 0 to 2³² − 1. `number` is the epoch or the iteration, for purposes that need a
    new stream in each.
    """
    return np.random.PCG64(np.random.SeedSequence([seed, purpose, number]))


def permutation(source: np.random.PCG64, n: int) -> np.ndarray:
    """Return the numbers 0 to n − 1 in random order, shape `(n,)`, dtype int64.

    Each number is in the low bits of a word, below a random key in the high bits. No two words are
    equal, so every sorting algorithm finds the same order.
    """
    low = np.uint64((1 << max(n - 1, 1).bit_length()) - 1)
    words = (source.random_raw(n) & ~low) | np.arange(n, dtype=np.uint64)
    words.sort()
    return (words & low).astype(np.int64)


def uniform_integers(source: np.random.PCG64, n: int) -> np.ndarray:
    """Return n random whole numbers from 0 to 65535, shape `(n,)`, dtype uint16.

    Each 64-bit word gives four numbers, low bits first. ⌈n / 4⌉ words are taken from `source`.
    """
    # On every machine the low bits are first
    words = source.random_raw(-(-n // 4)).astype("<u8", copy=False)
    return words.view("<u2").astype(np.uint16, copy=False)[:n]


def normal_like(source: np.random.PCG64, shape: tuple[int, ...]) -> np.ndarray:
    """Return almost normal random numbers, of mean 0 and standard deviation 1, float64.

    Each is the sum of twelve uniform numbers minus its mean (the Irwin-Hall distribution), so it is
    between −6 and 6. The sum of twelve uniform 16-bit integers has the variance 2³² − 1. Division
    by 2¹⁶ makes it 1 − 2⁻³² and is exact.
    """
    numbers = uniform_integers(source, 12 * int(np.prod(shape))).reshape(-1, 12)
    sums = numbers.sum(axis=1, dtype=np.int64)  # integers: exact
    return ((sums - 6 * 0xFFFF) / 0x10000).reshape(shape)
