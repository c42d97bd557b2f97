"""Compare a learner's functions with the textbooks', and say what a wrong one got wrong."""

import re
import traceback
from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any, NamedTuple

import numpy as np

import textbook
import textbook_exact
from pipeline.images.prepare import one_hot

Function = Callable[..., Any]


class Exercise(NamedTuple):
    """A function to write."""

    name: str
    right: Function  # the textbook's function
    cases: list[Function]  # each makes the arguments of a call, new ones each time
    parts: tuple[str, ...] = ("the result",)  # names of the results, for all cases or for each
    rounding: float = 1e-12  # relative difference that is no mistake; 0: each bit must be right
    in_place: bool = False  # whether it changes its first two arguments, and returns nothing

    def result(self, function: Function, arguments: tuple) -> Any:
        """Return what a function gives for these arguments."""
        with np.errstate(all="ignore"):
            returned = function(*arguments)
        return arguments[:2] if self.in_place else returned


class WrongError(Exception):
    """A function is wrong: a sentence says why, and lines may show an example."""


def check(exercise: Exercise, function: Function) -> str:
    """Return that a function is right, or raise a WrongError."""
    same_bits = True
    for number, case in enumerate(exercise.cases):
        right = exercise.result(exercise.right, case())
        theirs = arrays(right, right)
        try:
            ours = answer(exercise, function, case, right)
            if not alike(ours, theirs, exercise.rounding):
                pairs = list(zip(ours, theirs, strict=True))
                wrong = [not alike([a], [b], exercise.rounding) for a, b in pairs]
                last = max(np.flatnonzero(wrong))  # gradients are computed from the end
                part = exercise.parts[(number * len(ours) + last) % len(exercise.parts)]
                sentence = f"{part} is wrong: {difference(*pairs[last])}"
                close = alike(pairs[last][:1], pairs[last][1:], 1e-4)
                for usual, about in [one[1:] for one in MISTAKES if one[0] == exercise.name]:
                    same = arrays(exercise.result(usual, case()), right)
                    sentence = about if alike(ours, same, 1e-12) else sentence
                came_out, right_is = (show(array, close) for array in pairs[last])
                raise WrongError(sentence, f"came out: {came_out}", f"right is: {right_is}")
        except WrongError as error:
            sentence, *lines = error.args
            named = zip(signature(exercise.right).parameters, case(), strict=False)
            given = [f"given {name}: {show(value)}" for name, value in named]
            raise WrongError("\n  ".join([sentence, *given, *lines])) from None
        same_bits = same_bits and alike(ours, theirs)
    return "right" if same_bits else "right; only last bits differ from the textbook's"


def answer(exercise: Exercise, function: Function, case: Function, right: Any) -> list[np.ndarray]:
    """Return the arrays that a function gives, or raise a WrongError: it gives none to compare."""
    arguments, kept = case(), slice(2 if exercise.in_place else 0, None)
    try:
        returned = exercise.result(function, arguments)
        ours = [] if returned is None else arrays(returned, right)
    except Exception as error:
        file, calls = function.__code__.co_filename, traceback.extract_tb(error.__traceback__)
        own = [one for one in calls if one.filename == file][-1:]
        where = "".join(f"line {one.lineno}, `{one.line}`: " for one in own)
        raise WrongError(f"{where}{type(error).__name__}: {error}") from None
    if not ours:
        raise WrongError("it returns None: it is not written yet, or `return` is missing.")
    if exercise.in_place and alike(ours, arrays(case()[:2], right)):
        raise WrongError("no parameter changes: not written yet, or W = W - ... for W -= ...")
    if not alike(arrays(arguments[kept], case()[kept]), arrays(case()[kept], case()[kept])):
        raise WrongError("it changes an argument: by -=, or an old value is not put back.")
    return ours


