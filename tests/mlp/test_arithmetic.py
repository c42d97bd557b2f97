"""Exact arithmetic: its sums and products against rational numbers, its functions against 60 digits."""

import math
from decimal import Context, Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlp.arithmetic import LARGEST, OPERAND_BITS, SMALLEST_UNIT, Exact, operand_bits, tan
from mlp.network import predict
from tests.support.networks import MINMAX, digits, new_network, take_step

exact = Exact()
unhurried = settings(deadline=None, max_examples=60)

DENORMAL = 5e-324
seeds = st.integers(0, 2**32 - 1)
magnitudes = st.sampled_from([1e-300, 1e-160, 1e-151, 1e-140, 1e-20, 1e-3, 1.0, 7.0, 255.0, 1e10, 1e100, 1e140])


def random_matrix(seed: int, shape: tuple[int, ...], magnitude: float) -> np.ndarray:
    """Return numbers of many sizes and both signs up to `magnitude`, with zeros and denormal numbers among them."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, shape) * magnitude
    x *= rng.choice([1.0, 1.0, 0.5, 2.0**-10, 2.0**-20, 2.0**-25], shape)
    x[rng.random(shape) < 0.1] = 0.0
    x[rng.random(shape) < 0.05] = DENORMAL
    return x


matrices = st.builds(
    random_matrix, seeds, st.tuples(st.integers(1, 6), st.integers(1, 40)), magnitudes | st.floats(1e-300, 1e140)
)


def unit_of(x: np.ndarray, bits: int) -> Fraction:
    """Return the unit of the grid that is to hold `x`, from its definition."""
    largest = Fraction(float(np.abs(x).max()))
    exponent = SMALLEST_UNIT
    while largest >= Fraction(2) ** (exponent + bits):
        exponent += 1
    return Fraction(2) ** exponent


def fractions(x: np.ndarray) -> np.ndarray:
    return np.array([Fraction(value) for value in x.ravel().tolist()], object).reshape(x.shape)


def same_bits(left: np.ndarray, right: np.ndarray) -> bool:
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()


# Grids


@unhurried
@given(matrices, st.integers(1, 51))
def test_grid_has_multiples_of_its_unit_no_further_than_half_a_unit(x, bits):
    unit = unit_of(x, bits)
    rounded = fractions(exact.grid(x, bits))
    assert all((value / unit).denominator == 1 for value in rounded.ravel())
    assert all(abs(value) <= unit * 2**bits for value in rounded.ravel())
    assert all(abs(error) <= unit / 2 for error in (rounded - fractions(x)).ravel())


@unhurried
@given(matrices, st.integers(1, 51))
def test_numbers_on_the_grid_do_not_change(x, bits):
    once = exact.grid(x, bits)
    if unit_of(once, bits) == unit_of(x, bits):
        np.testing.assert_array_equal(exact.grid(once, bits), once)
    else:  # the largest was rounded up to the next power of two, which has a coarser grid, but that is the end of it
        twice = exact.grid(once, bits)
        np.testing.assert_array_equal(exact.grid(twice, bits), twice)


@unhurried
@given(matrices)
def test_grid_does_not_change_its_argument_unless_it_is_out(x):
    before = x.copy()
    rounded = exact.grid(x, 21)
    assert same_bits(x, before)
    out = np.empty_like(x)
    assert exact.grid(x, 21, out=out) is out
    assert same_bits(out, rounded)
    assert exact.grid(x, 21, out=x) is x
    assert same_bits(x, rounded)


@pytest.mark.parametrize("x", [np.zeros((2, 3)), np.full((2, 3), -0.0), np.full((2, 3), DENORMAL), np.empty((0, 3))])
def test_grid_of_nothing_or_next_to_nothing_is_zero(x):
    np.testing.assert_array_equal(exact.grid(x, 21), np.zeros(x.shape))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, LARGEST, -LARGEST, 1e300])
@pytest.mark.parametrize("place", [0, 3, 5])
def test_numbers_that_are_too_large_are_refused_in_any_place(bad, place):
    x = np.arange(6.0)
    x[place] = bad
    with pytest.raises(FloatingPointError):
        exact.grid(x, 21)
    with pytest.raises(FloatingPointError):
        exact.sum(x)
    with pytest.raises(FloatingPointError):
        exact.grid_rows(x.reshape(2, 3), 21)
    with pytest.raises(FloatingPointError):
        exact.dot(x.reshape(2, 3), np.ones((3, 1)))
    with pytest.raises(FloatingPointError):
        exact.dot(np.ones((1, 2)), x.reshape(2, 3))


def test_products_of_the_largest_numbers_and_of_the_smallest_units_are_exact():
    largest = exact.grid(np.full((1, 2048), np.nextafter(LARGEST, 0)), 21)
    assert exact.matmul(largest, largest.T)[0, 0] == 2.0**971  # 2¹¹ · 2⁴⁸⁰ · 2⁴⁸⁰
    unit = np.full((1, 3), math.ldexp(1.0, SMALLEST_UNIT))
    assert exact.matmul(exact.grid(unit, 21), exact.grid(unit, 21).T)[0, 0] == 3 * math.ldexp(1.0, 2 * SMALLEST_UNIT)


def test_the_finest_grid_is_that_of_2_to_the_minus_500():
    np.testing.assert_array_equal(exact.grid(np.array([2.0**-500, 2.0**-501, -(2.0**-502)]), 21), [2.0**-500, 0, 0])


def test_exponent_is_that_of_the_power_of_two_above_the_largest():
    found = [exact.exponent(np.array(x)) for x in ([0.75, -0.1], [-1.0], [2.0**40, 3.0], [0.0], [])]
    assert found == [0, 1, 41, -500, -500]


def test_rows_without_numbers():
    assert exact.grid_rows(np.empty((3, 0)), 21).shape == (3, 0)
    np.testing.assert_array_equal(exact.dot(np.empty((3, 0)), np.empty((0, 2))), np.zeros((3, 2)))


# Products


def exact_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a b in rational numbers, which must fit into float64."""
    product = fractions(a) @ fractions(b)
    rounded = product.astype(np.float64)
    assert (fractions(rounded) == product).all(), "a sum does not fit 53 bits"
    return rounded


