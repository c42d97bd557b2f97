"""Checkpoints: a training that was stopped ends with the bytes of an undisturbed one, and nothing else is believed."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mlp.training import new_state, train
from pipeline.settings.params import load_params
from pipeline.store.arrays import load_arrays, save_arrays
from pipeline.store.tables import EpochRow
from pipeline.training import checkpoint
from pipeline.training.checkpoint import Checkpoint, checkpoint_folder
from pipeline.training.method import method_of
from stages.train import train as app
from tests.support.files import contents, save_prepared
from tests.support.networks import bits, digits, new_network, some_digits

EVERYTHING = {
    "train.hidden_sizes": [20],
    "train.activation": "relu",
    "train.weight_init_std": "he",
    "train.iterations": 43,
    "train.batch_size": 50,
    "train.optimizer": "adam",
    "train.learning_rate": 0.01,
    "train.schedule": "cosine",
    "train.warmup": 3,
    "train.momentum": 0.9,
    "train.weight_decay": 0.01,
    "train.max_norm": 2,
    "train.input_dropout": 0.2,
    "train.hidden_dropout": 0.5,
    "train.patience": 100,
    "train.keep": "best",
    "distort.rotation": 15,
    "distort.elastic": 1,
}
WATCHED = [some_digits(400, 500), some_digits(500, 600)]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The folder for checkpoints, with one after each epoch; beside it the data."""
    monkeypatch.setenv(checkpoint.FOLDER, str(tmp_path / "checkpoints"))
    monkeypatch.setattr(checkpoint, "INTERVAL", 0.0)
    images, labels = digits("train")
    save_prepared(tmp_path / "train.npz", images[:500], labels[:500])
    save_prepared(tmp_path / "validation.npz", images[500:], labels[500:])
    return tmp_path / "checkpoints"


@pytest.fixture
def new_checkpoint(folder, write_params):
    """A function that returns a checkpoint for EVERYTHING, with some parameters changed."""

    def new(processes=1, **changes):
        params = load_params(write_params(EVERYTHING | changes))
        return Checkpoint(params, [folder.parent / "train.npz", folder.parent / "validation.npz"], processes)

    return new


def start(write_params, **changes):
    """Return a method and a new state for EVERYTHING."""
    params = load_params(write_params(EVERYTHING | changes))
    method = method_of(params, (28, 28))
    return method, new_state(new_network(params.train.arithmetic, (20,), "relu", "he"), method)


def run(method, state, rows, epochs=None, saved=None):
    """Train so many more epochs, or to the end; add to the rows; save each epoch."""
    for result in train(state, some_digits(0, 400), method, WATCHED):
        epoch, iteration, loss, (seen, unseen) = result
        rows.append(EpochRow(epoch, iteration, loss, seen.accuracy, unseen.loss, unseen.accuracy))
        if saved:
            saved.save(state, rows)
        if epochs and epoch == epochs:
            break
    return rows


def everything_of(state):
    arrays = [array.tobytes() for arrays in state.memory for array in arrays]
    best = state.best.epoch, state.best.score, [array.tobytes() for array in state.best.parameters]
    return bits(state.network), arrays, state.iteration, best


# Written and read


