"""`dvc.yaml` lists what each stage of ours uses, no less and no more."""

import ast
import itertools
from pathlib import Path

import pytest

from tests.support.flow import FLOW, arguments, outs, run_stage
from tests.support.project import ROOT
from tests.support.refusals import refusal


def local_imports(path: Path) -> set[str]:
    """Return the project's files that `path` imports, directly or not."""
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
            modules = [ROOT / f"{name.replace('.', '/')}.py" for name in names]
            waiting += [module for module in modules if module.exists()]
    return {file.relative_to(ROOT).as_posix() for file in found}


def covers(dependency: str, file: str) -> bool:
    return file == dependency or file.startswith(f"{dependency}/")


@pytest.mark.parametrize("stage", FLOW)
def test_dependencies_cover_what_a_stage_imports_and_no_more(stage):
    code, deps = local_imports(ROOT / "stages" / f"{stage}.py"), FLOW[stage]["deps"]
    listed = [path for path in deps if Path(path).parts[0] in ("mlp", "pipeline", "stages")]
    assert [file for file in code if not any(covers(path, file) for path in listed)] == []
    assert [path for path in listed if not any(covers(path, file) for file in code)] == []
    assert deps == sorted(deps)
    # Another Matplotlib may draw other pixels
    assert ("requirements.txt" in deps) == (stage == "plot")


@pytest.mark.parametrize("stage", FLOW)
def test_paths_on_the_command_line_are_dependencies_and_outputs(stage):
    """A folder on the command line stands for every output in it."""
    given, made = arguments(stage), outs(stage)
    folders = ("data/", "models/", "metrics/")
    read = {path for path in FLOW[stage]["deps"] if path.startswith(folders)}
    assert read <= set(given)
    others = [path for path in given if path not in read]
    assert [path for path in others if not any(covers(path, out) for out in made)] == []
    assert [out for out in made if not any(covers(path, out) for path in given)] == []


def test_the_test_images_are_for_evaluate_alone():
    """Once they are prepared, nothing is trained, chosen or drawn by them."""
    (test,) = (path for path in outs("preprocess") if Path(path).stem == "test")
    assert [stage for stage in FLOW if test in FLOW[stage]["deps"]] == ["evaluate"]


@pytest.mark.parametrize("stage", [stage for stage in FLOW if stage != "download"])
def test_a_stage_refuses_one_path_for_two_files(stage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for one, other in itertools.combinations(arguments(stage), 2):
        again = f"{one}/../{Path(one).name}"
        paths = [again if path == other else path for path in arguments(stage)]
        refusal(run_stage(stage, paths=paths), again, "twice")
