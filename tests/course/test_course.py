"""The course: the textbooks' functions solve it, and usual mistakes are recognised or located."""

import re
import subprocess
import sys
from functools import partial
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

import course.exercises
import textbook
import textbook_exact
from course.checks import EXERCISES, MISTAKES, check
from pipeline.program.errors import UserError
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
    with pytest.raises(UserError, match="not written yet"):
        check(exercise, lambda *arguments: None)


def test_exercises_have_the_arguments_of_the_right_functions():
    for name, exercise in BY_NAME.items():
        learners = signature(getattr(course.exercises, name)).parameters
        assert list(learners) == list(signature(exercise.right).parameters)


def steps_back(loss, parameter, h=1e-5):
    for place in np.ndindex(parameter.shape):
        parameter[place] += h
        parameter[place] -= 2 * h
        parameter[place] += h
    return parameter + 0


def gradients(old, new, module=textbook):
    """A textbook's gradients, with another text in it."""
    source, names = Path(module.__file__).read_text(encoding="utf-8"), {"__name__": "changed"}
    assert old in source
    exec(source.replace(old, new), names)
    return names["gradients"]


exp, exactly = np.exp, partial(gradients, module=textbook_exact)
WRONG = [
    ("one_hot", lambda n, k: np.eye(k)[n].T, r"\.T"),
    ("initial_parameters", lambda s, std, r: r.normal(0, std, (3, 2)), "two lists"),
    ("initial_parameters", lambda s, std, r: textbook.initial_parameters(s, 1, r), "100 times"),
    ("sigmoid", lambda a: exp(a) / (1 + exp(a)), "nan"),
    ("softmax", lambda z: exp(z) / exp(z).sum(axis=1, keepdims=True), "inf or nan"),
    ("softmax", lambda z: exp(z) / exp(z).sum(axis=1), "broadcast"),
    ("softmax", lambda z: print(z), "return"),
    ("cross_entropy", lambda y, t: -np.log(y[t == 1]).sum(), "2 times .* mean"),
    ("cross_entropy", lambda y, t: np.log(y[t == 1]).mean(), "-1 times .* sign"),
    ("cross_entropy", lambda y, t: -(t * np.log(y)).sum() / len(t), "0 is multiplied by ln 0"),
    ("cross_entropy", lambda y, t: -np.log(y[t == 1]), "shape"),
    ("output_gradient", lambda y, t: y - t, "2 times .* mean"),
    ("gradients", gradients("(h * (1 - h))", "1"), r"h \(1 − h\)"),
    ("gradients", gradients("da.sum(axis=0)", "da.sum(axis=1)"), "axis"),
    ("train_epoch", lambda W, *others: [one - 0.1 for one in W], "new array"),
    ("initial_parameters", lambda s, d, r: textbook.initial_parameters([s.pop(0), *s], d, r),
     "changes an argument"),
    ("initial_parameters", lambda s, d, r: textbook.initial_parameters(s, d, np.random), "draw"),
    ("cross_entropy", lambda y, t: -np.log(y.max(axis=1)).mean(), "another number"),
    ("numerical_gradient", steps_back, "in a variable"),
    ("operand_bits", lambda n: 21, "log₂ terms⌉"),
    ("cross_entropy", lambda y, t: -np.log(y[t == 1] + 1e-7).mean(), "a small number is added"),
    ("cross_entropy", lambda y, t: -np.log(y**t).sum(axis=0).mean(), "0.66667 times"),
    ("one_hot", lambda n, k: np.eye(k)[n - 1], "other numbers"),
    ("exact_gradients", exactly("operand_bits(len(b))", "operand_bits(len(a))"), "operand_bits"),
    ("exact_gradients", exactly("operand_bits(len(b))", "21"), "operand_bits"),
    ("exact_gradients", exactly("grid(e, 49, 0)", "e"), "softmax"),
    ("exact_gradients", exactly("(1 + exp(", "(1 + np.exp("), "exp. in sigmoid"),
    ("exact_gradients", exactly("e = exp(", "e = np.exp("), "exp. in softmax"),
    ("exact_gradients", exactly("np.frexp(1 / len(t))[1]", "None"), "exponent of dz"),
    ("exact_gradients", lambda W, b, X, t: textbook.gradients(W, b, X / 255, t), "exp|grid"),
    ("exact_gradients", lambda W, b, X, t: textbook_exact.gradients([1.01 * W[0], W[1]], b, X, t),
     "X W₁"),
]  # fmt: skip
USUAL = [(name, function, re.escape(about)) for name, function, about in MISTAKES]


@pytest.mark.parametrize(("name", "function", "said"), WRONG + USUAL)
def test_mistake_is_recognised_or_located(name, function, said):
    with pytest.raises(UserError) as error:
        check(BY_NAME[name], function)
    sentence, *example = str(error.value).split("\n")
    assert re.search(said, sentence), sentence
    assert "  given " in "".join(example)


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
