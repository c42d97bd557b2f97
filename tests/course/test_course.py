"""The course: the textbooks' functions solve it, and usual mistakes are recognised or located."""

import re
import subprocess
import sys
from inspect import signature

import numpy as np
import pytest

import course.exercises
import textbook
import textbook_exact
from course.checks import EXERCISES, WrongError, check
from tests.support.project import ROOT

BY_NAME = {exercise.name: exercise for exercise in EXERCISES}
FILE = ROOT / "course" / "exercises.py"
SOLUTIONS = """
from textbook import *
from textbook_exact import grid, gradients as exact_gradients, operand_bits
from pipeline.images.prepare import one_hot
"""


@pytest.mark.parametrize("exercise", EXERCISES, ids=BY_NAME)
def test_only_the_textbooks_function_is_right(exercise):
    assert check(exercise, exercise.right) == "right"
    with pytest.raises(WrongError, match="not written yet"):
        check(exercise, lambda *arguments: None)


def test_exercises_have_the_arguments_of_the_right_functions():
    for name, exercise in BY_NAME.items():
        learners = signature(getattr(course.exercises, name)).parameters
        assert list(learners) == list(signature(exercise.right).parameters)


def network_gradients(weights, biases, X, t, slope=lambda h: h * (1 - h), axis=0, order=1):
    """Back-propagation by hand, to make mistakes in."""
    (_, h), y = textbook.forward(weights, biases, X)
    dz = (y - t) / len(t)
    da = dz @ weights[1].T * slope(h)
    return [X.T @ da, h.T @ dz][::order], [da.sum(axis), dz.sum(axis)][::order]


def never_put_back(loss, parameter, h=1e-5):
    below = loss()
    parameter[0, 0] += h
    return (loss() - below) / h + 0 * parameter


def shifted_in_place(z):
    z -= z.max(axis=1, keepdims=True)
    return textbook.softmax(z)


def epoch(rate=lambda r: r, order=lambda o: o):
    return lambda W, b, X, t, r, n, o: textbook.train_epoch(W, b, X, t, rate(r), n, order(o))


