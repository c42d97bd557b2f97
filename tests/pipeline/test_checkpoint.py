"""Checkpoints: a training that was stopped ends with the bytes of an undisturbed one."""

import os
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline.fitting import checkpoint
from pipeline.fitting.checkpoint import Checkpoint, checkpoint_folder
from pipeline.fitting.fit import Training, training_of
from pipeline.settings.params import load_params
from pipeline.store.arrays import load_arrays, save_arrays
from pipeline.store.artifacts import NETWORK, load_prepared
from stages.train import train as app
from tests.support.files import contents, save_prepared
from tests.support.networks import bits, digits
from tests.support.project import PLAIN

CHANGES = {"hidden_sizes": [20], "activation": "relu", "weight_init_std": "he"}
CHANGES |= {"iterations": 43, "batch_size": 50, "optimizer": "adam", "learning_rate": 0.01}
CHANGES |= {"schedule": "cosine", "warmup": 3, "momentum": 0.9}
CHANGES |= {"max_norm": 2, "hidden_dropout": 0.5, "patience": 100, "keep": "best"}
EVERYTHING = PLAIN | {f"train.{name}": value for name, value in CHANGES.items()}
EVERYTHING |= {"distort.rotation": 15}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The folder for checkpoints, with one after each epoch; beside it the data."""
    monkeypatch.setenv(checkpoint.FOLDER, str(tmp_path / "checkpoints"))
    monkeypatch.setattr(checkpoint, "INTERVAL", 0.0)
    images, labels = digits("train")
    save_prepared(tmp_path / "train.npz", images[:400], labels[:400])
    save_prepared(tmp_path / "validation.npz", images[400:500], labels[400:500])
    return tmp_path / "checkpoints"


@pytest.fixture
def new_checkpoint(folder, write_params):
    """A function that returns a checkpoint for EVERYTHING, with some parameters changed."""

    def new(processes=1, **changes) -> Checkpoint:
        params = load_params(write_params(EVERYTHING | changes))
        files = [folder.parent / name for name in ("train.npz", "validation.npz")]
        return Checkpoint(params, files, processes)

    return new


@pytest.fixture
def start(new_checkpoint, folder, write_params):
    """A function that starts or continues a training with a checkpoint and changed parameters."""

    def start(**changes) -> Training:
        path = write_params(EVERYTHING | changes)
        images = [load_prepared(folder.parent / name) for name in ("train.npz", "validation.npz")]
        return begin(load_params(path), path, images, new_checkpoint(**changes))

    return start


def begin(params, path, images, checkpoint) -> Training:
    network = NETWORK.new(params.train, images[0].preparation)
    return training_of(network, params, path, *images, 1, checkpoint)


@pytest.fixture
def written(new_checkpoint, start) -> Checkpoint:
    """A checkpoint after three epochs."""
    assert len(list(islice(start().run(), 3))) == 3
    return new_checkpoint()


FLOAT32 = {"train.arithmetic": "float32", "train.optimizer": "sgd", "train.keep": "last"}
EARLY = {"train.patience": 1, "train.iterations": 400, "train.learning_rate": 0.03}


@pytest.mark.parametrize("changes", [{}, FLOAT32, EARLY], ids=["everything", "float32", "early"])
def test_training_continues_from_an_epoch_as_if_undisturbed(new_checkpoint, start, changes):
    undisturbed = start(**changes)
    expected = list(undisturbed.run())
    assert 6 <= len(expected) < 40
    for last in (1, 3, len(expected)):
        new_checkpoint(**changes).remove()
        stopped = list(islice(start(**changes).run(), last))
        continued = start(**changes)
        assert (continued.resumed, continued.epochs) == (last, stopped)
        assert stopped + list(continued.run()) == continued.epochs == expected
        assert bits(continued.result().network) == bits(undisturbed.result().network)
        assert continued.result()[1:] == undisturbed.result()[1:]


def test_other_parameters_begin_anew_but_not_those_of_other_stages(written, start):
    assert start(**{"plot.dpi": 61, "preprocess.seed": 5}).resumed == 3
    for key, value in {"train.max_norm": 1.99, "distort.rotation": 14}.items():
        assert start(**{key: value}).resumed == 0


# Another value of each parameter that decides the result; float32 needs no entry
OTHERS = {"hidden_sizes": [21], "activation": "tanh", "weight_init_std": "glorot"}
OTHERS |= {"arithmetic": "float32", "optimizer": "sgd", "schedule": "linear", "keep": "last"}


def test_every_parameter_of_training_decides_which_checkpoint_is_its_own(new_checkpoint):
    paths = [new_checkpoint().path]
    for name, before in EVERYTHING.items():
        key = name.split(".")[1]
        if key == "nesterov":
            changes = {"train.optimizer": "sgd"}
            paths.append(new_checkpoint(**changes, **{"train.nesterov": True}).path)
        elif key in OTHERS:
            paths.append(new_checkpoint(**{name: OTHERS[key]}).path)
        else:
            near = before * 0.9 if isinstance(before, float) else before + 1
            near = 0.01 if key in ("input_dropout", "weight_decay", "label_smoothing") else near
            paths.append(new_checkpoint(**{name: near}).path)
    assert len(set(paths)) == len(EVERYTHING) + 1


def test_other_data_code_and_numpy_begin_anew(new_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "ROOT", tmp_path)
    names = ["mlp/a.py", "pipeline/a/b.py", "stages/a.py", "README.md"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1\n")
    paths = [new_checkpoint().path]
    for name in [*names, "mlp/new.py", "train.npz", "validation.npz"]:
        (tmp_path / name).write_text("2\n")
        paths.append(new_checkpoint().path)
    monkeypatch.setattr(np, "__version__", "1.0")
    paths.append(new_checkpoint().path)
    assert paths[3] == paths[4]  # README.md
    assert len(set(paths)) == len(paths) - 1


def test_machine_and_processes_matter_for_float32_alone(new_checkpoint, monkeypatch):
    def paths(processes):
        kinds = [{"train.arithmetic": name} for name in ("exact", "float32")]
        return [new_checkpoint(processes, **kind).path for kind in kinds]

    before, two = paths(1), paths(2)
    monkeypatch.setattr("platform.uname", lambda: ("another", "machine"))
    exact, float32 = zip(before, two, paths(1), strict=True)
    assert (len(set(exact)), len(set(float32))) == (1, 3)


def test_folder_is_that_of_the_variable_or_of_the_dvc_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(checkpoint.FOLDER, raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert checkpoint_folder() is None
    (tmp_path / ".dvc").mkdir()
    assert checkpoint_folder().resolve() == tmp_path / ".dvc" / "tmp" / "checkpoints"
    (tmp_path / "parent" / ".dvc").mkdir(parents=True)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "parent"))
    assert checkpoint_folder() == tmp_path / "parent" / ".dvc" / "tmp" / "checkpoints"
    monkeypatch.setenv(checkpoint.FOLDER, "elsewhere")
    assert checkpoint_folder() == Path("elsewhere")
    monkeypatch.setenv(checkpoint.FOLDER, "")
    assert checkpoint_folder() is None


def test_end_removes_its_own_files_and_those_that_nothing_has_used_for_long(written, folder):
    now, day, name = time.time(), 24 * 3600, "0123456789abcdef" * 2
    mine = [written.path, folder / f".{written.path.name}.12.part"]
    old = [folder / f"{name}.npz", folder / f".{name}.npz.77.part"]
    new = [folder / f"{name[::-1]}.npz", folder / f".{name[::-1]}.npz.78.part"]
    foreign = [folder / "notes.txt", folder / "mlp.npz", folder / f"{name}.txt"]
    for paths, days in ((mine, 0), (old, 31), (new, 29), (foreign, 31)):
        for path in paths:
            path.touch()
            os.utime(path, (now - days * day, now - days * day))
    written.remove()
    assert sorted(folder.iterdir()) == sorted([*new, *foreign])


def test_checkpoint_that_cannot_be_written_is_only_a_note(folder, start, capsys):
    folder.write_text("")  # a file in place of the folder
    assert len(list(islice(start().run(), 2))) == 2
    said = capsys.readouterr().err
    assert said.startswith("note: ")
    assert str(folder) in said
    assert said.count("\n") == 1  # once, not after each epoch
    assert start().resumed == 0


def test_stage_continues_or_begins_anew_and_ends_with_the_same_bytes(written, folder, write_params):
    params, content = write_params(EVERYTHING), bytearray(written.path.read_bytes())

    def run_on(name, content, *options):
        written.path.write_bytes(content)
        out = folder.parent / name
        outputs = ("mlp.npz", "train.json", "validation.json", "history.csv")
        files = [folder.parent / "train.npz", folder.parent / "validation.npz"]
        files += [out / name for name in outputs]
        result = CliRunner().invoke(app, [*map(str, files), "--params", str(params), *options])
        assert (result.exit_code, result.stdout) == (0, "")
        assert list(folder.iterdir()) == []
        return "continues after epoch 3." in result.stderr, contents(out)

    continued, files = run_on("continued", content)
    assert continued
    assert run_on("fresh", content, "--fresh") == (False, files)
    other = folder.parent / "validation.npz"  # a whole file, of another kind
    assert run_on("another", other.read_bytes()) == (False, files)
    content[len(content) // 2] ^= 1
    assert run_on("damaged", content) == (False, files)


def test_a_checkpoint_of_other_arrays_is_none(written, start):
    arrays = load_arrays(written.path)
    for changes in ({"state_0": np.float64(0)}, {"results": np.array("[1]")}, {"results": None}):
        changed = {name: array for name, array in (arrays | changes).items() if array is not None}
        save_arrays(written.path, **changed)
        assert start().resumed == 0
    save_arrays(written.path, **arrays)
    assert start().resumed == 3
