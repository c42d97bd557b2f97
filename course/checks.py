"""Compare a learner's functions with the textbooks', and say what a wrong one got wrong."""

import traceback
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from inspect import signature
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np

import textbook
import textbook_exact as exact
from pipeline.images.prepare import one_hot
from pipeline.program.errors import UserError

Function = Callable[..., Any]


class Exercise(NamedTuple):
    """A function to write."""

    name: str
    right: Function  # the textbook's function
    cases: Sequence[tuple]  # the arguments of calls: each call has a copy of its own
    parts: Sequence[tuple[str, ...]] = (("the result",),)  # names of the results, of a case or all
    rounding: float = 1e-12  # relative difference that is no mistake; 0: each bit must be right
    changes: int = 0  # how many of its first arguments it changes; then it returns nothing

    def result(self, function: Function, arguments: tuple) -> Any:
        """Return what a function gives for these arguments."""
        with np.errstate(all="ignore"):
            returned = function(*arguments)
        return arguments[: self.changes] if self.changes else returned


def check(exercise: Exercise, function: Function) -> str:
    """Return that a function is right, or raise a UserError: what is wrong with which call."""
    same_bits = True
    for case, parts in zip(exercise.cases, cycle(exercise.parts), strict=False):
        try:
            same_bits = compare(exercise, function, case, parts) and same_bits
        except UserError as error:
            named = zip(signature(exercise.right).parameters, case, strict=False)
            given = [f"\n  given {name}: {show(value)}" for name, value in named]
            raise UserError(f"{exercise.name}: {error}{''.join(given)}") from None
    return "right" if same_bits else "right (other last bits than the textbook's: no matter)"


def compare(exercise: Exercise, function: Function, case: tuple, parts: Sequence[str]) -> bool:
    """Return whether each bit is right, or raise a UserError: more than rounding differs."""
    right = exercise.result(exercise.right, deepcopy(case))
    ours, theirs = answer(exercise, function, case, right), arrays(right, right)
    for our, their, part in reversed([*zip(ours, theirs, parts, strict=True)]):  # as gradients are
        if not alike([our], [their], exercise.rounding):
            sentences = [f"{part} is wrong: {difference(our, their)}"]
            for usual, about in [one[1:] for one in MISTAKES if one[0] == exercise.name]:
                same = arrays(exercise.result(usual, deepcopy(case)), right)
                sentences += [about] if alike(ours, same, 1e-8) else []
            close = alike([our], [their], 1e-4)
            example = f"came out: {show(our, close)}\n  right is: {show(their, close)}"
            raise UserError(f"{sentences[-1]}\n  {example}")
    return alike(ours, theirs)


def answer(exercise: Exercise, function: Function, case: tuple, right: Any) -> list[np.ndarray]:
    """Return the arrays that a function gives, or raise a UserError: it gives none to compare."""
    arguments, changes = deepcopy(case), exercise.changes
    try:
        returned = exercise.result(function, arguments)
        ours = [] if returned is None else arrays(returned, right)
    except Exception as error:
        calls = traceback.extract_tb(error.__traceback__)
        first = [one for one in calls if one.filename != __file__][:1]
        where = "".join(f"line {one.lineno}, `{one.line}`: " for one in first)
        raise UserError(f"{where}{type(error).__name__}: {error}") from None
    if returned is None:
        raise UserError("it returns None: it is not written yet, or `return` is missing.")
    if changes and alike(ours, arrays(case[:changes], right)):
        raise UserError("not written yet, or `W = W - …` makes a new array: write `W -= …`.")
    if show(arguments[changes:], exactly=True) != show(case[changes:], exactly=True):
        raise UserError("it changes an argument. To put an old value back, keep it in a variable.")
    return ours


def difference(our: np.ndarray, their: np.ndarray) -> str:
    """Return what two different arrays have in common, and what often makes the difference."""
    if our.shape != their.shape:
        often = ".T is missing" if our.shape == their.T.shape else "a sum has the wrong axis"
        return f"its shape is {our.shape}, not {their.shape}. Often {often}."
    if not np.isfinite(our).all():
        return "it has inf or nan. Often eˣ is inf, or all are 0, or 0 is multiplied by ln 0."
    if alike([our], [their], 1e-4):
        return "close: a small number is added, or a grid is missing, misplaced or of another size."
    factor = np.vdot(their, our) / (np.vdot(their, their) or 1)
    usual = np.isclose(factor, [-1, 2, 1 / 2, 3, 1 / 3, 2 / 3]).any()  # 2 images, 3 classes
    if (usual or their.ndim) and factor and alike([our], [factor * their], 1e-9):
        return f"it is {factor:.5g} times the right one. Often a sign, mean or factor is missing."
    return "it has other numbers." if their.ndim else "it is another number."


