"""The flow of `dvc.yaml`: what each stage is given and makes, and a stage run in this process."""

import importlib
from collections.abc import Sequence
from pathlib import Path

import yaml
from click.testing import Result
from typer.testing import CliRunner

from tests.support.project import ROOT, STAGES, Project
from tests.support.refusals import refusal

ALL = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
FLOW = {stage: ALL[stage] for stage in STAGES}  # a user may have added others
HISTORY = "metrics/history.csv"  # which grows while the train stage runs


def arguments(stage: str) -> list[str]:
    """Return the paths that `dvc.yaml` gives to a stage."""
    return FLOW[stage]["cmd"].split()[3:]  # after: python -m stages.NAME


def outs(stage: str) -> list[str]:
    """Return the paths of a stage's outputs."""
    found = [out for kind in ("outs", "metrics", "plots") for out in FLOW[stage].get(kind, [])]
    return [next(iter(out)) if isinstance(out, dict) else out for out in found]


def written(stage: str, folder: Path = Path()) -> dict[str, bytes]:
    """Return the content of each output of a stage, by its path in `folder`."""
    paths = [folder / out for out in outs(stage)]
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    files = [file for file in files if file.is_file()]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def results(project: Project) -> dict[str, bytes]:
    """Return the content of each file that our stages wrote, by path."""
    pairs = [written(stage, project.folder).items() for stage in STAGES]
    return {path: content for made in pairs for path, content in made}


def by_name(stage: str) -> dict[str, bytes]:
    """Return the content of each output in the current folder, by the name of its file."""
    return {Path(path).name: content for path, content in written(stage).items()}


def is_beginning(history: bytes, whole: bytes) -> bool:
    """Return whether a history is the first epochs of a whole one, none of them marked as kept."""
    rows, expected = history.decode().splitlines(), whole.decode().splitlines()
    unkept = [expected[0], *(f"{row.rpartition(',')[0]},0" for row in expected[1:])]
    return history.endswith(b"\n") and len(rows) > 1 and rows == unkept[: len(rows)]


def make(stage: str) -> dict[str, bytes]:
    """Run a stage in the current folder; return all that it makes, by path."""
    result = run_stage(stage)
    assert result.exit_code == 0, result.output
    return written(stage)


def refused(stage: str, result: Result, path: Path | str, *words: str) -> str:
    """Fail unless the stage refused something and wrote nothing; return its sentence."""
    assert written(stage) == {}
    return refusal(result, path, *words)


def run_stage(stage: str, *options: str, paths: Sequence[str] = ()) -> Result:
    """Run a stage in this process and the current folder, as `dvc.yaml` says or on other paths."""
    app = getattr(importlib.import_module(f"stages.{stage}"), stage)
    return CliRunner().invoke(app, [*(paths or arguments(stage)), *options])
