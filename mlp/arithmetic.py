"""The arithmetic that the network is written over: `Exact`, the same bits on every machine, and `Float32`, faster.

Floating-point addition depends on the order of the terms, and that order belongs to the BLAS, its threads and its
vector instructions. `Exact` therefore adds only numbers whose sums need no rounding, and uses nothing else but the
operations that IEEE 754 rounds correctly: + − × ÷, comparisons, and powers of two. The proof: docs/exact-arithmetic.md.
"""

import math

import numpy as np

OPERAND_BITS = 21  # of each factor of a matrix product: two have 42 bits, and 2¹¹ such products sum to 53
INNER_BLOCK = 2048  # = 2¹¹ products at most in one sum
SIGNIFICAND_BITS = 53  # of a float64
SMALLEST_UNIT = -500  # exponent of the finest grid: the product of two units is then no denormal number
LARGEST = 2.0**480  # with this bound, no sum of products comes near overflow

ROUND_TO_INTEGER = 1.5 * 2.0**52  # a float64 beyond 2⁵² has no fraction: adding this rounds, subtracting it restores

# The numbers in `Exact.exp` are arrays without dimensions: a Python float is made into one anew whenever it is added.
LOG2_E = np.array(1.4426950408889634)
LN2_HIGH = np.array(float.fromhex("0x1.62e42fefa0000p-1"))  # 36 bits of ln 2: exact times an integer below 2¹¹
LN2_LOW = np.array(float.fromhex("0x1.cf79abc9e3b3ap-40"))  # ln 2 less that
LOWEST, HIGHEST = np.array(-708.0), np.array(709.0)  # beyond them eˣ leaves the range of float64
ROUNDER, ONE, EXPONENT_PLACE = np.array(ROUND_TO_INTEGER), np.array(1.0), np.array(52)
EVEN = [np.array(c) for c in (840.0, 75600.0, 665280.0)]
ODD = [np.array(c) for c in (42.0, 10080.0, 332640.0)]


class Exact:
    """float64 in which every sum is exact, and so the same in any order."""

    dtype = np.float64

    def grid(
        self, x: np.ndarray, bits: int = OPERAND_BITS, exponent: int | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Round `x` to multiples of a unit 2ᵏ: `bits` bits below the power of two above its largest element.

        Args:
            x: of any shape.
            bits: 51 at most.
            exponent: of that power, where it is known that no element goes beyond it. Then nothing is checked.
            out: where to write the result, if given.

        Raises:
            FloatingPointError: an element is infinite, not a number, or above `LARGEST`.
        """
        if exponent is None:
            # quicker than x.max() and x.min(), which on small matrices spend their time getting ready
            largest = max(x.item(x.argmax()), -x.item(x.argmin())) if x.size else 0.0
            if not largest < LARGEST:
                raise FloatingPointError("a value is not finite or has grown beyond all bounds")
            exponent = math.frexp(largest)[1]
        unit_exponent = max(exponent - bits, SMALLEST_UNIT)
        rounder = math.ldexp(ROUND_TO_INTEGER, unit_exponent)  # its last bit is worth one unit
        rounded = np.add(x, rounder, out=out)
        rounded -= rounder
        return rounded

    def grid_rows(self, x: np.ndarray) -> np.ndarray:
        """Round each row of `x`, (m, n), to a grid of its own, so that it does not depend on what the others hold.

        Such a matrix may stand on the left of a product, whose rows then have units of their own too; not on the right.

        Raises:
            FloatingPointError: an element is infinite, not a number, or above `LARGEST`.
        """
        largest = np.maximum.reduce(np.abs(x), 1, keepdims=True)
        if not (largest < LARGEST).all():
            raise FloatingPointError("a value is not finite or has grown beyond all bounds")
        unit_exponent = np.maximum(np.frexp(largest)[1] - OPERAND_BITS, SMALLEST_UNIT)
        rounder = np.ldexp(ROUND_TO_INTEGER, unit_exponent)
        return (x + rounder) - rounder

    def matmul(self, a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return a b of two operands on grids, `(m, k)` and `(k, n)`; an inner dimension over 2,048 in blocks."""
        inner = a.shape[1]
        product = np.matmul(a[:, :INNER_BLOCK], b[:INNER_BLOCK], out=out)
        for start in range(INNER_BLOCK, inner, INNER_BLOCK):
            block = slice(start, start + INNER_BLOCK)
            product += a[:, block] @ b[block]
        return product

    def sum(self, x: np.ndarray, axis: int | None = None, exponent: int | None = None) -> np.ndarray:
        """Return the sum over `axis` (kept, with length 1), rounded to a grid on which it is exact; see `grid`."""
        terms = x.size if axis is None else x.shape[axis]
        bits = SIGNIFICAND_BITS - max(terms.bit_length(), 2)
        return np.add.reduce(self.grid(x, bits, exponent), axis, keepdims=axis is not None)

    def exp(self, x: np.ndarray) -> np.ndarray:
        """Return eˣ, within 2 units in the last place for −708 ≤ x ≤ 709; outside, that of the nearer end.

        x = k ln 2 + r with |r| ≤ ½ ln 2, and eˣ = 2ᵏ eʳ. eʳ is the Padé approximant of order [6/6],
        1 + 2 r O / (E − r O), with E and O polynomials in r²; its error is below 2⁻⁶¹.
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
        even = square + EVEN[0]
        even *= square
        even += EVEN[1]
        even *= square
        even += EVEN[2]
        odd = square * ODD[0]
        odd += ODD[1]
        odd *= square
        odd += ODD[2]
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

        x = 2ᵏ m with m between √½ and √2, and ln m = 2 artanh s, s = (m − 1) / (m + 1): artanh s = s + s³/3 + s⁵/5 + …
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
        # 2 s + 2 s³ (1/3 + s²/5 + …), written so that its largest term, m, is not rounded: 2 s = m − s m
        tail = s * (m - 2.0 * square * series)
        return k * LN2_HIGH + (m - (tail - k * LN2_LOW))


class Float32:
    """Plain float32: twice as many numbers to a vector register, and sums in the order of the machine's own BLAS."""

    dtype = np.float32

    def grid(
        self, x: np.ndarray, bits: int = 0, exponent: int | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Return `x` itself."""
        return x

    def grid_rows(self, x: np.ndarray) -> np.ndarray:
        """Return `x` itself."""
        return x

    def matmul(self, a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return a b."""
        return np.matmul(a, b, out=out)

    def sum(self, x: np.ndarray, axis: int | None = None, exponent: int | None = None) -> np.ndarray:
        """Return the sum over `axis` (kept, with length 1)."""
        return np.add.reduce(x, axis, keepdims=axis is not None)

    def exp(self, x: np.ndarray) -> np.ndarray:
        """Return eˣ; above x = 88, where float32 would overflow, that of 88."""
        return np.exp(np.minimum(x, np.float32(88.0)))

    def log(self, x: np.ndarray) -> np.ndarray:
        """Return ln x."""
        return np.log(x)


ARITHMETICS: dict[str, Exact | Float32] = {"exact": Exact(), "float32": Float32()}
