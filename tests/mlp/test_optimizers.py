"""The optimizers' rules against the papers' formulas; the decay of weights; the schedules."""

import math

import numpy as np
import pytest

from mlp.optimizers import BLOCK, SGD, TIDY, Adam, Optimizer, RMSprop, Schedule

# Largest difference, relative to the largest number
TOLERANCE = {"float64": 1e-12, "float32": 2e-5}
STEPS = 40

both_types = pytest.mark.parametrize("dtype", ["float64", "float32"])
RULES = [SGD(), SGD(0.9), SGD(0.9, True), Adam(), Adam(0.0), Adam(0.8, 0.9, 0.1)]
RULES += [RMSprop(), RMSprop(0.9)]
rules = pytest.mark.parametrize("rule", RULES, ids=str)


def normal(shape, dtype, seed):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def follow(optimizer, start, gradients):
    """Return a parameter after each of the updates by the gradients, float64."""
    w, found = start.copy(), []
    (state,) = optimizer.new_state([w])
    for iteration, g in enumerate(gradients):
        optimizer.update(w, g.copy(), state, iteration)
        found.append(w.astype(np.float64))
    return found


def start_and_gradients(shape, dtype):
    return normal(shape, dtype, 0), [normal(shape, dtype, [1, i]) for i in range(STEPS)]


def agree(found, expected, dtype):
    for ours, theirs in zip(found, expected, strict=True):
        assert np.abs(ours - theirs).max() <= TOLERANCE[dtype] * np.abs(theirs).max()


# The papers' formulas, float64, for one rate


def sutskever(w, gradients, rate, momentum):
    """Yield w by "On the importance of initialization and momentum", equations 1 and 2."""
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


def tieleman_hinton(w, gradients, rate, momentum):
    """Yield w by "rmsprop", with the constants and the momentum of Keras."""
    v, step = np.zeros_like(w), np.zeros_like(w)
    for g in gradients:
        v = 0.9 * v + 0.1 * g**2
        step = momentum * step + rate * g / (np.sqrt(v) + 1e-7)
        w = w - step
        yield w


