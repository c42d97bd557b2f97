"""Exact arithmetic against rational numbers, its functions against 60 digits."""

import math
from dataclasses import replace
from decimal import Context, Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlp.arithmetic import ARITHMETICS, LARGEST, SMALLEST_UNIT, Exact, operand_bits, power, tan
from mlp.prediction import predict
from tests.support.networks import MINMAX, digits, dot, new_network, take_step

exact = Exact()
some = settings(max_examples=15)

DENORMAL = 5e-324
seeds = st.integers(0, 2**32 - 1)
magnitudes = st.sampled_from([1e-300, 1e-151, 1e-140, 1e-3, 1.0, 255.0, 1e10, 1e140])


def random_matrix(seed: int, shape: tuple[int, ...], magnitude: float) -> np.ndarray:
    """Return numbers of many sizes and both signs up to `magnitude`, zero and denormal ones too."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, shape) * magnitude
    x *= rng.choice([1.0, 1.0, 0.5, 2.0**-10, 2.0**-20, 2.0**-25], shape)
    x[rng.random(shape) < 0.1] = 0.0
    x[rng.random(shape) < 0.05] = DENORMAL
    return x


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
    same_kind = left.dtype == right.dtype and left.shape == right.shape
    return same_kind and left.tobytes() == right.tobytes()


# Grids


@some
@given(seeds, st.integers(1, 6), st.integers(1, 40), magnitudes, st.integers(1, 51))
def test_grid_has_the_nearest_multiples_of_its_unit(seed, rows, columns, magnitude, bits):
    x = random_matrix(seed, (rows, columns), magnitude)
    before, unit = x.copy(), unit_of(x, bits)
    rounded = exact.grid(x, bits)
    for value, found in zip(fractions(x).ravel(), fractions(rounded).ravel(), strict=True):
        assert (found / unit).denominator == 1
        assert abs(found) <= unit * 2**bits
        assert abs(found - value) <= unit / 2
    row_by_row = [exact.grid(row[np.newaxis], bits) for row in x]
    assert same_bits(exact.grid_rows(x, bits), np.concatenate(row_by_row))
    assert same_bits(exact.grid_rows(x, bits, exact.exponent(x)), rounded)
    assert same_bits(x, before)
    assert exact.grid(x, bits, out=x) is x
    assert same_bits(x, rounded)


def test_grid_of_nothing_or_next_to_nothing_is_zero():
    for x in (np.zeros((2, 3)), np.full((2, 3), -0.0), np.full((2, 3), DENORMAL), np.empty((0, 3))):
        for found in (exact.grid(x, 21), exact.grid_rows(x, 21)):
            np.testing.assert_array_equal(found, np.zeros(x.shape))
    small = np.array([2.0**-500, 2.0**-501, -(2.0**-502)])
    assert exact.grid(small, 21).tolist() == [2.0**-500, 0, 0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, LARGEST, -LARGEST])
@pytest.mark.parametrize("place", [0, 3, 5])
def test_numbers_that_are_too_large_are_refused_in_any_place(bad, place):
    x = np.arange(6.0).reshape(2, 3)
    x.flat[place] = bad
    for use in (
        lambda: exact.grid(x, 21),
        lambda: exact.sum(x),
        lambda: exact.norms(x),
        lambda: exact.grid_rows(x, 21),
        lambda: dot(exact, x, np.ones((3, 1))),
        lambda: dot(exact, np.ones((1, 2)), x),
    ):
        with pytest.raises(FloatingPointError):
            use()


def test_products_of_the_largest_numbers_and_of_the_smallest_units_are_exact():
    largest = exact.grid(np.full((1, 2048), np.nextafter(LARGEST, 0)), 21)
    assert exact.matmul(largest, largest.T)[0, 0] == 2.0**971  # 2¹¹ · 2⁴⁸⁰ · 2⁴⁸⁰
    unit = exact.grid(np.full((1, 3), math.ldexp(1.0, SMALLEST_UNIT)), 21)
    assert exact.matmul(unit, unit.T)[0, 0] == 3 * math.ldexp(1.0, 2 * SMALLEST_UNIT)


# Products


def operands(seed: int, m: int, k: int, n: int, left=1.0, right=1.0) -> tuple:
    """Return random operands on the grids that a product of k terms wants."""
    a, b = random_matrix(seed, (m, k), left), random_matrix(seed + 1, (k, n), right)
    return exact.grid_rows(a, operand_bits(k)), exact.grid(b, operand_bits(k))


few, many = st.integers(1, 3), st.integers(1, 300) | st.just(2049)


@some
@given(seeds, few, many, few, magnitudes, magnitudes)
def test_product_is_that_of_rational_numbers(seed, m, k, n, left, right):
    a, b = operands(seed, m, k, n, left, right)
    assert (fractions(exact.matmul(a, b)) == fractions(a) @ fractions(b)).all()


@pytest.mark.parametrize("terms", [1, 2, 3, 2047, 2048, 2049, 8192, 8193, 10**6, 2**21])
def test_no_bit_of_operands_is_given_away(terms):
    bits = operand_bits(terms)
    assert terms * (2**bits) ** 2 <= 2**53
    assert bits == operand_bits(1) == 21 or terms * (2 ** (bits + 1)) ** 2 > 2**53
    with pytest.raises(ValueError, match="2097153"):
        operand_bits(2**21 + 1)


@pytest.mark.parametrize(("m", "k"), [(3, 4), (3000, 100), (100, 3000), (1000, 1000)])
def test_product_in_blocks_is_written_to_out(m, k):
    a, b = operands(0, m, k, 60)
    out = np.full((m, 60), math.nan)
    assert exact.matmul(a, b, out=out) is out
    assert same_bits(out, a @ b)
    assert same_bits(exact.matmul(a, b), out)


# Sums and norms


@some
@given(seeds, st.integers(1, 60), st.integers(1, 60), magnitudes)
def test_sum_is_exact_on_the_grid_of_its_terms_in_any_order(seed, rows, columns, magnitude):
    x = random_matrix(seed, (rows, columns), magnitude)
    shuffled = np.random.default_rng(seed).permutation(x)
    bits = 53 - max(rows.bit_length(), 2)
    for add, terms, bits_of_terms in [
        (exact.sum, x.reshape(-1, 1), 53 - max(x.size.bit_length(), 2)),
        (lambda x: exact.sum(x, axis=0), x, bits),
        (lambda x: exact.sum(x.T, axis=1).T, x, bits),
        (lambda x: exact.column_sums(exact.grid(x, operand_bits(rows))), x, operand_bits(rows)),
    ]:
        unit, found = unit_of(x, bits_of_terms), add(x)
        assert same_bits(add(shuffled), found)
        sums, truths = fractions(np.asarray(found)).ravel(), fractions(terms).sum(axis=0)
        for value, truth in zip(sums, truths, strict=True):
            assert (value / unit).denominator == 1
            assert abs(value - truth) <= len(terms) * unit / 2


@some
@given(seeds, st.integers(1, 70), st.integers(1, 6))
def test_norm_is_that_of_rational_numbers_and_depends_on_no_other_column_and_no_order(seed, m, n):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(m, n)) * 10.0 ** rng.integers(-60, 60, n)
    x[:, seed % n] = 0.0
    found = exact.norms(x)
    # Each square is rounded to a grid of 2⁵³ / 2m units for at most 4 times the largest square
    tolerance = Fraction(4 * m * 4 * m + 4, 2**53)
    for norm, column in zip(found.tolist(), x.T.tolist(), strict=True):
        square = sum(Fraction(element) ** 2 for element in column)
        assert abs(Fraction(norm) ** 2 - square) <= square * tolerance
    assert same_bits(exact.norms(np.asfortranarray(x[rng.permutation(m)])), found)
    assert same_bits(np.concatenate([exact.norms(x[:, [column]]) for column in range(n)]), found)


def test_norms_where_the_result_is_known():
    almost = math.nextafter(math.sqrt(LARGEST), 0.0)
    x = np.array([[3.0, 0.0, -(2.0**200), 0.0], [-4.0, 0.0, 0.0, almost]])
    assert exact.norms(x).tolist() == [5.0, 0.0, 2.0**200, pytest.approx(almost)]
    for arithmetic, too_large in [(exact, -math.sqrt(LARGEST)), (ARITHMETICS["float32"], math.inf)]:
        with pytest.raises(FloatingPointError):
            arithmetic.norms(np.array([[1.0, too_large]], arithmetic.dtype))


# Functions

SIXTY_DIGITS = Context(prec=60, Emin=-999999, Emax=999999)


def ulps(found: np.ndarray, expected: list[Decimal]) -> float:
    """Return the greatest distance of `found` from `expected`, in units in the last place."""
    pairs = zip(found.tolist(), expected, strict=True)
    return max(float(abs(Decimal(x) - y) / Decimal(math.ulp(float(y)))) for x, y in pairs)


def test_exp_is_within_two_units_in_the_last_place():
    rng = np.random.default_rng(0)
    multiples = np.arange(-1021, 1023)[::23] * math.log(2)  # the reduced argument is almost 0
    halves = multiples + math.log(2) / 2  # where it is largest
    small = rng.uniform(-1, 1, 500) * 2.0 ** rng.integers(-60, 5, 500)
    ends = [-708.0, 709.0, np.nextafter(709.0, 0), -0.0, DENORMAL, -DENORMAL]
    x = [rng.uniform(-708, 709, 500), small, multiples, halves, np.nextafter(halves, -1e3), ends]
    x = np.concatenate(x).clip(-708, 709)
    assert ulps(exact.exp(x), [Decimal(value).exp(SIXTY_DIGITS) for value in x.tolist()]) <= 2


def test_log_is_within_two_units_in_the_last_place():
    rng = np.random.default_rng(0)
    near_one = rng.uniform(0.5, 1, 300) * 2.0 ** rng.integers(-52, -1, 300)
    root = 2.0 ** np.arange(-1021.5, 1023)[::23]  # where the reduced argument is largest
    drawn = [np.exp(rng.uniform(-708, 709, 300)), rng.uniform(0.4, 3, 300)]
    near = [1 + near_one, 1 - near_one, np.nextafter([1, 1, 2], [2, 0, 0])]
    ends = [2.0**-1022, np.finfo(float).max]
    x = np.concatenate([*drawn, *near, root, np.nextafter(root, 0), ends])
    assert ulps(exact.log(x), [Decimal(value).ln(SIXTY_DIGITS) for value in x.tolist()]) <= 2


def test_exp_and_log_where_the_result_is_known():
    np.testing.assert_array_equal(exact.exp(np.array([0.0, -0.0])), [1.0, 1.0])
    assert same_bits(exact.log(np.array([1.0])), np.array([0.0]))
    powers = np.arange(-5, 6)
    np.testing.assert_array_equal(exact.log(2.0**powers), powers * math.log(2))
    beyond = exact.exp(np.array([-708.5, 709.5, -1e6, 1e6, -np.inf, np.inf]))
    np.testing.assert_array_equal(beyond, np.tile(exact.exp(np.array([-708.0, 709.0])), 3))
    assert (np.isfinite(beyond) & (beyond > 0)).all()


def test_exp_in_float32_stops_before_it_overflows():
    found = ARITHMETICS["float32"].exp(np.array([87.0, 88.0, 88.5, 100.0, np.inf], np.float32))
    expected = np.exp(np.array([87, 88, 88, 88, 88], np.float32))
    np.testing.assert_array_equal(found, expected, strict=True)


def test_tan_is_that_of_the_mathematics_library():
    degrees = [*np.random.default_rng(0).uniform(0, 45, 200).tolist(), 1e-300, 22.5, 45.0]
    np.testing.assert_allclose([tan(x) for x in degrees], np.tan(np.radians(degrees)), rtol=5e-16)
    assert [tan(-x) for x in degrees] == [-tan(x) for x in degrees]
    assert tan(0.0) == 0.0


def test_power_is_that_of_rational_numbers():
    for x in (0.0, 0.3, 0.9, 0.999, 1.0):
        for n in (0, 1, 2, 7, 30, 100, 1000):
            expected = Fraction(x) ** n
            tolerance = Fraction(4 * n + 1, 2**53)  # half a unit in the last place a product
            distance = abs(Fraction(power(x, n)) - expected)
            assert distance <= expected * tolerance + Fraction(DENORMAL)
    assert (power(0.0, 0), power(0.9, 1), power(0.5, 30)) == (1.0, 0.9, 2.0**-30)


# The products of a training step


class Watched(Exact):
    """Exact arithmetic that compares some elements of every product with rational numbers."""

    def __init__(self):
        self.products = 0

    def matmul(self, a, b, out=None):
        self.products += 1
        product = super().matmul(a, b, out)
        assert (fractions(product[-2:, -2:]) == fractions(a[-2:]) @ fractions(b[:, -2:])).all()
        return product


@pytest.mark.parametrize(
    ("activation", "hidden", "shift", "scale"),
    [
        ("sigmoid", [20], 0.0, 1 / 255),
        ("tanh", [20, 15], 33.31640625, 0.012735),
        ("relu", [], 0.0, 1.0),
        ("relu", [2100, 12], 33.31640625, 0.012735),
    ],
)
def test_every_product_of_training_and_prediction_is_exact(activation, hidden, shift, scale):
    watched = Watched()
    X, t = digits("train")
    preparation = replace(MINMAX, shift=shift, scale=scale)
    network = new_network(watched, hidden, activation, 0.05, preparation)
    for rows in (slice(0, 4), slice(4, 8)):
        take_step(network, X[rows], t[rows], 0.1)
    layers = len(hidden) + 1
    assert watched.products >= 2 * (3 * layers - 1)
    predict(network, X[:10])
    assert watched.products >= 2 * (3 * layers - 1) + layers