def difference(our: np.ndarray, their: np.ndarray) -> str:
    """Return what two different arrays have in common, and what often makes the difference."""
    if our.shape != their.shape:
        often = ".T is missing" if our.shape == their.T.shape else "a sum has the wrong axis"
        return f"its shape is {our.shape}, not {their.shape}. Often {often}."
    if not np.isfinite(our).all():
        return "it has inf or nan. Often eˣ has a large x, or 0 is multiplied by ln 0."
    if alike([our], [their], 1e-4):
        return "it is close, but not equal. Often a small number is added, or a grid is missing."
    factor = np.vdot(their, our) / (np.vdot(their, their) or 1)
    if alike([our], [factor * their], 1e-9):
        return f"it is {factor:.5g} times the right one. Often a sign, mean or factor is missing."
    return "it has other numbers."


def alike(some: Sequence, others: Sequence, rounding: float = 0) -> bool:
    """Return whether arrays have the same shapes, and the same numbers up to rounding."""
    return all(
        a.shape == b.shape and (np.abs(a - b) <= rounding * np.abs(b).max(initial=0)).all()
        for a, b in zip(some, others, strict=True)
    )


def arrays(value: Any, like: Any) -> list[np.ndarray]:
    """Return the arrays of `value`, in lists like those of `like`, or raise a TypeError."""
    if isinstance(like, list | tuple):
        if not isinstance(value, list | tuple) or len(value) != len(like):
            raise TypeError(f"it returns {show(value)}, where a list of {len(like)} should be.")
        return [array for pair in zip(value, like, strict=True) for array in arrays(*pair)]
    return [] if callable(like) or hasattr(like, "normal") else [np.asarray(value, np.float64)]


def show(value: Any, exactly: bool = False) -> str:
    """Return an argument or a result as one line."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(show, value))}]"
    if not isinstance(value, np.ndarray | np.generic):
        return "Σ parameter³" if callable(value) else str(value)  # that of cubes
    text = np.array2string(np.asarray(value), precision=17 if exactly else 5, separator=", ")
    return re.sub(r"\s+", " ", text)


BYTES = np.random.default_rng(1).integers(0, 256, (5, 2)).astype(np.float64)
X, T = BYTES / 255, one_hot(np.array([0, 1, 1, 0, 1]), 2)
H, W, B = np.array([[1, 0, 0.5], [0.2, 1, 0]]), np.array([[1, -1], [0.5, 2], [3, 1]]), np.ones(2)
Z, HUGE = np.array([[1, 2, 0.5], [0, -1, 3]]), np.array([[1000.0, 1001, 0], [-1000, -1001, -2500]])
Y, SURE = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]]), np.array([[1, 0, 0], [0, 0.25, 0.75]])
HOT, TIES = np.eye(3)[[0, 2]], np.array([[0.3125, -0.6875, 1.3], [2.5, -5.3, 0.1]])
GRADIENTS = ("dW₁ = Xᵀ da", "dW₂ = hᵀ dz", "db₁ = Σ da, da = dh ∘ h (1 − h),", "db₂ = Σ dz")
# What can be wrong with weights of 0; with those of the first layer alone; without
FIRST = ("dW₁", "dW₂ = hᵀ dz", "db₁", "exp, softmax or Σ dz", "Xᵀ da", "z = h W₂ + b₂")
EXACT = (*FIRST, "dz W₂ᵀ or Σ da", "z = h W₂ + b₂", *["X W₁ or h W₂"] * 4)


def network(first: float = 1, second: float = 1) -> tuple[list, list]:
    """Return the weights, each layer's times a factor, and the biases of 2-3-2."""
    (W1, W2), (b1, b2) = textbook.initial_parameters([2, 3, 2], 1, np.random.default_rng(2))
    return [first * W1 + 0, second * W2 + 0], [b1 - 2.5, b2 + 0.25]


def cubes() -> tuple:
    """Return a loss and its parameter."""
    parameter = np.array([[1.0, -2.0], [0.5, 3.0]])
    return lambda: (parameter**3).sum(), parameter


def epoch(change: Function) -> Function:
    """Return a `train_epoch` with another learning rate, batch size and order."""
    return lambda W, b, X, t, *others: textbook.train_epoch(W, b, X, t, *change(*others))


