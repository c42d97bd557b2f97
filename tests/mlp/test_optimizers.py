"""The rules that change the parameters, against the papers' formulas; the schedules; the norms of columns."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlp.arithmetic import ARITHMETICS, LARGEST, Exact, power
from mlp.optimizers import BLOCK, FAR_ABOVE, SGD, TIDY, Adam, Optimizer, Schedule, half_cosine
from tests.support.networks import Float64

A = Exact()
TOLERANCE = {"float64": 1e-12, "float32": 2e-5}  # largest difference, relative to the largest number
STEPS = 60

both_types = pytest.mark.parametrize("dtype", ["float64", "float32"])
shapes = pytest.mark.parametrize("shape", [(1,), (7,), (5, 4), (BLOCK + 3,), (260, 130)], ids=str)
RULES = [SGD(), SGD(0.9), SGD(0.9, True), Adam(), Adam(0.0), Adam(0.5, 0.9, 1e-3)]
rules = pytest.mark.parametrize("rule", RULES, ids=str)


def normal(shape, dtype, seed):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def arrays_of(memory):
    """Return the arrays of a memory of one parameter."""
    (arrays,) = memory
    return arrays


def follow(optimizer, start, gradients):
    """Return a parameter after each of the updates by the gradients, float64."""
    w, found = start.copy(), []
    memory = arrays_of(optimizer.new_memory([w]))
    for iteration, g in enumerate(gradients):
        optimizer.update(w, g.copy(), memory, iteration)
        found.append(w.astype(np.float64))
    return found


def agree(found, expected, dtype):
    for ours, theirs in zip(found, expected, strict=True):
        assert np.abs(ours - theirs).max() <= TOLERANCE[dtype] * np.abs(theirs).max()


# The papers' formulas, float64, for one rate


def sutskever(w, gradients, rate, momentum):
    """Yield w after each step by "On the importance of initialization and momentum", equations 1 and 2."""
    v = np.zeros_like(w)
    for g in gradients:
        v = momentum * v - rate * g
        w = w + v
        yield w


def kingma_ba(w, gradients, rate, beta1, beta2, epsilon):
    """Yield w after each step of "Adam", algorithm 1."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        w = w - rate * m_hat / (np.sqrt(v_hat) + epsilon)
        yield w


@both_types
@shapes
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.95])
def test_momentum_is_that_of_sutskever_and_others(dtype, shape, momentum):
    start, gradients = normal(shape, dtype, 0), [normal(shape, dtype, [1, i]) for i in range(STEPS)]
    expected = sutskever(start.astype(np.float64), gradients, 0.01, momentum)
    agree(follow(Optimizer(Schedule(0.01), SGD(momentum)), start, gradients), list(expected), dtype)


@both_types
@pytest.mark.parametrize("momentum", [0.5, 0.95])
def test_nesterov_takes_the_gradient_where_the_momentum_leads(dtype, momentum):
    # Equations 3 and 4 of the same paper: v ← μ v − η g(θ + μ v), θ ← θ + v. Our w is their θ + μ v. The loss is
    # ½ Σ curvature (w − target)²
    curvature, target, rate = np.linspace(0.1, 5, 40), np.linspace(-1, 2, 40), 0.05
    optimizer = Optimizer(Schedule(rate), SGD(momentum, nesterov=True))
    w = normal(40, dtype, 0)
    memory = arrays_of(optimizer.new_memory([w]))
    theta, v = w.astype(np.float64), np.zeros(40)
    for iteration in range(STEPS):
        optimizer.update(w, (curvature * (w - target)).astype(dtype), memory, iteration)
        v = momentum * v - rate * curvature * (theta + momentum * v - target)
        theta = theta + v
        assert np.abs(w - (theta + momentum * v)).max() <= TOLERANCE[dtype]


@both_types
@shapes
@pytest.mark.parametrize("settings", [(0.9, 0.999, 1e-8), (0.0, 0.999, 1e-8), (0.8, 0.9, 0.1)], ids=str)
def test_adam_is_that_of_kingma_and_ba(dtype, shape, settings):
    start, gradients = normal(shape, dtype, 0), [normal(shape, dtype, [1, i]) for i in range(STEPS)]
    expected = kingma_ba(start.astype(np.float64), [g.astype(np.float64) for g in gradients], 0.01, *settings)
    agree(follow(Optimizer(Schedule(0.01), Adam(*settings)), start, gradients), list(expected), dtype)