def operands(seed: int, m: int, k: int, n: int, left=1.0, right=1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return random operands on the grids that a product of k terms wants."""
    a, b = random_matrix(seed, (m, k), left), random_matrix(seed + 1, (k, n), right)
    return exact.grid_rows(a, operand_bits(k)), exact.grid(b, operand_bits(k))


inner_dimensions = st.sampled_from([1, 2, 3, 7, 50, 100, 784]) | st.integers(1, 300)


@unhurried
@given(seeds, st.integers(1, 5), inner_dimensions, st.integers(1, 5), magnitudes, magnitudes)
def test_product_is_that_of_rational_numbers(seed, m, k, n, left, right):
    a, b = operands(seed, m, k, n, left, right)
    np.testing.assert_array_equal(exact.matmul(a, b), exact_product(a, b))


@pytest.mark.parametrize("k", [2047, 2048, 2049, 4097])
@pytest.mark.parametrize("magnitude", [1e-140, 1.0, 1e140])
def test_long_product_is_that_of_rational_numbers(k, magnitude):
    a, b = operands(k, 2, k, 2, magnitude)
    np.testing.assert_array_equal(exact.matmul(a, b), exact_product(a, b))


@pytest.mark.parametrize("terms", [1, 2, 3, 2047, 2048, 2049, 8192, 8193, 10**6, 2**21])
def test_sums_of_the_largest_products_fit_53_bits(terms):
    bits = operand_bits(terms)
    assert terms * (2**bits) ** 2 <= 2**53
    assert bits == OPERAND_BITS or terms * (2 ** (bits + 1)) ** 2 > 2**53, "no bit is given away"
    assert bits >= 16, "a byte less a shift has 16 bits, and is not rounded"


def test_too_many_terms_are_refused():
    with pytest.raises(ValueError, match="2²¹"):
        operand_bits(2**21 + 1)


@unhurried
@given(seeds, st.integers(1, 40), st.integers(1, 5000), st.integers(1, 40), magnitudes)
def test_product_has_the_same_bits_in_any_order_and_splitting_of_its_terms(seed, m, k, n, magnitude):
    rng = np.random.default_rng(seed)
    a, b = operands(seed, m, k, n, magnitude)
    product = exact.matmul(a, b)

    order = rng.permutation(k)
    assert same_bits(exact.matmul(a[:, order], b[order]), product)

    parts = np.split(order, np.sort(rng.integers(0, k + 1, 3)))
    assert same_bits(sum((exact.matmul(a[:, part], b[part]) for part in parts), np.zeros((m, n))), product)

    reverse = np.zeros((m, n))
    for term in order:  # one at a time, without BLAS
        reverse += a[:, term, np.newaxis] * b[term]
    assert same_bits(reverse, product)


@unhurried
@given(seeds, st.integers(1, 30), st.integers(1, 200), st.integers(1, 30))
def test_row_of_a_dot_product_depends_on_no_other_row(seed, m, k, n):
    a, b = random_matrix(seed, (m, k), 1.0), random_matrix(seed + 1, (k, n), 1.0)
    whole = exact.dot(a, b)
    np.testing.assert_array_equal(np.concatenate([exact.dot(row[np.newaxis], b) for row in a]), whole)


@unhurried
@given(seeds, st.integers(1, 5), st.integers(1, 300), st.integers(1, 5), st.sampled_from([1e-20, 1.0, 1e100]))
def test_dot_product_is_near_the_product(seed, m, k, n, magnitude):
    a, b = random_matrix(seed, (m, k), magnitude), random_matrix(seed + 1, (k, n), 1.0)
    row, largest = np.abs(a).max(axis=1, keepdims=True), np.abs(b).max()
    # each factor is off by at most 2⁻²¹ of the largest, or by half the smallest unit
    bound = k * (row * largest * 2.0**-19 + (row + largest) * 2.0**SMALLEST_UNIT)
    assert (np.abs(exact.dot(a, b) - a @ b) <= bound).all()


@unhurried
@given(seeds, st.integers(1, 3000), st.integers(1, 5), st.sampled_from([1e-20, 1.0, 1e100]))
def test_column_sums_have_the_same_bits_in_any_order(seed, m, n, magnitude):
    x = random_matrix(seed, (m, n), magnitude)
    found = exact.column_sums(x)
    assert same_bits(exact.column_sums(np.random.default_rng(seed).permutation(x)), found)
    np.testing.assert_allclose(found, x.sum(axis=0), rtol=0, atol=m * np.abs(x).max() * 2.0**-16 + 1e-140)


@unhurried
@given(seeds, st.integers(1, 20), st.integers(1, 4500), st.integers(1, 20))
def test_product_has_the_same_bits_in_any_memory_layout(seed, m, k, n):
    a, b = operands(seed, m, k, n)
    product = exact.matmul(a, b)

    wide = np.zeros((2 * m, 3 * k))
    wide[::2, ::3] = a
    for left in (np.asfortranarray(a), wide[::2, ::3], a[:, ::-1].copy()[:, ::-1]):
        for right in (np.asfortranarray(b), b.T.copy().T, np.repeat(b, 2, axis=1)[:, ::2]):
            assert same_bits(exact.matmul(left, right), product)
    assert same_bits(exact.matmul(b.T, a.T).T.copy(), product)
    out = np.full((m, n), math.nan)
    assert exact.matmul(a, b, out=out) is out
    assert same_bits(out, product)


@pytest.mark.parametrize(("m", "k"), [(3000, 100), (100, 3000), (1000, 1000)])
def test_large_product_is_written_to_out(m, k):
    a, b = operands(0, m, k, 60)
    out = np.full((m, 60), math.nan)
    assert exact.matmul(a, b, out=out) is out
    assert same_bits(out, a @ b)
    assert same_bits(exact.matmul(a, b), out)


# Sums


@unhurried
@given(seeds, st.integers(1, 300), magnitudes)
def test_sum_is_exact_but_for_the_grid_of_its_terms(seed, terms, magnitude):
    x = random_matrix(seed, (terms,), magnitude)
    total = Fraction(float(exact.sum(x)))
    unit = unit_of(x, min(51, 53 - terms.bit_length()))
    assert (total / unit).denominator == 1
    assert abs(total - fractions(x).sum()) <= terms * unit / 2


@unhurried
@given(seeds, st.integers(2, 60), st.integers(2, 60), magnitudes)
def test_sum_has_the_same_bits_in_any_order(seed, rows, columns, magnitude):
    rng = np.random.default_rng(seed)
    x = random_matrix(seed, (rows, columns), magnitude)
    shuffled = rng.permuted(x.ravel()).reshape(columns, rows)
    assert float(exact.sum(shuffled)) == float(exact.sum(x)) == float(exact.sum(np.asfortranarray(x)))
    by_row = exact.sum(x, axis=1)
    assert by_row.shape == (rows, 1)
    assert same_bits(exact.sum(x[:, rng.permutation(columns)], axis=1), by_row)
    np.testing.assert_array_equal(exact.sum(x.T, axis=0), by_row.T)


@given(st.lists(st.integers(-(2**40), 2**40), min_size=2, max_size=500))
def test_sum_of_integers_is_their_sum(numbers):
    assert exact.sum(np.array(numbers, np.float64)) == sum(numbers)


# exp and log

SIXTY_DIGITS = Context(prec=60, Emin=-999999, Emax=999999)


def ulps(found: np.ndarray, expected: list[Decimal]) -> float:
    """Return the greatest distance of `found` from `expected`, in units in the last place of what is expected."""
    return max(
        float(abs(Decimal(value) - truth) / Decimal(math.ulp(float(truth))))
        for value, truth in zip(found.tolist(), expected, strict=True)
    )


def exp_points() -> np.ndarray:
    rng = np.random.default_rng(0)
    multiples = np.arange(-1021, 1023)[::7] * math.log(2)  # where the reduced argument is next to nothing
    halves = multiples + math.log(2) / 2  # where it is largest
    return np.concatenate(
        [
            rng.uniform(-708, 709, 3000),
            rng.uniform(-40, 1, 2000),
            rng.uniform(-1, 1, 2000) * 2.0 ** rng.integers(-60, 1, 2000),
            multiples,
            np.nextafter(multiples, 1e3),
            halves,
            np.nextafter(halves, -1e3),
            [-708.0, 709.0, np.nextafter(709.0, 0), np.nextafter(-708.0, 0), -0.0, DENORMAL, -DENORMAL, 1e-300],
        ]
    ).clip(-708, 709)


def log_points() -> np.ndarray:
    rng = np.random.default_rng(0)
    near_one = rng.uniform(0.5, 1, 2000) * 2.0 ** rng.integers(-52, -1, 2000)
    root = 2.0 ** np.arange(-1021.5, 1023)[::7]  # where the reduced argument is largest
    return np.concatenate(
        [
            np.exp(rng.uniform(-708, 709, 3000)),
            rng.uniform(0.4, 3, 3000),
            rng.integers(1, 2000, 500).astype(float),
            1 + near_one,
            1 - near_one,
            root,
            np.nextafter(root, 0),
            np.nextafter(root, np.inf),
            2.0 ** np.arange(-1022, 1024)[::7],
            [2.0**-1022, np.finfo(float).max, np.nextafter(1, 2), np.nextafter(1, 0), np.nextafter(2, 0)],
        ]
    )


def test_exp_is_within_two_units_in_the_last_place():
    x = exp_points()
    assert len(x) > 8000
    assert ulps(exact.exp(x), [Decimal(value).exp(SIXTY_DIGITS) for value in x.tolist()]) <= 2


def test_log_is_within_two_units_in_the_last_place():
    x = log_points()
    assert len(x) > 10000
    assert ulps(exact.log(x), [Decimal(value).ln(SIXTY_DIGITS) for value in x.tolist()]) <= 2


@settings(deadline=None, max_examples=300)
@given(st.floats(-708, 709), st.floats(2.0**-1022, allow_infinity=False))
def test_exp_and_log_are_within_two_units_anywhere(x, y):
    assert ulps(exact.exp(np.array([x])), [Decimal(x).exp(SIXTY_DIGITS)]) <= 2
    assert ulps(exact.log(np.array([y])), [Decimal(y).ln(SIXTY_DIGITS)]) <= 2


def test_exp_and_log_where_the_result_is_known():
    np.testing.assert_array_equal(exact.exp(np.array([0.0, -0.0])), [1.0, 1.0])
    assert exact.log(np.array([1.0])).tobytes() == np.array([0.0]).tobytes()
    np.testing.assert_array_equal(exact.log(2.0 ** np.arange(-5, 6)), np.arange(-5, 6) * math.log(2))


def test_exp_stops_at_its_ends_instead_of_overflowing():
    ends = exact.exp(np.array([-708.0, 709.0]))
    beyond = exact.exp(np.array([-708.5, 709.5, -1e6, 1e6, -np.inf, np.inf, -1e308, 1e308]))
    np.testing.assert_array_equal(beyond, np.tile(ends, 4))
    assert np.isfinite(ends).all()
    assert (ends > 0).all()


def test_exp_and_log_do_not_change_their_argument():
    for shape in [(0,), (1,), (3, 5), (7, 100)]:
        x = np.linspace(0.5, 30, math.prod(shape)).reshape(shape)
        before = x.copy()
        for function in (exact.exp, exact.log):
            y = function(x)
            assert y.shape == shape
            assert same_bits(x, before)
            np.testing.assert_array_equal(function(np.asfortranarray(x)), y)
            np.testing.assert_array_equal(function(x[..., ::2]), y[..., ::2])


# tan

PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")


def tangent(degrees: float) -> Decimal:
    """Return the quotient of the power series of the sine and the cosine."""
    with localcontext(SIXTY_DIGITS):
        x = Decimal(degrees) * PI / 180
        terms = [Decimal(1)]
        for k in range(1, 50):
            terms.append(terms[-1] * x / k)  # xᵏ / k!
        return (sum(terms[1::4]) - sum(terms[3::4])) / (sum(terms[0::4]) - sum(terms[2::4]))


@settings(deadline=None, max_examples=300)
@given(st.floats(1e-300, 45))
def test_tan_is_within_three_units_in_the_last_place(degrees):
    assert ulps(np.array([tan(degrees)]), [tangent(degrees)]) <= 3
    assert tan(-degrees) == -tan(degrees)


def test_tan_where_the_result_is_known():
    assert tan(0.0) == 0.0
    for degrees, expected in [(45, 1.0), (30, math.sqrt(1 / 3)), (22.5, math.sqrt(2) - 1), (15, 2 - math.sqrt(3))]:
        assert tan(degrees) == pytest.approx(expected, rel=1e-15, abs=0)


# The products of a training step


class Watched(Exact):
    """Exact arithmetic that looks at the operands of every product: is the sum exact in any order?"""

    def __init__(self):
        self.products = 0

    def matmul(self, a, b, *args, **kwargs):
        self.products += 1
        # Each element of the product has a row of a and a column of b: all of a need not have one unit, all of b has.
        left, right = units(a, axis=1), units(b)
        assert np.abs(left).max(initial=0) <= 2**OPERAND_BITS
        assert np.abs(right).max(initial=0) <= 2**OPERAND_BITS
        assert (np.abs(left) @ np.abs(right)).max(initial=0) <= 2**53
        return super().matmul(a, b, *args, **kwargs)


def units(x: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Return `x` as int64 multiples of the largest power of two that divides them all, or all along `axis`."""
    assert x.dtype == np.float64
    assert np.isfinite(x).all()
    if not x.any():
        return np.zeros(x.shape, np.int64)
    mantissa, exponent = np.frexp(x)
    significand = (mantissa * 2.0**53).astype(np.int64)
    lowest = significand & -significand  # the value of the last bit that is 1
    units = np.where(x == 0, 2**20, np.frexp(lowest.astype(np.float64))[1] + exponent - 54)
    unit = units.min(axis=axis, keepdims=True)
    unit[unit == 2**20] = 0  # nothing but zeros
    multiples = np.ldexp(x, -unit)
    assert np.abs(multiples).max() < 2.0**62
    return multiples.astype(np.int64)


def test_the_watch_sees_what_is_not_on_a_grid():
    np.testing.assert_array_equal(units(np.array([0.75, -3.0, 0.0, 2.0**40])), [3, -12, 0, 2**42])
    on_grid, off_grid = np.full((2, 2), 2.0**21), np.full((2, 2), 2.0**21 + 1)
    assert (Watched().matmul(on_grid, on_grid) == 2.0**43).all()
    for a, b in [(on_grid, off_grid), (off_grid, on_grid)]:
        with pytest.raises(AssertionError):
            Watched().matmul(a, b)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("hidden", [[], [20], [20, 15], [2100, 12]], ids=str)
@pytest.mark.parametrize(
    ("shift", "scale"), [(0.0, 1.0), (0.0, 1 / 255), (33.31640625, 0.012735)], ids=["none", "minmax", "zscore"]
)
def test_every_product_of_training_and_prediction_is_exact(activation, hidden, shift, scale):
    watched = Watched()
    X, t = digits("train")
    network = new_network(watched, hidden, activation, 0.05, MINMAX._replace(shift=shift, scale=scale))
    steps, layers = 5, len(hidden) + 1
    for batch in range(steps):
        rows = slice(40 * batch, 40 * (batch + 1))
        take_step(network, X[rows], t[rows], 0.1)
    assert watched.products >= steps * (3 * layers - 1)
    watched.products = 0
    predict(network, X[:100])
    assert watched.products >= layers