SIZES = [lambda: ([3, 2, 4], 0.01, np.random.default_rng(0))]
LOSSES = [lambda: (Y + 0, HOT + 0), lambda: (SURE + 0, HOT + 0)]  # + 0 makes a new array
STEPS = [lambda: (*network(), X + 0, T + 0, 0.5, 2, np.arange(5)[::-1])]
GRIDS = [lambda: (TIES + 0, 6), lambda: (W / 3, 21, 3), lambda: (W / 3, 21), lambda: (0 * W, 21)]
TERMS = [lambda n=n: (n,) for n in (100, 1, 2, 784, 2048, 2049, 8192, 10000, 2**21)]
NETWORKS = [lambda k=k: (*network(*k), BYTES + 0, T + 0) for k in ((0, 0), (0, 1), (1, 1))]
EXERCISES = [
    Exercise("one_hot", one_hot, [lambda: (np.array([2, 0]), 3), lambda: (np.arange(4) // 2, 4)]),
    Exercise("initial_parameters", textbook.initial_parameters, SIZES, ("W₁", "W₂", "b₁", "b₂")),
    Exercise("affine", textbook.affine, [lambda: (H + 0, W + 0, B + 0)]),
    Exercise("sigmoid", textbook.sigmoid, [lambda: (Z + 0,), lambda: (HUGE + 0,)]),
    Exercise("softmax", textbook.softmax, [lambda: (Z + 0,), lambda: (HUGE + 0,)]),
    Exercise("cross_entropy", textbook.cross_entropy, LOSSES),
    Exercise("output_gradient", textbook.output_gradient, LOSSES[:1]),
    Exercise("gradients", textbook.gradients, [lambda: (*network(), X + 0, T + 0)], GRADIENTS),
    Exercise("train_epoch", textbook.train_epoch, STEPS, ("W₁", "W₂", "b₁", "b₂"), in_place=True),
    Exercise("numerical_gradient", textbook.numerical_gradient, [cubes], rounding=1e-7),
    Exercise("grid", textbook_exact.grid, GRIDS, rounding=0),
    Exercise("operand_bits", textbook_exact.operand_bits, TERMS, rounding=0),
    Exercise("exact_gradients", textbook_exact.gradients, NETWORKS, EXACT, rounding=0),
]
MISTAKES: list[tuple[str, Function, str]] = [  # name, a wrong function, what is wrong with it
    ("one_hot", lambda n, k: np.eye(k)[n - 1], "label 0 has its 1 in the first column."),
    ("one_hot", lambda n, k: np.eye(len(n), k), "row i has its 1 at its label, not at i."),
    ("affine", lambda h, W, b: h @ W, "the bias is missing."),
    ("sigmoid", lambda a: 1 / (1 + np.exp(a)), "the exponent is −a, not a."),
    ("sigmoid", lambda a: 1 / 1 + np.exp(-a), "1 + e⁻ᵃ needs brackets."),
    ("softmax", lambda z: np.exp(z) / np.exp(z).sum(), "sum over a row, not over all: axis=1."),
    ("softmax", lambda z: np.exp(z) / np.exp(z).sum(0), "sum over the classes: axis=1."),
    ("train_epoch", epoch(lambda r, n, o: (-r, n, o)), "it goes up: subtract the gradient."),
    ("train_epoch", epoch(lambda r, n, o: (1, n, o)), "the learning rate is missing."),
    ("train_epoch", epoch(lambda r, n, o: (r, n, np.arange(5))), "it leaves out `order`."),
    ("numerical_gradient", lambda _, p: ((p + 1e-5) ** 3 - p**3) / 1e-5, "step to both sides."),
    ("grid", lambda x, b, e=0: textbook_exact.grid(x, b, np.frexp(x.max())[1]), "take max |x|."),
    ("grid", lambda x, b, e=None: textbook_exact.grid(x, b), "it leaves out `exponent`."),
    ("operand_bits", lambda n: (53 - (n - 1).bit_length()) // 2, "b is at most 21."),
    ("operand_bits", lambda n: min(21, (54 - n.bit_length()) // 2), "round log₂ up, not down."),
]
