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


def outputs(name: str, *kinds: str) -> dict[str, dict]:
    """Return the settings of a stage's outputs, by path."""
    found = [out for kind in kinds or ("outs", "metrics", "plots") for out in STAGES[name].get(kind, [])]
    return dict(next(iter(out.items())) if isinstance(out, dict) else (out, {}) for out in found)


@pytest.mark.parametrize("name", STAGES)
def test_paths_on_the_command_line_are_dependencies_and_outputs(name):
    """The folder metrics stands for every output in it."""
    stage = STAGES[name]
    given = {path for path in stage["deps"] if not path.endswith(".py")} - {"datasets.yaml"}
    made = {"metrics" if path.startswith("metrics/") else path for path in outputs(name)}
    assert sorted(stage["cmd"].split()[3:]) == sorted(given | made)


def test_each_file_for_git_has_a_cached_twin():
    """`dvc push` takes cached outputs only, and the run cache takes no uncached ones but metrics and plots."""
    every = {path: settings for name in STAGES for path, settings in outputs(name).items()}
    uncached = {path for path, settings in every.items() if not settings.get("cache", True)}
    assert not uncached & {path for name in STAGES for path in outputs(name, "outs")}
    assert {Path(path).name for path in uncached} <= {Path(path).name for path in every.keys() - uncached}
