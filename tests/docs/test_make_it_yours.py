"""With a dataset, a stage and a parameter of one's own, `dvc repro` runs and the tests pass, here
and in a copy.
"""

import os
import re
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
import yaml

from tests.support.files import save_pictures
from tests.support.project import ROOT, STAGES, Project, new_project

PAGE = (ROOT / "docs" / "make-it-yours.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
STAGE, TEST, CLASS = (block for language, block in BLOCKS if language == "python")
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
    values = {"download.dataset": "parity", "preprocess.validation_size": 50, "distort.shift": 1}
    values |= {"train.hidden_sizes": [8, 8], "train.batch_size": 20}
    values |= {"train.momentum": 0.5, "train.arithmetic": "float32"}
    project.set_params(project.small | values)

    # A stage with a parameter of its own
    for name in ("params.yaml", "records/base.yaml"):
        path = project.folder / name
        path.write_text(f"{path.read_text(encoding='utf-8')}\n{BOUND}", encoding="utf-8")
    edit(
        "pipeline/settings/params.py",
        "class Params(Section):",
        f"{CLASS}\n\nclass Params(Section):",
    )
    edit("pipeline/settings/params.py", "    plot: Plot\n", "    plot: Plot\n    judge: Judge\n")
    # Keys in sections of ours, a figure, a remote
    own = {
        "plot": ("bins", "    misclassified: int"),
        "train": ("noise", "    hidden_sizes: tuple"),
    }
    for section, (key, before) in own.items():
        line = f"    {key}: int = _whole(1, 100)\n"
        edit("pipeline/settings/params.py", before, f"{line}{before}")
        for name in ("params.yaml", "records/base.yaml"):
            edit(name, f"\n{section}:\n", f"\n{section}:\n  {key}: 10\n")
    save = "    drawing.save_figures("
    again = '    drawn["again"] = drawing.draw_weights(*network.first_layer())\n'
    edit("stages/plot.py", save, f"{again}{save}")
    project.dvc("remote", "add", "--default", "storage", str(tmp_path / "storage"))
    (project.folder / "stages" / "judge.py").write_text(STAGE, encoding="utf-8")
    (project.folder / "tests" / "stages" / "test_judge.py").write_text(TEST, encoding="utf-8")
    edit("dvc.yaml", "\n# `dvc artifacts get`", f"\n{ENTRY}\n# `dvc artifacts get`")
    project.commit("Make it mine")

    project.dvc("repro")
    assert {*STAGES, "judge"} == set(
        yaml.safe_load((project.folder / "dvc.lock").read_text())["stages"]
    )
    project.commit("Results")

    mine = Project(tmp_path / "mine")
    roles = ("AUTHOR_NAME", "AUTHOR_EMAIL", "COMMITTER_NAME", "COMMITTER_EMAIL")
    project.environment |= {f"GIT_{role}": "a@example.com" for role in roles}
    project.run("make", "copy", "TO=../mine")
    mine.run("git", "rm", "--quiet", "--cached", "stages/judge.py")  # as if it were not added yet

    # The tests of the copy run there, and the others here. As after `make setup`, Python finds the
    # packages and one project: nothing of this folder can be imported.
    venv.create(tmp_path / "python")
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(tmp_path / "python")}))
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        (packages / package.name).symlink_to(package)
    (packages / "project.pth").unlink(missing_ok=True)
    found = [path.relative_to(project.folder) for path in project.folder.glob("tests/*/test_*.py")]
    others = [str(path) for path in found if not (mine.folder / path).exists()]
    for place, tests in ((mine, []), (project, others)):
        (packages / "project.pth").write_text(str(place.folder))
        place.environment["PATH"] = f"{tmp_path / 'python' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        python = tmp_path / "python" / "bin" / "python"
        options = ["-q", "-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider"]
        place.run(str(python), "-m", "pytest", *options, *tests)
