"""`dvc.yaml` lists what each stage uses, no less and no more."""

import ast
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DVC_YAML = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES = DVC_YAML["stages"]


def local_imports(path: Path) -> set[Path]:
    """Return the project's own files that `path` imports, wherever in the file it does, and so on from there.

    An `__init__.py` counts if it imports something.
    """
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        package = file.with_name("__init__.py")
        if package.exists() and "import" in package.read_text(encoding="utf-8"):
            waiting.append(package)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            waiting += [module for name in names if (module := ROOT / f"{name.replace('.', '/')}.py").exists()]
    return found


def covers(dependency: str, file: str) -> bool:
    return file == dependency or file.startswith(f"{dependency}/")


@pytest.mark.parametrize("name", STAGES)
def test_dependencies_cover_what_a_stage_imports_and_no_more(name):
    code = {path.relative_to(ROOT).as_posix() for path in local_imports(ROOT / "stages" / f"{name}.py")}
    dependencies = [path for path in STAGES[name]["deps"] if Path(path).parts[0] in ("mlp", "pipeline", "stages")]
    assert [file for file in code if not any(covers(dependency, file) for dependency in dependencies)] == []
    assert [dependency for dependency in dependencies if not any(covers(dependency, file) for file in code)] == []
    assert STAGES[name]["deps"] == sorted(STAGES[name]["deps"])


def test_an_edit_of_a_figure_runs_one_stage_again():
    edited = "pipeline/drawing/figures.py"
    assert [name for name in STAGES if any(covers(path, edited) for path in STAGES[name]["deps"])] == ["plot"]


def test_a_new_release_of_matplotlib_runs_the_stage_again_that_draws():
    assert [name for name in STAGES if "requirements.txt" in STAGES[name]["deps"]] == ["plot"]


def outputs(name: str, *kinds: str) -> dict[str, dict]:
    """Return the settings of a stage's outputs, by path."""
    found = [out for kind in kinds or ("outs", "metrics", "plots") for out in STAGES[name].get(kind, [])]
    return dict(next(iter(out.items())) if isinstance(out, dict) else (out, {}) for out in found)


@pytest.mark.parametrize("name", STAGES)
def test_paths_on_the_command_line_are_dependencies_and_outputs(name):
    """The folder metrics stands for every output in it."""
    stage = STAGES[name]
    given = {path for path in stage["deps"] if path.startswith(("data/", "models/"))}
    made = {"metrics" if path.startswith("metrics/") else path for path in outputs(name)}
    assert sorted(stage["cmd"].split()[3:]) == sorted(given | made)


def test_what_is_in_git_alone_is_a_metric_or_a_plot():
    """The run cache takes no stage with other outputs that DVC does not cache."""
    uncached = [path for name in STAGES for path, out in outputs(name).items() if not out.get("cache", True)]
    assert uncached
    assert not set(uncached) & {path for name in STAGES for path in outputs(name, "outs")}


def test_artifact_is_an_output_that_dvc_caches():
    """`dvc artifacts get` fetches from DVC's cache."""
    (path,) = (artifact["path"] for artifact in DVC_YAML["artifacts"].values())
    assert outputs("train", "outs")[path].get("cache", True)
