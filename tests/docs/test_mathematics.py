"""docs/mathematics.md quotes lines of the code.

Its exercises have the answers that it states as hashes.
"""

import hashlib
import re
import sys

import pytest

from mlp.optimizers import SGD
from pipeline.store.artifacts import save_model
from tests.support.networks import descent, new_network, run
from tests.support.project import ROOT

PAGE = (ROOT / "docs" / "mathematics.md").read_text(encoding="utf-8")
CODE = ("textbook.py", "mlp/network.py")  # the second and the third column of the table
TABLE = re.findall(r"^\|(.+)\|(.+)\|(.+)\|(.+)\|$", PAGE.split("\n## ")[2], re.MULTILINE)[2:]
ANSWERS = re.findall(r"`([0-9a-f]{32,40})`", PAGE)  # one for each exercise


@pytest.mark.parametrize(("column", "file"), list(enumerate(CODE, 1)))
def test_quoted_lines_are_in_the_code(column, file):
    code = (ROOT / file).read_text(encoding="utf-8")
    quoted = [line for cells in TABLE for line in re.findall(r"`([^`]+)`", cells[column])]
    assert len(quoted) > 10
    assert [line for line in quoted if line not in code] == []


def test_exercise_1_a_wrong_derivative_fails_one_test(project):
    """The hash on the page is that of the test's name."""
    layers = project.folder / "mlp" / "layers.py"
    right = layers.read_text(encoding="utf-8")
    wrong = right.replace("return 1.0 - y * y", "return 1.0 - y")
    assert wrong != right
    layers.write_text(wrong, encoding="utf-8")
    tests = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/mlp/test_network.py",
    ]
    failed = set(
        re.findall(r"^FAILED \S+::(\w+)", project.run(*tests, check=False).stdout, re.MULTILINE)
    )
    assert len(failed) == 1
    (project.folder / "answer").write_text(f"{failed.pop()}\n", encoding="utf-8", newline="\n")
    assert project.run("git", "hash-object", "--no-filters", "answer").stdout.split() == [
        ANSWERS[0]
    ]


@pytest.mark.parametrize(
    ("number", "settings", "optimizer"),
    [
        (2, {}, descent(0.1, rule=SGD(momentum=0.9, nesterov=True))),
        (3, {"hidden": (20, 10), "activation": "tanh", "std": 0.1}, descent(0.1)),
    ],
    ids=["2: Nesterov's momentum", "3: back-propagation"],
)
def test_exercises_about_training(number, settings, optimizer, tmp_path):
    """One process trains a network for ten epochs on 500 digits, by `step`.

    The answer is the MD5 of its file.
    """
    run(network := new_network(**settings), 100, optimizer=optimizer)
    save_model(tmp_path / "mlp.npz", network)
    assert hashlib.md5((tmp_path / "mlp.npz").read_bytes()).hexdigest() == ANSWERS[number - 1]
