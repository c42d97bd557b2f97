"""The arithmetic of the network: `Exact`, with the same bits everywhere, or float32, faster.

A floating-point sum depends on the order of its terms. The BLAS, its threads and its vector
instructions choose that order. So `Exact` sums only numbers whose sums need no rounding. Its
elementwise operations are + − × ÷ √, comparisons and powers of two: IEEE 754 rounds them correctly.
docs/exact-arithmetic.md has the proof.
"""

import math
from functools import cache, lru_cache

import numpy as np

OPERAND_BITS = 21  # at most, of each factor of a product
MOST_TERMS = 2**21  # of a sum of products
SIGNIFICAND_BITS = 53  # of a float64
GRID_BITS = 51  # at most, of a number on a grid
# Exponent of the finest grid: the product of two units is then no denormal number
SMALLEST_UNIT = -500
LARGEST = 2.0**480  # with this bound, no sum of products comes near overflow
Exponent = int | None  # of a power of two that no element exceeds; None: look for one

# a float64 beyond 2⁵² has no fraction: adding this rounds, subtracting it restores
ROUND_TO_INTEGER = 1.5 * 2.0**52

# OpenBLAS multiplies (m, k) by (k, n) faster, without packing, while m k n is at most this.
SMALL_PRODUCT = 100**3
BLOCK_OF_ROWS = 32  # of a sum over rows: they fit into the processor's cache
SMALL_BLOCK = 64  # a shorter block is not worth a call of its own

# Constants of `Exact.exp` are 0-dimensional: NumPy would convert a float in every operation.
LOG2_E = np.array(1.4426950408889634)
LN2_HIGH = np.array(float.fromhex("0x1.62e42fefa0000p-1"))  # 36 bits: exact times k < 2¹¹
LN2_LOW = np.array(float.fromhex("0x1.cf79abc9e3b3ap-40"))  # ln 2 minus that
LOWEST, HIGHEST = np.array(-708.0), np.array(709.0)  # beyond them eˣ leaves the range of float64
ROUNDER, ONE, EXPONENT_PLACE = np.array(ROUND_TO_INTEGER), np.array(1.0), np.array(52)
EVEN = [np.array(c) for c in (840.0, 75600.0, 665280.0)]  # E = r⁶ + 840 r⁴ + …
# O = 42 (r⁴ + 240 r² + 7920)
ODD, ODD_FACTOR = [np.array(c) for c in (240.0, 7920.0)], np.array(42.0)


