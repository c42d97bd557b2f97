"""`dvc.yaml` lists what each stage uses, no less and no more."""

import ast
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def local_imports(path: Path) -> set[Path]:
    """Return the project's own files that `path` imports, wherever in the file it does, and so on from there.

    Of a package's `__init__.py` only one that holds something counts.
    """
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        package = file.with_name("__init__.py")
        if package.exists() and package.stat().st_size:
            waiting.append(package)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            waiting += [module for name in names if (module := ROOT / f"{name.replace('.', '/')}.py").exists()]
    return found


@pytest.mark.parametrize("name", STAGES)
def test_dependencies_are_the_code_and_the_files_a_stage_uses(name):
    dependencies = {path for path in STAGES[name]["deps"] if path.endswith(".py")}
    code = {path.relative_to(ROOT).as_posix() for path in local_imports(ROOT / "stages" / f"{name}.py")}
    assert dependencies == code
    assert STAGES[name]["deps"] == sorted(STAGES[name]["deps"])


@pytest.mark.parametrize("name", STAGES)
def test_paths_on_the_command_line_are_dependencies_and_outputs(name):
    stage = STAGES[name]
    outputs = [next(iter(out)) if isinstance(out, dict) else out for out in stage["outs"] + stage.get("metrics", [])]
    given = {path for path in stage["deps"] if not path.endswith(".py")} - {"datasets.yaml"}
    assert sorted(stage["cmd"].split()[3:]) == sorted([*given, *outputs])