@pytest.mark.parametrize("arithmetic", ["exact", "float32"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("keep", ["best", "last"])
def test_training_continues_from_every_epoch_as_if_nothing_had_happened(
    new_checkpoint, write_params, arithmetic, optimizer, keep
):
    changes = {"train.arithmetic": arithmetic, "train.optimizer": optimizer, "train.keep": keep}
    method, undisturbed = start(write_params, **changes)
    expected = run(method, undisturbed, [])
    assert len(expected) == 6
    for stopped_after in range(1, 7):
        written = new_checkpoint(**changes)
        _, state = start(write_params, **changes)
        run(method, state, [], stopped_after, written)
        _, continued = start(write_params, **changes)
        rows = new_checkpoint(**changes).load(continued)
        assert rows == expected[:stopped_after]
        assert all(type(now) is type(then) for now, then in zip(rows[0], expected[0], strict=True))
        assert everything_of(continued) == everything_of(state)
        assert run(method, continued, rows) == expected
        assert everything_of(continued) == everything_of(undisturbed)
        written.remove()


def test_training_that_has_stopped_early_stays_stopped(new_checkpoint, write_params):
    changes = {"train.patience": 2, "train.iterations": 10_000, "train.learning_rate": 0.03}
    method, state = start(write_params, **changes)
    written = new_checkpoint(**changes)
    expected = run(method, state, [], saved=written)
    assert len(expected) < 1000
    _, continued = start(write_params, **changes)
    rows = new_checkpoint(**changes).load(continued)
    assert run(method, continued, rows) == expected


def test_nothing_is_read_where_there_is_no_checkpoint(new_checkpoint, write_params):
    _, state = start(write_params)
    before = everything_of(state)
    assert new_checkpoint().load(state) == []
    assert everything_of(state) == before


# What it belongs to

OTHER = EVERYTHING | {
    "train.hidden_sizes": [21],
    "train.activation": "tanh",
    "train.weight_init_std": "glorot",
    "train.iterations": 44,
    "train.batch_size": 51,
    "train.optimizer": "sgd",
    "train.learning_rate": 0.02,
    "train.schedule": "linear",
    "train.warmup": 4,
    "train.momentum": 0.8,
    "train.nesterov": True,
    "train.weight_decay": 0.02,
    "train.max_norm": 3,
    "train.input_dropout": 0.3,
    "train.hidden_dropout": 0.4,
    "train.patience": 99,
    "train.keep": "last",
    "train.arithmetic": "float32",
    "train.seed": 1,
    "distort.rotation": 14,
    "distort.shear": 1,
    "distort.scaling": 1,
    "distort.shift": 1,
    "distort.elastic": 2,
    "distort.smoothness": 5,
}


def test_other_parameters_have_another_file(new_checkpoint):
    names = {new_checkpoint().path.name}
    for key, value in OTHER.items():
        names.add(new_checkpoint(**{key: value}).path.name)
    assert len(names) == 1 + len(OTHER)


def test_parameters_of_other_stages_do_not_matter(new_checkpoint):
    assert new_checkpoint(**{"plot.dpi": 60, "preprocess.seed": 5}).path == new_checkpoint().path


@pytest.mark.parametrize("name", ["train.npz", "validation.npz"])
def test_other_data_have_another_file(new_checkpoint, folder, name):
    before = new_checkpoint().path
    with (folder.parent / name).open("r+b") as file:
        file.seek(3000)
        byte = file.read(1)
        file.seek(3000)
        file.write(bytes([byte[0] ^ 1]))
    assert new_checkpoint().path != before


@pytest.mark.parametrize("name", ["mlp/layers.py", "pipeline/training/method.py", "stages/train.py"])
def test_other_code_has_another_file(new_checkpoint, tmp_path, monkeypatch, name):
    for path in ("mlp/layers.py", "pipeline/training/method.py", "stages/train.py", "README.md"):
        (tmp_path / "project" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / path).write_text("1\n")
    monkeypatch.setattr(checkpoint, "ROOT", tmp_path / "project")
    before = new_checkpoint().path
    (tmp_path / "project" / "README.md").write_text("2\n")
    assert new_checkpoint().path == before
    (tmp_path / "project" / name).write_text("2\n")
    assert new_checkpoint().path != before
    (tmp_path / "project" / name).rename(tmp_path / "project" / "mlp" / "new.py")
    (tmp_path / "project" / "mlp" / "new.py").write_text("1\n")
    assert new_checkpoint().path != before


def test_another_numpy_has_another_file(new_checkpoint, monkeypatch):
    before = new_checkpoint().path
    monkeypatch.setattr(np, "__version__", "1.0")
    assert new_checkpoint().path != before


def test_machine_and_processes_matter_for_float32_alone(new_checkpoint, monkeypatch):
    before = [new_checkpoint(**{"train.arithmetic": name}).path for name in ("exact", "float32")]
    two = [new_checkpoint(2, **{"train.arithmetic": name}).path for name in ("exact", "float32")]
    monkeypatch.setattr("platform.uname", lambda: ("another", "machine"))
    other = [new_checkpoint(**{"train.arithmetic": name}).path for name in ("exact", "float32")]
    assert before[0] == two[0] == other[0]
    assert len({before[1], two[1], other[1]}) == 3


@pytest.fixture
def written(new_checkpoint, write_params) -> Checkpoint:
    """A checkpoint after three epochs."""
    found = new_checkpoint()
    method, state = start(write_params)
    run(method, state, [], 3, found)
    return found


def is_believed(written, write_params) -> bool:
    _, state = start(write_params)
    before = everything_of(state)
    rows = written.load(state)
    assert rows or everything_of(state) == before
    return bool(rows)


def test_array_with_another_number_is_not_believed(written, write_params):
    arrays = load_arrays(written.path)
    assert is_believed(written, write_params)
    for name, array in arrays.items():
        changed = np.array(array)
        if array.dtype.kind == "U":
            changed = np.array(str(array)[:-1] + "x")
        else:
            changed.reshape(-1)[-1] += 1
        save_arrays(written.path, **(arrays | {name: changed}))
        assert not is_believed(written, write_params), name
        save_arrays(written.path, **{other: array for other, array in arrays.items() if other != name})
        assert not is_believed(written, write_params), name


def test_file_of_another_training_under_this_name_is_not_believed(written, new_checkpoint, write_params):
    other = new_checkpoint(**{"train.seed": 1})
    written.path.rename(other.path)
    assert not is_believed(other, write_params)


@pytest.mark.parametrize("content", [b"", b"x", b"PK\5\6" + bytes(18)])
def test_foreign_file_is_not_believed(written, write_params, content):
    written.path.write_bytes(content)
    assert not is_believed(written, write_params)
    written.path.unlink()
    written.path.mkdir()
    assert not is_believed(written, write_params)


# Where, how often, how long


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


def test_without_a_folder_nothing_is_written_or_read(new_checkpoint, write_params, monkeypatch):
    monkeypatch.setenv(checkpoint.FOLDER, "")
    nowhere = new_checkpoint()
    method, state = start(write_params)
    run(method, state, [], 2, nowhere)
    assert not is_believed(nowhere, write_params)
    nowhere.remove()


def test_an_epoch_soon_after_another_is_not_written(new_checkpoint, write_params, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(checkpoint, "INTERVAL", 10.0)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    written = new_checkpoint()
    _, state = start(write_params)
    rows = [EpochRow(1, 1, 0.0, 0.0, 0.0, 0.0)]
    for seconds, is_new in [(9.9, False), (10.0, True), (19.9, False), (20.1, True)]:
        clock[0] = seconds
        written.save(state, rows)
        assert written.path.exists() == is_new
        written.path.unlink(missing_ok=True)


def test_end_removes_its_own_files_and_those_that_nothing_has_used_for_long(written, folder):
    month, name = 31 * 24 * 3600, "0123456789abcdef" * 2
    mine = [written.path, folder / f".{written.path.name}.12.part"]
    old = [folder / f"{name}.npz", folder / f".{name}.npz.77.part"]
    new = [folder / f"{name[::-1]}.npz", folder / f".{name[::-1]}.npz.78.part"]
    foreign = [folder / "notes.txt", folder / "mlp.npz", folder / f"{name}.txt"]
    for path in [*mine, *old, *new, *foreign]:
        path.touch()
    for path in [*old, *foreign]:
        os.utime(path, (time.time() - month, time.time() - month))
    written.remove()
    assert sorted(folder.iterdir()) == sorted([*new, *foreign])


@pytest.mark.parametrize("obstacle", ["a file in place of the folder", "a full disk", "no memory"])
def test_checkpoint_that_cannot_be_written_does_not_end_the_training(
    new_checkpoint, folder, write_params, monkeypatch, capsys, obstacle
):
    def refuse(*_, **__):
        raise OSError(28, "No space left on device") if "disk" in obstacle else MemoryError

    if "file" in obstacle:
        folder.write_text("")
    else:
        monkeypatch.setattr(checkpoint, "save_arrays", refuse)
    written = new_checkpoint()
    method, state = start(write_params)
    assert len(run(method, state, [], 2, written)) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"note: this training has no checkpoints: {folder}: ")
    assert said.count("\n") == 1  # once, not after each epoch
    assert not is_believed(written, write_params)
    written.remove()


# The stage


def stage(folder, params, *options, out="out"):
    files = ["train.npz", "validation.npz", f"{out}/mlp.npz", out]
    arguments = [*(str(folder.parent / file) for file in files), "--params", str(params), *options]
    return CliRunner().invoke(app, arguments), folder.parent / out


@pytest.fixture
def stopped(folder, write_params, monkeypatch) -> Path:
    """Parameters of a training that was stopped after its fourth epoch."""
    params = write_params(EVERYTHING)

    def stop(self, state, rows):
        save(self, state, rows)
        if len(rows) == 4:
            raise KeyboardInterrupt

    save = Checkpoint.save
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", stop)
        result, out = stage(folder, params, out="undisturbed")
        assert result.exit_code == 130
        assert not out.exists()
    return params


def test_stage_says_that_it_continues_and_ends_with_the_same_bytes(folder, stopped):
    assert len(list(folder.iterdir())) == 1
    result, out = stage(folder, stopped)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "Training continues after epoch 4.\n" in result.stderr
    assert list(folder.iterdir()) == []
    result, undisturbed = stage(folder, stopped, out="undisturbed")
    assert "continues" not in result.stderr
    assert contents(out) == contents(undisturbed)


def test_fresh_begins_at_the_beginning(folder, stopped):
    result, out = stage(folder, stopped, "--fresh")
    assert result.exit_code == 0
    assert "continues" not in result.stderr
    result, undisturbed = stage(folder, stopped, out="undisturbed")
    assert contents(out) == contents(undisturbed)


def test_stage_believes_no_damaged_checkpoint(folder, stopped):
    (path,) = folder.iterdir()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    result, out = stage(folder, stopped)
    assert result.exit_code == 0
    assert "continues" not in result.stderr
    result, undisturbed = stage(folder, stopped, out="undisturbed")
    assert contents(out) == contents(undisturbed)
