"""With a dataset, a stage and a parameter of one's own, `dvc repro` runs and `make test` passes."""

import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.support.networks import digits
from tests.support.project import STAGES, new_project

STAGE = """\
import numpy as np
from pathlib import Path
from pipeline.program.files import read_json, write_json
from pipeline.settings.params import load_params

above = read_json(Path("metrics/test.json"))["accuracy"] - load_params(Path("params.yaml")).judge.bound
write_json(Path("metrics/judgement.json"), {"above": sum([above]) / np.mean([1.0])})
"""


@pytest.mark.slow
def test_own_dataset_stage_and_parameter(tmp_path):
    """As docs/make-it-yours.md says."""
    project = new_project(tmp_path)

    def edit(name: str, old: str, new: str) -> None:
        path = project.folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    # Pictures of two classes, higher than wide
    images, labels = digits("train")
    for number, (image, label) in enumerate(zip(images, labels.argmax(axis=1), strict=True)):
        folder = tmp_path / "photos" / ("odd" if label % 2 else "even")
        folder.mkdir(parents=True, exist_ok=True)
        picture = np.pad(image.reshape(28, 28), ((6, 6), (0, 0)))
        Image.fromarray(picture).save(folder / f"{number:03}.png")
    project.run(sys.executable, "-m", "tools.pack", "../photos", "parity", "--size", "20x14")
    values = {"download.dataset": "parity", "preprocess.validation_size": 50, "train.hidden_sizes": [8, 8]}
    values |= {"train.batch_size": 20, "train.momentum": 0.5, "train.arithmetic": "float32", "distort.shift": 1}
    project.set_params(project.small | values)

    # A stage with a parameter of its own
    for name in ("params.yaml", "records/base.yaml"):
        path = project.folder / name
        path.write_text(path.read_text(encoding="utf-8") + "\njudge:\n  bound: 0.9\n", encoding="utf-8")
    bound = 'class Judge(Section):\n    """What the judge stage reads."""\n\n    bound: float = _number(0, 1)\n\n\n'
    edit("pipeline/settings/params.py", "class Params(Section):", f"{bound}class Params(Section):")
    edit("pipeline/settings/params.py", "    plot: Plot\n", "    plot: Plot\n    judge: Judge\n")
    (project.folder / "stages" / "judge.py").write_text(STAGE, encoding="utf-8")
    pipeline = yaml.safe_load((project.folder / "dvc.yaml").read_text(encoding="utf-8"))
    test, judgement = "metrics/test.json", "metrics/judgement.json"
    code = ["pipeline/program", "pipeline/settings", "stages/__init__.py", "stages/judge.py"]
    pipeline["stages"]["judge"] = {
        "cmd": "python -m stages.judge",
        "deps": sorted([test, *code]),
        "params": ["judge"],
        "metrics": [{judgement: {"cache": False}}],
    }
    (project.folder / "dvc.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False), encoding="utf-8")
    project.commit("Make it mine")

    project.dvc("repro")
    assert {*STAGES, "judge"} == set(yaml.safe_load((project.folder / "dvc.lock").read_text())["stages"])
    project.commit("Results")
    # Nothing in tests/mlp reads parameters or datasets
    tests = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "--ignore", "tests/mlp"]
    done = subprocess.run(tests, cwd=project.folder, env=project.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:]
