"""tests/README.md names tests that exist, and equivalent_mutants.yaml names mutants that the code still has."""

import ast
import re

import pytest

from tests import mutations
from tests.conftest import ROOT
from tests.mutants import equivalents

README = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_every_test_that_the_readme_names_exists():
    named = re.findall(r"\btests/[\w/]+\.py(?:::\w+)?", README)
    assert len(named) > 10
    for name in named:
        file, _, function = name.partition("::")
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert not function or function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name


def test_every_command_that_the_readme_names_exists():
    targets = re.findall(r"\bmake ([\w-]+)", README)
    assert len(targets) > 4
    for target in targets:
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target
    assert (ROOT / "tests" / "mutants.py").exists()


def test_equivalent_mutants_are_mutants_and_have_a_reason():
    declared = equivalents()
    paths = {path for path, _, _ in declared}
    known = {(path, mutant.before, mutant.after) for path in paths for mutant in mutations.mutants_of(path)}
    assert declared.keys() - known == set(), "the code has changed; change or remove these"
    assert all(declared.values())


CODE = '''
"""A docstring."""
LIMIT: int = 10
def f(x: "int" = 0) -> "int":
    """Another."""
    if x < LIMIT and not x:
        x += 1
    return g(x, min(x, 2), key=True, help="text")
if __name__ == "__main__":
    f(1)
'''


@pytest.fixture
def changed(tmp_path, monkeypatch):
    """The lines of the small module above that its mutants change, before and after."""
    monkeypatch.setattr(mutations, "ROOT", tmp_path)
    (tmp_path / "module.py").write_text(CODE)
    whole = ast.unparse(ast.parse(CODE)).splitlines()
    pairs = set()
    for mutant in mutations.mutants_of("module.py"):
        lines = ast.unparse(ast.parse(mutant.change())).splitlines()
        if len(lines) == len(whole):
            pairs |= {(left.strip(), right.strip()) for left, right in zip(whole, lines, strict=True) if left != right}
    return pairs


def test_mutants_are_faults_in_code_and_in_nothing_else(changed):
    assert ("LIMIT: int = 10", "LIMIT: int = 11") in changed
    assert ("if x < LIMIT and (not x):", "if x <= LIMIT and (not x):") in changed
    assert ("if x < LIMIT and (not x):", "if x < LIMIT or not x:") in changed
    assert ("if x < LIMIT and (not x):", "if x < LIMIT:") in changed
    assert ("x += 1", "x -= 1") in changed
    assert ("x += 1", "pass") in changed
    call = "return g(x, min(x, 2), key=True, help='text')"
    assert (call, "return g(min(x, 2), x, key=True, help='text')") in changed
    assert (call, "return g(x, max(x, 2), key=True, help='text')") in changed
    assert (call, "return g(x, min(x, 2), help='text')") in changed
    assert (call, "return None") in changed
    assert (call, "return g(x, min(x, 2), key=True)") not in changed
    before = {line for line, _ in changed}
    assert not {
        line for line in before if "docstring" in line or "Another" in line or "__main__" in line or line == "f(1)"
    }