exp = np.exp
MISTAKES = [
    ("one_hot", lambda n, k: np.eye(k)[n - 1], "first column"),
    ("one_hot", lambda n, k: np.eye(k)[n].T, r"\.T"),
    ("one_hot", lambda n, k: np.eye(len(n), k), "at its label"),
    ("initial_parameters", lambda s, std, r: r.normal(0, std, (3, 2)), "list of 2"),
    ("initial_parameters", lambda s, std, r: textbook.initial_parameters(s, 1, r), "100 times"),
    ("affine", lambda h, W, b: h @ W, "bias"),
    ("affine", lambda h, W, b: W @ h + b, "shapes?|broadcast|wrong"),
    ("sigmoid", lambda a: 1 / (1 + exp(a)), "exponent"),
    ("sigmoid", lambda a: 1 / 1 + exp(-a), "brackets"),
    ("sigmoid", lambda a: exp(a) / (1 + exp(a)), "nan"),
    ("softmax", lambda z: exp(z) / exp(z).sum(axis=1, keepdims=True), "inf or nan"),
    ("softmax", lambda z: exp(z) / exp(z).sum(), "over a row"),
    ("softmax", lambda z: exp(z) / exp(z).sum(axis=0), "over the classes"),
    ("softmax", lambda z: exp(z) / exp(z).sum(axis=1), "broadcast"),
    ("softmax", shifted_in_place, "changes an argument"),
    ("softmax", lambda z: print(z), "return"),
    ("cross_entropy", lambda y, t: -np.log(y[t == 1]).sum(), "2 times .* mean"),
    ("cross_entropy", lambda y, t: np.log(y[t == 1]).mean(), "-1 times .* sign"),
    ("cross_entropy", lambda y, t: -np.log(y[t == 1] + 1e-7).mean(), "small number"),
    ("cross_entropy", lambda y, t: -(t * np.log(y)).sum() / len(t), "0 is multiplied by ln 0"),
    ("cross_entropy", lambda y, t: -np.log(y[t == 1]), "shape"),
    ("output_gradient", lambda y, t: y - t, "2 times .* mean"),
    ("output_gradient", lambda y, t: (t - y) / len(t), "sign"),
    ("gradients", lambda *a: network_gradients(*a, slope=lambda h: 1), r"h \(1 − h\)"),
    ("gradients", lambda *a: network_gradients(*a, slope=lambda h: 1 - h * h), r"h \(1 − h\)"),
    ("gradients", lambda *a: network_gradients(*a, axis=1), "axis"),
    ("gradients", lambda *a: network_gradients(*a, order=-1), "shape"),
    ("train_epoch", epoch(rate=lambda r: -r), "goes up"),
    ("train_epoch", epoch(rate=lambda r: 1), "learning rate"),
    ("train_epoch", epoch(order=np.sort), "`order`"),
    ("train_epoch", epoch(order=lambda o: [*o, o[0], o[1]]), "wrong"),
    ("train_epoch", lambda W, *others: [one - 0.1 for one in W], "no parameter"),
    ("numerical_gradient", lambda loss, p, h=1e-5: ((p + h) ** 3 - p**3) / h, "both sides"),
    ("numerical_gradient", never_put_back, "put back"),
    ("grid", lambda x, bits, exponent=None: textbook_exact.grid(x, bits), "`exponent`"),
    ("operand_bits", lambda n: (53 - (n - 1).bit_length()) // 2, "at most 21"),
    ("operand_bits", lambda n: min(21, (54 - n.bit_length()) // 2), "up, not down"),
    ("exact_gradients", lambda W, b, X, t: textbook.gradients(W, b, X / 255, t), "exp|grid"),
    ("exact_gradients", lambda W, b, X, t: textbook_exact.gradients([1.01 * W[0], W[1]], b, X, t),
     "X W₁"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "function", "said"), MISTAKES)
def test_mistake_is_recognised_or_located(name, function, said):
    with pytest.raises(WrongError) as error:
        check(BY_NAME[name], function)
    sentence, *example = str(error.value).split("\n")
    assert re.search(said, sentence), sentence
    assert example[0].startswith("  given ")


def test_answer_in_other_words_is_right():
    """Another order of operations rounds differently; only the exercises on exactness refuse it."""
    verdict = check(BY_NAME["softmax"], lambda z: exp(z - np.logaddexp.reduce(z, 1, keepdims=True)))
    assert "last bits" in verdict
    assert check(BY_NAME["one_hot"], lambda n, k: (n[:, None] == range(k)).tolist()) == "right"


def run(path, more: str) -> subprocess.CompletedProcess:
    """Run the course on the exercises with `more` below them."""
    path.write_text(FILE.read_text(encoding="utf-8") + more, encoding="utf-8")
    command = [sys.executable, "-m", "course", "--file", str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")


@pytest.mark.parametrize(
    ("more", "number"),
    [(SOLUTIONS + "affine = lambda h, W, b: h @ W", 3), ("def one_hot(labels, classes) return", 1)],
    ids=["wrong answer", "no Python"],
)
def test_command_ends_at_what_is_wrong_without_a_traceback(tmp_path, more, number):
    done = run(tmp_path / "mine.py", more)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == number - 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.committed
def test_solved_course_trains_to_everybodys_bits(tmp_path):
    done = run(tmp_path / "mine.py", SOLUTIONS)
    assert done.returncode == 0, done.stderr
    (percent,) = re.findall(r"reads ([\d.]+) % of the validation images", done.stdout)
    assert float(percent) > 90
    history = (ROOT / "metrics" / "history.csv").read_text(encoding="utf-8")
    assert re.search(r"epoch 1: (\w+), the same bits", done.stdout)[1] in history.splitlines()[1]