@both_types
@pytest.mark.parametrize(
    ("rule", "paper", "settings"),
    [
        (SGD(), sutskever, [0.0]),
        (SGD(0.95), sutskever, [0.95]),
        (Adam(), kingma_ba, [0.9, 0.999, 1e-8]),
        (Adam(0.0, 0.9, 0.1), kingma_ba, [0.0, 0.9, 0.1]),
        (RMSprop(), tieleman_hinton, [0.0]),
        (RMSprop(0.9), tieleman_hinton, [0.9]),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_rule_is_that_of_its_paper(dtype, rule, paper, settings):
    start, gradients = start_and_gradients((5, 4), dtype)
    widened = [g.astype(np.float64) for g in gradients]
    expected = paper(start.astype(np.float64), widened, 0.01, *settings)
    agree(follow(Optimizer(Schedule(0.01), rule), start, gradients), list(expected), dtype)


@both_types
@pytest.mark.parametrize("momentum", [0.5, 0.95])
def test_nesterov_takes_the_gradient_where_the_momentum_leads(dtype, momentum):
    # Equations 3 and 4 of the same paper: v ← μ v − η g(θ + μ v), θ ← θ + v. Our w is their θ + μ
    # v. The loss is ½ Σ curvature (w − target)²
    curvature, target, rate = np.linspace(0.1, 5, 40), np.linspace(-1, 2, 40), 0.05
    optimizer = Optimizer(Schedule(rate), SGD(momentum, nesterov=True))
    w = normal(40, dtype, 0)
    (state,) = optimizer.new_state([w])
    theta, v = w.astype(np.float64), np.zeros(40)
    for iteration in range(STEPS):
        optimizer.update(w, (curvature * (w - target)).astype(dtype), state, iteration)
        v = momentum * v - rate * curvature * (theta + momentum * v - target)
        theta = theta + v
        assert np.abs(w - (theta + momentum * v)).max() <= TOLERANCE[dtype]


@both_types
@rules
def test_decay_takes_its_share_of_each_weight_beside_the_rule_and_of_no_bias(dtype, rule):
    # Loshchilov and Hutter: λ does not pass through the rule's state, so the rule's change is that
    # without decay
    start, gradients = start_and_gradients((9, 8), dtype)
    schedule = Schedule(0.05, "cosine", 10, STEPS)
    plain = [start.astype(np.float64), *follow(Optimizer(schedule, rule), start, gradients)]
    w, expected = plain[0], []
    for iteration in range(STEPS):
        w = w + (plain[iteration + 1] - plain[iteration]) - schedule.at(iteration) * 0.3 * w
        expected.append(w)
    decayed = Optimizer(schedule, rule, weight_decay=0.3)
    agree(follow(decayed, start, gradients), expected, dtype)
    assert np.abs(expected[-1] - plain[-1]).max() > 0.1
    biases = follow(decayed, start.reshape(-1), [g.reshape(-1) for g in gradients])
    np.testing.assert_array_equal(biases[-1], plain[-1].reshape(-1))


@both_types
def test_plain_descent_has_the_bits_of_w_minus_rate_times_gradient(dtype):
    w, g = normal((BLOCK + 3,), dtype, 0), normal((BLOCK + 3,), dtype, 1)
    expected = w - w.dtype.type(0.3) * g
    optimizer = Optimizer(Schedule(0.3))
    assert optimizer.new_state([w]) == [[]]
    optimizer.update(w, g, [], 0)
    assert w.tobytes() == expected.tobytes()


# Numbers that are too small to act, and zeros


@both_types
@rules
@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_no_parameter_becomes_minus_zero(dtype, rule, decay):
    tiny = float(np.finfo(dtype).smallest_subnormal)
    values = np.array([0.0, tiny, -tiny, 3 * tiny, 1.0, -1.0], dtype)
    pairs = np.meshgrid(values, [*values.tolist(), -0.0])
    w, g = (array.reshape(-1, 1).astype(dtype) for array in pairs)
    optimizer = Optimizer(Schedule(1.0), rule, decay)
    (state,) = optimizer.new_state([w])
    with np.errstate(under="ignore"):
        for iteration in range(2 * TIDY):
            optimizer.update(w, g * (iteration % 3 - 1), state, iteration)
            assert not np.signbit(w[w == 0.0]).any()


@both_types
@pytest.mark.parametrize("rule", [SGD(0.5), SGD(0.9, True), Adam(0.5, 0.9), RMSprop(0.5)], ids=str)
def test_no_denormal_number_stays_in_the_memory_and_no_weight_notices(dtype, rule):
    # The gradient stops after ten steps. The state shrinks until nothing of it is left.
    optimizer = Optimizer(Schedule(0.1), rule)
    w = normal(20, dtype, 0)
    (state,) = optimizer.new_state([w])
    plain, remembered = w.copy(), [array.copy() for array in state]
    smallest, denormal_since, iteration = np.finfo(dtype).smallest_normal, 0, 0
    while iteration < 10 or any(array.any() for array in state):
        g = normal(20, dtype, [1, iteration]) if iteration < 10 else np.zeros(20, dtype)
        # And nothing is removed from this state
        rule.change(change := g.copy(), remembered, iteration, 0.1)
        plain -= change
        optimizer.update(w, g, state, iteration)
        assert w.tobytes() == plain.tobytes()
        denormal = any(((array != 0) & (np.abs(array) < smallest)).any() for array in state)
        denormal_since = denormal_since + 1 if denormal else 0
        assert denormal_since < TIDY
        iteration += 1
    assert 100 < iteration < 10_000


# Schedules

SHAPES = {
    "constant": lambda done: 1,
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("warmup", [0, 1, 10, 99, 100])
def test_schedule_is_its_formula_and_reaches_the_rate_exactly(shape, warmup):
    schedule = Schedule(0.3, shape, warmup, 100)
    for iteration in range(100):
        if iteration < warmup:
            expected = 0.3 * (iteration + 1) / warmup
        else:
            expected = 0.3 * SHAPES[shape]((iteration - warmup) / (100 - warmup))
        assert math.isclose(schedule.at(iteration), expected, rel_tol=1e-14, abs_tol=1e-16)
    assert schedule.at(warmup) == schedule.at(max(warmup - 1, 0)) == 0.3
    if warmup < 100:
        assert schedule.at(100) == (0.3 if shape == "constant" else 0.0)