@both_types
def test_first_step_of_adam_is_as_long_as_the_rate_whatever_the_gradient(dtype):
    w, g = np.zeros(4, dtype), np.array([1e-3, -1.0, 1e3, 0.0], dtype)
    optimizer = Optimizer(Schedule(0.5), Adam())
    optimizer.update(w, g, arrays_of(optimizer.new_memory([w])), 0)
    np.testing.assert_allclose(w, [-0.5, 0.5, -0.5, 0.0], rtol=2e-5)


@both_types
@rules
def test_decay_takes_its_share_of_each_weight_beside_the_rule(dtype, rule):
    # Loshchilov and Hutter: λ does not pass through the rule's memory, so the rule's change is that without decay
    start, gradients = normal((9, 8), dtype, 0), [normal((9, 8), dtype, [1, i]) for i in range(STEPS)]
    schedule = Schedule(0.05, "cosine", 10, STEPS)
    plain = [start.astype(np.float64), *follow(Optimizer(schedule, rule), start, gradients)]
    w, expected = plain[0], []
    for iteration in range(STEPS):
        w = w + (plain[iteration + 1] - plain[iteration]) - schedule.at(iteration) * 0.3 * w
        expected.append(w)
    agree(follow(Optimizer(schedule, rule, weight_decay=0.3), start, gradients), expected, dtype)
    assert np.abs(expected[-1] - plain[-1]).max() > 0.1


@both_types
@rules
def test_biases_do_not_decay(dtype, rule):
    start, gradients = normal(9, dtype, 0), [normal(9, dtype, [1, i]) for i in range(5)]
    plain, decayed = (follow(Optimizer(Schedule(0.05), rule, decay), start, gradients) for decay in (0.0, 0.3))
    np.testing.assert_array_equal(decayed, plain)


@both_types
@shapes
def test_plain_descent_has_the_bits_of_w_minus_rate_times_gradient(dtype, shape):
    w, g = normal(shape, dtype, 0), normal(shape, dtype, 1)
    expected = w - w.dtype.type(0.3) * g
    Optimizer(Schedule(0.3)).update(w, g, [], 0)
    assert w.tobytes() == expected.tobytes()


@both_types
@rules
def test_memory_has_arrays_of_zeros_like_the_parameter(dtype, rule):
    parameters = [np.ones((3, 4), dtype), np.ones(4, dtype)]
    memory = Optimizer(Schedule(1.0), rule).new_memory(parameters)
    count = 2 if isinstance(rule, Adam) else 1 if rule.momentum else 0
    for parameter, arrays in zip(parameters, memory, strict=True):
        assert [(array.shape, array.dtype, array.any()) for array in arrays] == [
            (parameter.shape, dtype, False)
        ] * count


@both_types
@rules
def test_parts_in_any_order_have_the_bits_of_the_whole(dtype, rule):
    rng = np.random.default_rng(2)
    optimizer = Optimizer(Schedule(0.1, "linear", 3, 30), rule, 0.1)
    whole = normal((700, 60), dtype, 0)
    divided = whole.copy()
    memories = [arrays_of(optimizer.new_memory([whole])) for _ in range(2)]
    for iteration in range(20):
        g = normal(whole.shape, dtype, [1, iteration])
        places = [0, *np.sort(rng.integers(0, 701, 4)), 700]
        parts = [slice(*pair) for pair in pairwise(places)]
        rng.shuffle(parts)
        for rows in parts:
            optimizer.update(divided[rows], g[rows].copy(), [array[rows] for array in memories[1]], iteration)
        optimizer.update(whole, g, memories[0], iteration)
        for one, other in zip([whole, *memories[0]], [divided, *memories[1]], strict=True):
            assert one.tobytes() == other.tobytes()