@cache
def operand_bits(terms: int) -> int:
    """Return the bits that each factor may have so that any sum of `terms` products is exact.

    A sum of n products of factors of b bits has 2 b + ⌈log₂ n⌉ bits: 53 at most. A ValueError says
    that there are more than 2²¹ terms. docs/exact-arithmetic.md proves no more.
    """
    if terms > MOST_TERMS:
        raise ValueError(f"a sum of {terms} products; at most 2²¹ are exact")
    return min(OPERAND_BITS, (SIGNIFICAND_BITS - max(terms - 1, 0).bit_length()) // 2)


def horner(x: np.ndarray, coefficients: list[np.ndarray]) -> np.ndarray:
    """Return the polynomial xⁿ + c₁ xⁿ⁻¹ + … + cₙ of each number in `x`, by Horner's rule."""
    y = x + coefficients[0]
    for c in coefficients[1:]:
        y *= x
        y += c
    return y


def tan(degrees: float) -> float:
    """Return the tangent of an angle of −45 to 45 degrees, within 3 units in the last place.

    With x in radians, tan x = x / (1 − x² / (3 − x² / (5 − …))): the continued fraction of J. H.
    Lambert (1761). The part after 19 changes less than a unit.
    """
    x = degrees * (math.pi / 180.0)
    square, denominator = x * x, 19.0
    for odd in range(17, 0, -2):
        denominator = odd - square / denominator
    return x / denominator


@lru_cache(8)
def power(x: float, n: int) -> float:
    """Return xⁿ for a whole number n ≥ 0, by repeated squaring: products in an order of n alone."""
    y = 1.0
    while n:
        if n & 1:
            y *= x
        x *= x
        n >>= 1
    return y


class Arithmetic:
    """The operations that the network is written in. Here they are NumPy's, without grids."""

    name: str  # in params.yaml and in model files
    dtype: type  # of all numbers

    def exponent(self, x: np.ndarray) -> int:
        """Return the exponent of a power of two that no element exceeds. Errors: see `grid`."""
        return 0

    def grid(
        self, x: np.ndarray, bits: int, exponent: Exponent = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Return `x`, of any shape, as an operand of `matmul`: rounded to one grid, if any.

        The grid's unit is `bits` bits below a power of two that no element exceeds. With its
        `exponent` the elements are not looked at. `out` is an array for the result, if given.

        Raises:
            FloatingPointError: an element is not finite, or too large.
        """
        return x

    def grid_rows(self, x: np.ndarray, bits: int, exponent: Exponent = None) -> np.ndarray:
        """Return `x`, (m, n), as the left operand of `matmul`: each row has a grid of its own."""
        return x

    def matmul(self, a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return a b, (m, k) times (k, n). Both operands are on grids.

        Blocks of rows of `a`, or of terms, are faster than a large product at once.
        """
        (m, k), n = a.shape, b.shape[1]
        block = SMALL_PRODUCT // max(n * min(m, k), 1)
        if max(m, k) <= block or block < SMALL_BLOCK:
            return np.matmul(a, b, out=out)
        blocks = [slice(start, start + block) for start in range(0, max(m, k), block)]
        if m > k:
            out = np.empty((m, n), self.dtype) if out is None else out
            for rows in blocks:
                np.matmul(a[rows], b, out=out[rows])
            return out
        product = np.matmul(a[:, blocks[0]], b[blocks[0]], out=out)
        for terms in blocks[1:]:
            product += a[:, terms] @ b[terms]
        return product

    def column_sums(self, x: np.ndarray) -> np.ndarray:
        """Return the sums, (n,), of the columns of `x`, (m, n), which is on a grid for m terms."""
        # Faster than NumPy's sum
        return self.matmul(np.ones((1, len(x)), self.dtype), x)[0]

    def sum(self, x: np.ndarray, axis: int | None = None, exponent: Exponent = None) -> np.ndarray:
        """Return the sum over `axis`, which keeps length 1, or over all. Errors: see `grid`."""
        return np.add.reduce(x, axis, keepdims=axis is not None)  # type: ignore[call-overload]

    def norms(self, x: np.ndarray) -> np.ndarray:
        """Return the Euclidean norm of each column of `x`, (m, n): (n,). Errors: see `grid`."""
        squares = np.add.reduce(x * x, 0)
        if not np.isfinite(squares).all():
            raise FloatingPointError("a value is not finite, or too large")
        return np.sqrt(squares)

    def exp(self, x: np.ndarray) -> np.ndarray:
        """Return eˣ."""
        return np.exp(x)

    def log(self, x: np.ndarray) -> np.ndarray:
        """Return ln x."""
        return np.log(x)


class Float32(Arithmetic):
    """float32. The machine's BLAS chooses the order of a sum."""

    name = "float32"
    dtype = np.float32  # twice as many numbers to a vector register as float64

    def exp(self, x: np.ndarray) -> np.ndarray:
        """Return eˣ. Above x = 88 float32 would overflow, so the result is e⁸⁸ there."""
        return np.exp(np.minimum(x, self.dtype(88.0)))


class Exact(Arithmetic):
    """float64 in which every sum is exact, and so the same in any order."""

    name = "exact"
    dtype = np.float64

    def exponent(self, x: np.ndarray) -> int:
        """Return the exponent of the power of two above the largest element, if one is not 0."""
        # On small matrices argmax and argmin are faster than x.max() and x.min()
        largest = max(x.item(x.argmax()), -x.item(x.argmin())) if x.size else 0.0
        if not largest < LARGEST:
            raise FloatingPointError("a value is not finite, or too large")
        return math.frexp(largest)[1] if largest else SMALLEST_UNIT

    def grid(
        self, x: np.ndarray, bits: int, exponent: Exponent = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Round `x` to its grid. A ValueError: more than 51 bits, as no addition rounds finer."""
        if bits > GRID_BITS:
            raise ValueError(f"a grid of {bits} bits; at most {GRID_BITS} are exact")
        exponent = self.exponent(x) if exponent is None else exponent
        # Its last bit is worth one unit
        rounder = math.ldexp(ROUND_TO_INTEGER, max(exponent - bits, SMALLEST_UNIT))
        rounded = np.add(x, rounder, out=out)
        return np.subtract(rounded, rounder, out=rounded)

    def grid_rows(self, x: np.ndarray, bits: int, exponent: Exponent = None) -> np.ndarray:
        """Round each row of `x`, (m, n), to its own grid. Use `grid` for a right operand."""
        if exponent is not None:
            return self.grid(x, bits, exponent)
        largest = np.maximum.reduce(np.abs(x), 1, keepdims=True, initial=0.0)
        if not (largest < LARGEST).all():
            raise FloatingPointError("a value is not finite, or too large")
        rounder = np.ldexp(ROUND_TO_INTEGER, np.maximum(np.frexp(largest)[1] - bits, SMALLEST_UNIT))
        rounded = x + rounder
        return np.subtract(rounded, rounder, out=rounded)

    def sum(self, x: np.ndarray, axis: int | None = None, exponent: Exponent = None) -> np.ndarray:
        """Return the sum over `axis`, which keeps length 1, or over all: exact, on a grid."""
        terms = x.size if axis is None else x.shape[axis]
        bits = SIGNIFICAND_BITS - max(terms.bit_length(), 2)
        on_grid = self.grid(x, bits, exponent)
        return np.add.reduce(on_grid, axis, keepdims=axis is not None)  # type: ignore[call-overload]

    def norms(self, x: np.ndarray) -> np.ndarray:
        """Return the norm of each column. The squares of a column are on a grid of their own."""
        largest = np.maximum.reduce(np.abs(x), 0, initial=0.0)
        if not (largest < math.sqrt(LARGEST)).all():
            raise FloatingPointError("a value is not finite, or too large")
        bits = SIGNIFICAND_BITS - max(len(x).bit_length(), 2)
        # A square is below 2^(2 e), if its number is below 2^e
        exponents = 2 * np.frexp(largest)[1]
        rounder = np.ldexp(ROUND_TO_INTEGER, np.maximum(exponents - bits, SMALLEST_UNIT))
        total = np.zeros(x.shape[1])
        for start in range(0, len(x), BLOCK_OF_ROWS):
            squares = np.square(x[start : start + BLOCK_OF_ROWS])
            squares += rounder
            squares -= rounder
            total += np.add.reduce(squares, 0)
        return np.sqrt(total)

    def exp(self, x: np.ndarray) -> np.ndarray:
        """Return eˣ, within 2 units in the last place, of x or of the nearer of −708 and 709.

        x = k ln 2 + r with |r| ≤ ½ ln 2, and eˣ = 2ᵏ eʳ. eʳ is the Padé approximant of order [6/6],
        N(r) / N(−r) with N(r) = Σ (12 − j)! / (j! (6 − j)!) rʲ: 1 + 2 r O / (E − r O), E and O
        polynomials in r². Error below 2⁻⁶¹.
        """
        x = np.maximum(x, LOWEST)
        np.minimum(x, HIGHEST, out=x)
        shifted = x * LOG2_E
        shifted += ROUNDER  # its low bits are the integer k
        k = shifted - ROUNDER
        x -= k * LN2_HIGH
        k *= LN2_LOW
        x -= k  # x is r from here on
        square = x * x
        even, odd = horner(square, EVEN), horner(square, ODD)
        x *= ODD_FACTOR
        odd *= x
        even -= odd
        odd += odd
        odd /= even
        odd += ONE
        exponent = shifted.view(np.int64)
        exponent <<= EXPONENT_PLACE
        odd.view(np.int64)[...] += exponent  # times 2ᵏ, exactly
        return odd

    def log(self, x: np.ndarray) -> np.ndarray:
        """Return ln x, within 2 units in the last place, for finite x ≥ 2⁻¹⁰²².

        x = 2ᵏ m with m between √½ and √2, and ln m = 2 artanh s, s = (m − 1) / (m + 1): artanh s =
        s + s³/3 + s⁵/5 + …
        """
        m, k = np.frexp(x)
        low = m < math.sqrt(0.5)
        m = np.where(low, 2.0 * m, m)
        k = k - low.astype(np.float64)
        m -= 1.0
        s = m / (m + 2.0)
        square = s * s
        series = np.full_like(s, 1.0 / 23.0)
        for odd in range(21, 1, -2):
            series *= square
            series += 1.0 / odd
        # 2 s + 2 s³ (1/3 + s²/5 + …). With 2 s = m − s m its largest term, m, is not rounded
        tail = s * (m - 2.0 * square * series)
        return k * LN2_HIGH + (m - (tail - k * LN2_LOW))


ARITHMETICS = {arithmetic.name: arithmetic for arithmetic in (Exact(), Float32())}


def arithmetic_of(name: str) -> Arithmetic:
    """Return the arithmetic of a name. A ValueError says that there is none."""
    if name not in ARITHMETICS:
        known = ", ".join(ARITHMETICS)
        raise ValueError(f"there is no arithmetic {name!r}; expected one of {known}")
    return ARITHMETICS[name]


def check_float_environment() -> None:
    """Raise an ArithmeticError unless this thread rounds to nearest, once, with denormal numbers.

    IEEE 754 does so by default. Libraries can change the processor's mode for the whole process.
    """
    one, large = np.array([1.0]), 1e16  # the neighbours of `large` are 2 away
    up, down = math.ldexp(1.0, -53), math.ldexp(1.0, -54)  # half of the way to 1's neighbours
    if one + up != one or one - down != one:
        raise ArithmeticError("this process does not round numbers to the nearest")
    smallest = math.ldexp(1.0, -1022)  # of the normal numbers
    if np.array([smallest]) / 2.0 * 2.0 != smallest:
        raise ArithmeticError("this process replaces denormal numbers by 0")
    if large + 2.9999 != large + 2.0:  # x87 rounds 2.9999 to 3, and then to 4
        raise ArithmeticError("this process rounds twice (x87); use a 64-bit Python")
