"""With a dataset, a stage and a parameter of one's own, `dvc repro` runs and `make test` passes, here and in a copy."""

import re
import sys

import pytest
import yaml

from tests.support.files import save_pictures
from tests.support.project import ROOT, STAGES, Project, new_project

PAGE = (ROOT / "docs" / "make-it-yours.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
STAGE, TEST, CLASS = (block for language, block in BLOCKS if language == "python")
COPY = re.search(r"^\$ (git archive .*)", PAGE, re.MULTILINE)[1]
ENTRY, BOUND, _ = (block for language, block in BLOCKS if language == "yaml")


@pytest.mark.slow
def test_own_dataset_stage_and_parameter(tmp_path):
    """The stage, its test and its parameter are those of docs/make-it-yours.md."""
    project = new_project(tmp_path)

    def edit(name: str, old: str, new: str) -> None:
        path = project.folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    save_pictures(tmp_path / "photos", "train")
    project.run(sys.executable, "-m", "tools.pack", "../photos", "parity", "--size", "20x14")
    project.dvc("add", "datasets/parity")
    values = {"download.dataset": "parity", "preprocess.validation_size": 50, "train.hidden_sizes": [8, 8]}
    values |= {"train.batch_size": 20, "train.momentum": 0.5, "train.arithmetic": "float32", "distort.shift": 1}
    project.set_params(project.small | values)

    # A stage with a parameter of its own
    for name in ("params.yaml", "records/base.yaml"):
        path = project.folder / name
        path.write_text(f"{path.read_text(encoding='utf-8')}\n{BOUND}", encoding="utf-8")
    edit("pipeline/settings/params.py", "class Params(Section):", f"{CLASS}\n\nclass Params(Section):")
    edit("pipeline/settings/params.py", "    plot: Plot\n", "    plot: Plot\n    judge: Judge\n")
    (project.folder / "stages" / "judge.py").write_text(STAGE, encoding="utf-8")
    (project.folder / "tests" / "stages" / "test_judge.py").write_text(TEST, encoding="utf-8")
    edit("dvc.yaml", "\n# `dvc artifacts get`", f"\n{ENTRY}\n# `dvc artifacts get`")
    project.commit("Make it mine")

    project.dvc("repro")
    assert {*STAGES, "judge"} == set(yaml.safe_load((project.folder / "dvc.lock").read_text())["stages"])
    project.commit("Results")
    tests = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider"]
    project.run(*tests, "tests/docs", "tests/records", "tests/tools")

    # The copy has the other tests
    mine = Project(tmp_path / "mine")
    mine.folder.mkdir()
    project.run("bash", "-c", COPY)
    mine.run("git", "init", "-q")
    mine.commit("Begin")
    mine.run(*tests)