def alike(some: Sequence, others: Sequence, rounding: float = 0) -> bool:
    """Return whether arrays have the same shapes, and the same numbers up to rounding."""
    bounds = [rounding * np.abs(b[np.isfinite(b)]).max(initial=0) for b in others]
    both = zip(some, others, bounds, strict=True)
    return all(a.shape == b.shape and np.allclose(a, b, 0, bound, True) for a, b, bound in both)


def arrays(value: Any, like: Any) -> list[np.ndarray]:
    """Return the arrays of `value`, in lists like those of `like`, or raise a TypeError."""
    if isinstance(like, list | tuple):
        if not isinstance(value, list | tuple) or len(value) != len(like):
            raise TypeError("return two lists: weights, biases (or their gradients).")
        return [array for pair in zip(value, like, strict=True) for array in arrays(*pair)]
    return [np.asarray(value, np.float64)]


def show(value: Any, exactly: bool = False) -> str:
    """Return an argument or a result as one line."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(show(one, exactly) for one in value)}]"
    if not isinstance(value, np.ndarray | np.generic):
        return "Σ parameter³" if callable(value) else str(value)  # that of cubes
    digits, most = (17, 10**6) if exactly else (5, 40)
    text = np.array2string(np.asarray(value), threshold=most, precision=digits, separator=", ")
    return " ".join(text.split())


STEP: Function = textbook.train_epoch
# Numbers of images, inputs, neurons and classes differ
BYTES = np.random.default_rng(1).integers(0, 256, (2049, 2)).astype(np.float64)
LABELS = one_hot(np.arange(2049) ** 2 % 7 % 4, 4)
H, W, B = np.arange(12).reshape(4, 3) / 7, np.array([[1, -1], [0.5, 2], [3, 1]]), np.array([1, -2])
Z, HUGE = np.array([[1, 2, 0.5], [0, -1, 3]]), np.array([[1000.0, 1001, 0], [-1000, -1001, -2500]])
Y, SURE = np.array([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25]]), np.array([[1, 0, 0], [0, 0.25, 0.75]])
HOT, TIES = np.eye(3)[[0, 1]], np.array([[0.3125, -0.6875, 1.3], [2.5, -9.3, 0.1]])


def network(n: int, first: float, second: float, b1: Any = -2.5, b2: Any = 0.25) -> tuple:
    """Return weights, times a factor, and biases of 2-3-4, and n images' bytes and labels."""
    (W1, W2), (zero1, zero2) = textbook.initial_parameters([2, 3, 4], 1, np.random.default_rng(2))
    return [first * W1, second * W2], [zero1 + b1, zero2 + b2], BYTES[:n], LABELS[:n]


