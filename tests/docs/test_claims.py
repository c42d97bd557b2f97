"""tests/README.md names tests and commands that exist."""

import ast
import re

from tests.support.project import ROOT

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