@both_types
@rules
@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_no_parameter_becomes_minus_zero(dtype, rule, decay):
    tiny = float(np.finfo(dtype).smallest_subnormal)
    values = np.array([0.0, tiny, -tiny, 3 * tiny, 1.0, -1.0], dtype)
    w, g = (array.reshape(-1, 1) for array in np.meshgrid(values, [*values.tolist(), -0.0]))
    w, g = w.astype(dtype), g.astype(dtype)
    optimizer = Optimizer(Schedule(1.0), rule, decay)
    memory = arrays_of(optimizer.new_memory([w]))
    with np.errstate(under="ignore"):
        for iteration in range(2 * TIDY):
            optimizer.update(w, g * (iteration % 3 - 1), memory, iteration)
            assert not np.signbit(w[w == 0.0]).any()


# Numbers that are too small to act


@both_types
@pytest.mark.parametrize("rule", [SGD(0.5), SGD(0.9, True), Adam(0.5, 0.9)], ids=str)
def test_no_denormal_number_stays_in_the_memory_and_no_weight_notices(dtype, rule):
    # The gradient stops after ten steps. The memory shrinks until nothing of it is left.
    optimizer = Optimizer(Schedule(0.1), rule)
    w = normal(20, dtype, 0)
    memory = arrays_of(optimizer.new_memory([w]))
    plain, remembered = w.copy(), [array.copy() for array in memory]
    smallest, denormal_since, iteration = np.finfo(dtype).smallest_normal, 0, 0
    while iteration < 10 or any(array.any() for array in memory):
        g = normal(20, dtype, [1, iteration]) if iteration < 10 else np.zeros(20, dtype)
        rule.change(change := g.copy(), remembered, iteration, 0.1)  # and nothing is removed from this memory
        plain -= change
        optimizer.update(w, g, memory, iteration)
        assert w.tobytes() == plain.tobytes()
        denormal = any(((array != 0) & (np.abs(array) < smallest)).any() for array in memory)
        denormal_since = denormal_since + 1 if denormal else 0
        assert denormal_since < TIDY
        iteration += 1
    assert 100 < iteration < 10_000


@both_types
def test_numbers_that_act_stay(dtype):
    far_above = FAR_ABOVE[np.dtype(dtype)]
    v = np.array([far_above * 2.0**10, -far_above * 2.0**5, far_above * 2.0**-100], dtype)
    w = np.ones(3, dtype)
    Optimizer(Schedule(1.0), SGD(0.5)).update(w, np.zeros(3, dtype), [v], 0)
    assert v.tolist() == [far_above * 2.0**9, -far_above * 2.0**4, 0.0]


# Powers and schedules


@given(st.floats(0, 1), st.integers(0, 10**6))
def test_power_is_that_of_rational_numbers(x, n):
    n = n if x > 0.999 else n % 200
    expected = Fraction(x) ** n if n < 200 else Fraction(x**n)
    error = abs(Fraction(power(x, n)) - expected)
    assert error <= expected * Fraction(4 * n + 1, 2**53) or power(x, n) < 1e-300  # half a unit in each product


@pytest.mark.parametrize(
    ("x", "n", "expected"), [(0.0, 0, 1), (0.0, 3, 0), (0.9, 0, 1), (0.9, 1, 0.9), (0.5, 30, 2**-30)]
)
def test_power_where_the_result_is_known(x, n, expected):
    assert power(x, n) == expected


@given(st.floats(0, 1))
def test_half_cosine_is_that_of_the_mathematics_library(x):
    assert abs(half_cosine(x) - (1 + math.cos(math.pi * x)) / 2) <= 3e-16


def test_half_cosine_at_its_ends():
    assert (half_cosine(0.0), half_cosine(1.0)) == (1.0, 0.0)
    assert half_cosine(0.5) == pytest.approx(0.5, rel=1e-15)


