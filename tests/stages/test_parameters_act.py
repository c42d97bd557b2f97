"""Every parameter of ours does something, in exactly the stages that `dvc.yaml` says read it."""

import shutil
from pathlib import Path

import pytest
import yaml

from tests.support.flow import FLOW, make, written
from tests.support.mirrors import entry, folder_mirror
from tests.support.project import PLAIN, STAGES, changed_params, sample_datasets

# What each key is here, and what it is turned to. Some keys act only if another one does.
KEYS = {
    "download.dataset": ("mnist", "another"),
    "preprocess.scaling": ("minmax", "zscore"),
    "preprocess.validation_size": (100, 50),
    "preprocess.seed": (0, 1),
    "train.hidden_sizes": ([6], [6, 5]),
    "train.activation": ("relu", "tanh"),
    "train.weight_init_std": (0.3, "glorot"),
    "train.arithmetic": ("exact", "float32"),
    "train.seed": (0, 1),
    "train.iterations": (80, 75),
    "train.batch_size": (50, 40),
    "train.optimizer": ("sgd", "adam"),
    "train.learning_rate": (0.8, 0.7),
    "train.schedule": ("constant", "cosine"),
    "train.warmup": (0, 5),
    "train.momentum": (0.8, 0.5),
    "train.nesterov": (False, True),
    "train.weight_decay": (0, 0.01),
    "train.max_norm": (0, 1.5),
    "train.input_dropout": (0, 0.2),
    "train.hidden_dropout": (0, 0.5),
    "train.label_smoothing": (0, 0.1),
    "train.patience": (0, 1),
    "train.keep": ("last", "best"),
    "distort.rotation": (0, 15),
    "distort.shear": (0, 15),
    "distort.scaling": (0, 15),
    "distort.shift": (0, 2),
    "distort.elastic": (1, 2),
    "distort.smoothness": (6, 4),
    "plot.misclassified": (25, 4),
    "plot.dpi": (50, 60),
}
SECTIONS = dict.fromkeys(key.split(".")[0] for key in KEYS)


def keys_listed(stage: str) -> list[str]:
    """Return the keys that `dvc.yaml` says the stage reads."""
    listed = FLOW[stage].get("params", [])
    return [key for key in KEYS if key in listed or key.split(".")[0] in listed]


def write_params(*turned: str) -> None:
    """Write params.yaml with some keys turned. A user's own sections and keys stay."""
    values = {key: other if key in turned else here for key, (here, other) in KEYS.items()}
    text = yaml.safe_dump(changed_params(values), sort_keys=False)
    Path("params.yaml").write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder in which all stages have run on the sample."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        another = entry([folder_mirror(folder / "another")])
        another["classes"] = [f"not {digit}" for digit in range(10)]
        datasets = yaml.safe_dump(sample_datasets() | {"another": another})
        Path("datasets.yaml").write_text(datasets, encoding="utf-8")
        write_params()
        for stage in STAGES:
            make(stage)
    return folder


@pytest.fixture
def copy(made, tmp_path, monkeypatch) -> Path:
    """A copy of that folder, and the current one."""
    monkeypatch.chdir(shutil.copytree(made, tmp_path / "copy"))
    return tmp_path / "copy"


@pytest.mark.committed
def test_every_key_of_our_sections_is_turned():
    """A new key of ours needs a line above, and a line there a key. A user's own key needs none."""
    params = changed_params({})
    assert {f"{section}.{name}" for section in SECTIONS for name in params[section]} == set(KEYS)
    listed = {section for stage in STAGES for section in FLOW[stage].get("params", [])}
    assert listed == set(SECTIONS)
    assert set(PLAIN) == {key for key in KEYS if key.startswith(("train.", "distort."))}


# tests/stages/test_plot.py has the plot stage
PAIRS = [(stage, key) for stage in STAGES if stage != "plot" for key in keys_listed(stage)]


@pytest.mark.parametrize(("stage", "key"), PAIRS)
def test_a_key_changes_what_a_stage_makes_that_lists_it(stage, key, made, copy):
    """The stage gets the inputs it had before; only the key is another."""
    write_params(key)
    assert make(stage) != written(stage, made)


@pytest.mark.parametrize("stage", STAGES)
def test_no_other_key_changes_what_a_stage_makes(stage, made, copy):
    others = [key for key in KEYS if key not in keys_listed(stage)]
    # That is a form of sgd, and no adam
    write_params(*(key for key in others if key != "train.nesterov"))
    for path in written(stage):
        Path(path).unlink()
    assert make(stage) == written(stage, made)
