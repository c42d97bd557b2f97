"""Every parameter does something, in exactly the stages that `dvc.yaml` says read it.

The quick tests run the stages themselves, the slow one `dvc repro`. The keys come from `params.yaml`, the stages from
`dvc.yaml`.
"""

import gzip
import hashlib
import importlib
import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from tests.support.project import ROOT, SAMPLE, Project, changed_params, sample_datasets

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
KEYS = [f"{section}.{name}" for section, names in PARAMS.items() for name in names]

# What the keys are otherwise; the rest as in params.yaml. Some keys act only if another one does. Small figures are
# drawn faster.
BASE = Project.small | {"train.momentum": 0.5, "distort.elastic": 1.0, "plot.dpi": 50}

# What each key is turned to.
OTHER_VALUES = {
    "download.dataset": "negatives",  # made below
    "preprocess.scaling": "zscore",
    "preprocess.validation_size": 50,
    "preprocess.seed": 1,
    "train.hidden_sizes": [30, 20],
    "train.activation": "tanh",
    "train.iterations": 100,
    "train.batch_size": 50,
    "train.learning_rate": 0.5,
    "train.weight_init_std": "glorot",
    "train.arithmetic": "float32",
    "train.seed": 1,
    "train.optimizer": "adam",
    "train.schedule": "cosine",
    "train.warmup": 20,
    "train.momentum": 0.8,
    "train.nesterov": True,
    "train.weight_decay": 0.01,
    "train.max_norm": 1.5,
    "train.input_dropout": 0.2,
    "train.hidden_dropout": 0.5,
    "train.patience": 1,
    "train.keep": "best",
    "distort.rotation": 15,
    "distort.shear": 15,
    "distort.scaling": 15,
    "distort.shift": 2,
    "distort.elastic": 2,
    "distort.smoothness": 4,
    "plot.misclassified": 4,
    "plot.dpi": 60,
}


def keys_listed(stage: str) -> set[str]:
    """Return the dotted keys that `dvc.yaml` says the stage reads."""
    listed = STAGES[stage].get("params", [])
    return {key for key in KEYS if key in listed or key.split(".")[0] in listed}


def add_negatives(folder: Path) -> None:
    """Put a second dataset beside `datasets.yaml`: the sample in negative, its classes with other names."""
    datasets = sample_datasets()
    negatives = yaml.safe_load(yaml.safe_dump(datasets["mnist"]))
    negatives |= {"classes": [f"not {digit}" for digit in range(10)], "mirrors": [str(folder / "negatives")]}
    (folder / "negatives").mkdir()
    for key, file in negatives["files"].items():
        content = gzip.decompress((SAMPLE / f"{file['name']}.gz").read_bytes())
        if key.endswith("images"):
            content = content[:16] + bytes(255 - byte for byte in content[16:])
        (folder / "negatives" / file["name"]).write_bytes(content)
        file["sha256"] = hashlib.sha256(content).hexdigest()
    text = yaml.safe_dump(datasets | {"negatives": negatives}, sort_keys=False)
    (folder / "datasets.yaml").write_text(text, encoding="utf-8")


def write_params(folder: Path, values: dict[str, object]) -> None:
    text = yaml.safe_dump(changed_params(BASE | values), sort_keys=False)
    (folder / "params.yaml").write_text(text, encoding="utf-8")


def run_stage(stage: str) -> None:
    """Run the command of a stage, in this process and folder."""
    python, option, module, *arguments = STAGES[stage]["cmd"].split()
    assert (python, option, module) == ("python", "-m", f"stages.{stage}")
    result = CliRunner().invoke(getattr(importlib.import_module(module), stage), arguments)
    assert result.exit_code == 0, result.output


def outputs(stage: str, folder: Path) -> dict[str, bytes]:
    """Return the content of every file that the stage makes, by path."""
    contents = {}
    for out in STAGES[stage]["outs"] + STAGES[stage].get("metrics", []):
        path = folder / (next(iter(out)) if isinstance(out, dict) else out)
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            contents[file.relative_to(folder).as_posix()] = file.read_bytes()
    return contents


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder in which all stages have run on the sample."""
    folder = tmp_path_factory.mktemp("made")
    add_negatives(folder)
    write_params(folder, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for stage in STAGES:
            run_stage(stage)
    return folder


@pytest.fixture
def copy(made, tmp_path, monkeypatch) -> Path:
    """A copy of that folder, and the current one."""
    folder = tmp_path / "copy"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return folder


def test_every_key_has_another_value():
    """A new key needs a line above, and a line there a key."""
    assert set(OTHER_VALUES) == set(KEYS)
    now = changed_params(BASE)
    for key, value in OTHER_VALUES.items():
        section, name = key.split(".")
        assert now[section][name] != value, key


@pytest.mark.parametrize(("stage", "key"), [(stage, key) for stage in STAGES for key in sorted(keys_listed(stage))])
def test_a_key_changes_what_a_stage_makes_that_lists_it(stage, key, made, copy):
    """The stage gets the inputs it had before; only the key is another."""
    write_params(copy, {key: OTHER_VALUES[key]})
    run_stage(stage)
    assert outputs(stage, copy) != outputs(stage, made)


@pytest.mark.parametrize("stage", STAGES)
def test_no_other_key_changes_what_a_stage_makes(stage, made, copy):
    write_params(copy, {key: OTHER_VALUES[key] for key in KEYS if key not in keys_listed(stage)})
    run_stage(stage)
    assert outputs(stage, copy) == outputs(stage, made)


@pytest.mark.slow
def test_dvc_runs_the_stages_again_that_a_key_reaches(project):
    """By `dvc repro`: those that list the key, and those whose inputs became others, and no more."""
    add_negatives(project.folder)
    write_params(project.folder, {})
    project.run("dvc", "repro")
    before = locked(project.folder)

    for key in KEYS:
        changed = Project(project.folder.parent / key)
        shutil.copytree(project.folder, changed.folder)
        write_params(changed.folder, {key: OTHER_VALUES[key]})
        log = changed.run("dvc", "repro").stdout
        after = locked(changed.folder)
        for stage in STAGES:
            listed = key in keys_listed(stage)
            reached = listed or before[stage]["deps"] != after[stage]["deps"]
            assert (f"Running stage '{stage}'" in log) == reached, f"{key}, {stage}\n{log}"
            assert not listed or before[stage]["outs"] != after[stage]["outs"], f"{key} does nothing in {stage}"


def locked(folder: Path) -> dict[str, dict]:
    """Return what `dvc.lock` says of each stage: with deps and outs as {path: MD5}."""
    stages = yaml.safe_load((folder / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    return {
        name: {kind: {entry["path"]: entry["md5"] for entry in stage[kind]} for kind in ("deps", "outs")}
        for name, stage in stages.items()
    }