DRAWS = [("W₁", "W₂ (draw from the argument `random`, W₁ first)", "b₁", "b₂")]
PARTIAL = [("dW₁ = Xᵀ da", "dW₂ = hᵀ dz", "db₁ = Σ da, da = dh ∘ (h (1 − h)),", "db₂ = Σ dz")]
SIZES = [([3, 2, 4], 0.01, np.random.default_rng(0))]
*PARAMETERS, X, T = network(5, 1, 1)
ORDERS = [np.array([4, 2, 0, 3, 1]), np.array([2, 0, 3, 1])]  # with a smaller rest, and without
STEPS = [(*PARAMETERS, X[order] / 255, T[order], 0.5, 2, order) for order in ORDERS]
CUBES = [(partial(lambda p: (p**3).sum(), p), p) for p in (H[:2] - 2, B / 3)]
GRIDS = [(TIES, 7), (W / 3, 21, 3), (W / 3, 21, 0), (W / 3, 21), (0 * W, 21)]
TERMS = [(n,) for n in (100, 1, 2, 784, 2048, 2049, 8192, 10000, 2**21)]
# Weights of 0; of the first layer; none; 2049 terms; then e⁻¹⁰⁰⁰ or e⁻³⁵ decides a last bit
EXACT: dict[tuple, tuple[str, ...]] = {
    (5, 0, 0): ("dW₁", "dW₂ = hᵀ dz", "db₁", "exp, softmax or Σ dz"),
    (5, 0, 1): ("Xᵀ da", "z = h W₂ + b₂", "dz W₂ᵀ or Σ da", "z = h W₂ + b₂"),
    (5, 1, 1): ("X W₁ or h W₂",) * 4,
    (2049, 1, 1): ("bits = operand_bits(len(r)), or operand_bits(n) in a sum,",) * 4,
    (1, 0, 1, -1000): ("`exp` in sigmoid",) * 4,
    (1, 0, 0, 0, (0, -35, -35, -70)): ("grid(e, 49, 0) in the sum of softmax",) * 4,
    (1, 0, 1, 0, (0, -1000, -1000, -1000)): ("", "", "exponent of dz", "`exp` in softmax"),
}
NETWORKS = [network(*numbers) for numbers in EXACT]
EXERCISES = [
    Exercise("one_hot", one_hot, [(np.array([2, 0]), 3), (np.arange(4) // 2, 4)]),
    Exercise("initial_parameters", textbook.initial_parameters, SIZES, DRAWS),
    Exercise("affine", textbook.affine, [(H, W, B)]),
    Exercise("sigmoid", textbook.sigmoid, [(Z,), (HUGE,)]),
    Exercise("softmax", textbook.softmax, [(Z,), (HUGE,)], [("a row, whose sum is 1,",)]),
    Exercise("cross_entropy", textbook.cross_entropy, [(Y, HOT), (SURE, HOT)]),
    Exercise("output_gradient", textbook.output_gradient, [(Y, HOT)]),
    Exercise("gradients", textbook.gradients, [(*PARAMETERS, X / 255, T)], PARTIAL),
    Exercise("train_epoch", STEP, STEPS, [("W₁", "W₂", "b₁", "b₂")], changes=2),
    Exercise("numerical_gradient", textbook.numerical_gradient, CUBES, rounding=1e-7),
    Exercise("grid", exact.grid, GRIDS, rounding=0),
    Exercise("operand_bits", exact.operand_bits, TERMS, [("b in 2 b + ⌈log₂ terms⌉ ≤ 53",)]),
    Exercise("exact_gradients", exact.gradients, NETWORKS, [*EXACT.values()], rounding=0),
]
MISTAKES: list[tuple[str, Function, str]] = [  # name, a wrong function, what is wrong with it
    ("affine", lambda h, W, b: h @ W, "the bias is missing."),
    ("sigmoid", lambda a: 1 / (1 + np.exp(a)), "the exponent is −a, not a."),
    ("softmax", lambda z: np.exp(z) / np.exp(z).sum(), "sum over a row, not over all: axis=1."),
    ("gradients", lambda *a: [g[::-1] for g in textbook.gradients(*a)], "first layer first."),
    ("train_epoch", lambda *a: STEP(*a[:4], -a[4], *a[5:]), "it goes up: subtract the gradient."),
    ("train_epoch", lambda *a: STEP(*a[:4], 1, *a[5:]), "the learning rate is missing."),
    ("train_epoch", lambda *a: STEP(*a[:6], np.sort(a[6])), "it leaves out `order`."),
    ("train_epoch", lambda *a: STEP(*a[:6], a[6][:-1]), "it leaves out the last mini-batch."),
    ("train_epoch", lambda *a: STEP(*a[:3], a[3][np.argsort(a[6])], *a[4:]), "t has wrong rows."),
    ("train_epoch", lambda *a: (STEP(*a), STEP(*a[:5], 1, a[6][4:])), "it takes the rest, too."),
    ("numerical_gradient", lambda f, p: ((p + 1e-5) ** 3 - p**3) / 1e-5, "take +h and −h."),
    ("numerical_gradient", lambda f, p: 0 * p, "loss() reads `parameter` itself: change no copy."),
    ("grid", lambda x, b, e=None: exact.grid(x, b, e or None), "exponent can be 0: `is None`."),
    ("grid", lambda x, b, e=None: exact.grid(x, b + 1), "2^exponent is above max |x|: np.frexp."),
    ("grid", lambda x, b, e=4: exact.grid(x + 1e-9, b, e), "halves go to even: np.rint."),
]