SHAPES = {
    "constant": lambda done: 1,
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("warmup", [0, 1, 10, 99])
def test_schedule_is_its_formula(shape, warmup):
    schedule = Schedule(0.3, shape, warmup, 100)
    for iteration in range(100):
        if iteration < warmup:
            expected = 0.3 * (iteration + 1) / warmup
        else:
            expected = 0.3 * SHAPES[shape]((iteration - warmup) / (100 - warmup))
        assert math.isclose(schedule.at(iteration), expected, rel_tol=1e-15, abs_tol=1e-16)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("warmup", [0, 1, 7])
def test_schedule_reaches_the_rate_exactly_and_ends_at_zero(shape, warmup):
    schedule = Schedule(0.3, shape, warmup, 50)
    assert schedule.at(warmup) == 0.3
    assert schedule.at(max(warmup - 1, 0)) == 0.3
    assert schedule.at(50) == (0.3 if shape == "constant" else 0.0)
    rates = [schedule.at(iteration) for iteration in range(50)]
    assert max(rates) == 0.3
    assert min(rates) > 0.0
    if shape != "constant":
        assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
        assert len(set(rates[warmup:])) == 50 - warmup


def test_schedule_without_warm_up_is_the_rate():
    assert {Schedule(0.3).at(iteration) for iteration in (0, 1, 10, 10**6)} == {0.3}


@pytest.mark.parametrize("shape", SHAPES)
def test_warm_up_may_be_the_whole_training(shape):
    rates = [Schedule(0.4, shape, 4, 4).at(iteration) for iteration in range(4)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4], rel=1e-15)


# The norms of columns


def columns_of(seed, m, n):
    """Return a matrix of columns with different magnitudes, one of them zero."""
    x = normal((m, n), "float64", seed) * 10.0 ** np.random.default_rng(seed).integers(-60, 60, n)
    x[:, seed % n] = 0.0
    return x


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 100), st.integers(1, 6))
def test_norm_is_that_of_rational_numbers(seed, m, n):
    x = columns_of(seed, m, n)
    for found, column in zip(A.norms(x).tolist(), x.T.tolist(), strict=True):
        square = sum(Fraction(element) ** 2 for element in column)
        # Each square is rounded to the grid: 2⁵³ / 2m units for the largest, at most 4 times the largest square
        assert abs(Fraction(found) ** 2 - square) <= square * (Fraction(4 * m * 4 * m, 2**53) + Fraction(4, 2**53))


def test_norms_where_the_result_is_known():
    x = np.array([[3.0, 0.0, -(2.0**200)], [-4.0, 0.0, 0.0]])
    assert A.norms(x).tolist() == [5.0, 0.0, 2.0**200]
    assert A.norms(np.ones((1024, 2))).tolist() == [32.0, 32.0]
    assert A.norms(np.empty((0, 3))).tolist() == [0.0, 0.0, 0.0]
    assert A.norms(np.empty((3, 0))).tolist() == []


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 900), st.integers(1, 6), st.data())
def test_norm_depends_on_no_other_column_and_on_no_order_of_the_rows(seed, m, n, data):
    x = columns_of(seed, m, n)
    whole = A.norms(x)
    chosen = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=4))
    rows = np.random.default_rng(seed).permutation(m)
    assert A.norms(x[:, chosen]).tobytes() == whole[chosen].tobytes()
    assert A.norms(x[rows]).tobytes() == whole.tobytes()
    assert A.norms(np.asfortranarray(x)).tobytes() == whole.tobytes()
    first = data.draw(st.integers(0, n))
    assert np.concatenate([A.norms(x[:, :first]), A.norms(x[:, first:])]).tobytes() == whole.tobytes()


@pytest.mark.parametrize("arithmetic", [*ARITHMETICS.values(), Float64()], ids=lambda arithmetic: arithmetic.name)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e200])
@pytest.mark.parametrize("place", [(0, 0), (2, 3)])
@pytest.mark.filterwarnings("ignore:overflow")
def test_norms_refuse_numbers_that_are_not_finite_or_too_large(arithmetic, bad, place):
    x = np.ones((3, 4), arithmetic.dtype)
    x[place] = bad
    with pytest.raises(FloatingPointError):
        arithmetic.norms(x)


def test_largest_norm_that_is_not_refused():
    below = math.nextafter(math.sqrt(LARGEST), 0.0)
    assert A.norms(np.array([[below]])) == pytest.approx(below, rel=1e-15)
    with pytest.raises(FloatingPointError):
        A.norms(np.array([[-math.sqrt(LARGEST)]]))
