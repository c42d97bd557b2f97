"""Checkpoints: a training that was stopped ends with the bytes of an undisturbed one, and nothing else is believed."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mlp.training import Epoch, Score, new_state, train
from pipeline.fitting import checkpoint
from pipeline.fitting.checkpoint import Checkpoint, checkpoint_folder
from pipeline.fitting.method import method_of
from pipeline.settings.params import load_params
from stages.train import train as app
from tests.support.files import contents, save_prepared
from tests.support.networks import bits, digits, new_network, some_digits

EVERYTHING = {
    "train.hidden_sizes": [20],
    "train.activation": "relu",
    "train.weight_init_std": "he",
    "train.arithmetic": "exact",
    "train.seed": 0,
    "train.iterations": 43,
    "train.batch_size": 50,
    "train.optimizer": "adam",
    "train.learning_rate": 0.01,
    "train.schedule": "cosine",
    "train.warmup": 3,
    "train.momentum": 0.9,
    "train.nesterov": False,
    "train.max_norm": 2,
    "train.hidden_dropout": 0.5,
    "train.patience": 100,
    "train.keep": "best",
    "distort.rotation": 15,
    "distort.elastic": 0,
}
WATCHED = [some_digits(400, 500), some_digits(500, 600)]


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

    def new(processes=1, **changes):
        params = load_params(write_params(EVERYTHING | changes))
        return Checkpoint(params, [folder.parent / "train.npz", folder.parent / "validation.npz"], processes)

    return new


@pytest.fixture
def start(write_params):
    """A function that returns a method and a new state for EVERYTHING, with some parameters changed."""

    def start(**changes):
        params = load_params(write_params(EVERYTHING | changes))
        method = method_of(params, (28, 28))
        return method, new_state(new_network(params.train.arithmetic, (20,), "relu", "he"), method)

    return start


@pytest.fixture
def is_believed(start):
    """A function that tells whether a checkpoint is read; if it is not, the training is as new."""

    def is_believed(written) -> bool:
        _, state = start()
        before = everything_of(state)
        rows = written.load(state)
        assert rows or everything_of(state) == before
        return bool(rows)

    return is_believed


@pytest.fixture
def written(new_checkpoint, start) -> Checkpoint:
    """A checkpoint after three epochs."""
    found = new_checkpoint()
    method, state = start()
    run(method, state, [], 3, found)
    return found


def run(method, state, rows, epochs=None, saved=None):
    """Train so many more epochs, or to the end; add to the rows; save each epoch."""
    for result in train(state, some_digits(0, 400), method, WATCHED):
        rows.append(result)
        if saved:
            saved.save(state, rows)
        if epochs and result.epoch == epochs:
            break
    return rows


def everything_of(state):
    arrays = [array.tobytes() for arrays in state.memory for array in arrays]
    best = state.best.epoch, state.best.score, [array.tobytes() for array in state.best.parameters]
    return bits(state.network), arrays, state.iteration, best


# Written and read


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"train.arithmetic": "float32", "train.optimizer": "sgd", "train.keep": "last"},
        {"train.patience": 1, "train.iterations": 400, "train.learning_rate": 0.03},  # it stops early
    ],
    ids=["everything", "float32", "early"],
)
def test_training_continues_from_an_epoch_as_if_nothing_had_happened(new_checkpoint, start, changes):
    method, undisturbed = start(**changes)
    expected = run(method, undisturbed, [])
    assert 6 <= len(expected) < 40
    for stopped_after in (1, 3, len(expected)):
        written = new_checkpoint(**changes)
        _, state = start(**changes)
        run(method, state, [], stopped_after, written)
        _, continued = start(**changes)
        rows = new_checkpoint(**changes).load(continued)
        assert rows == expected[:stopped_after]
        assert everything_of(continued) == everything_of(state)
        assert run(method, continued, rows) == expected
        assert everything_of(continued) == everything_of(undisturbed)
        written.remove()


# What it belongs to


def test_other_parameters_begin_anew_but_not_those_of_other_stages(new_checkpoint, written, is_believed):
    assert is_believed(new_checkpoint(**{"plot.dpi": 61, "preprocess.seed": 5}))
    for key, value in {"train.seed": 1, "train.patience": 99, "train.keep": "last", "distort.rotation": 14}.items():
        assert not is_believed(new_checkpoint(**{key: value}))


@pytest.mark.parametrize(
    "name", ["train.npz", "validation.npz", "mlp/a.py", "pipeline/a/b.py", "stages/a.py", "mlp/c.py"]
)
def test_other_data_code_and_numpy_begin_anew(new_checkpoint, folder, tmp_path, monkeypatch, name):
    monkeypatch.setattr(checkpoint, "ROOT", tmp_path)
    for other in ("mlp/a.py", "pipeline/a/b.py", "stages/a.py", "README.md", name):
        (tmp_path / other).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / other).write_text("1\n")
    before = new_checkpoint().path
    (tmp_path / "README.md").write_text("2\n")
    assert new_checkpoint().path == before
    (tmp_path / name).write_text("2\n")
    assert new_checkpoint().path != before
    (tmp_path / name).write_text("1\n")
    assert new_checkpoint().path == before
    monkeypatch.setattr(np, "__version__", "1.0")
    assert new_checkpoint().path != before


def test_machine_and_processes_matter_for_float32_alone(new_checkpoint, monkeypatch):
    def paths(processes):
        return [new_checkpoint(processes, **{"train.arithmetic": name}).path for name in ("exact", "float32")]

    before, two = paths(1), paths(2)
    monkeypatch.setattr("platform.uname", lambda: ("another", "machine"))
    exact, float32 = zip(before, two, paths(1), strict=True)
    assert (len(set(exact)), len(set(float32))) == (1, 3)


def test_foreign_file_is_not_believed(written, is_believed):
    for content in (b"", b"x", b"PK\5\6" + bytes(18)):
        written.path.write_bytes(content)
        assert not is_believed(written)
    written.path.unlink()
    assert not is_believed(written)
    written.path.mkdir()
    assert not is_believed(written)


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


def test_without_a_folder_nothing_is_written_or_read(new_checkpoint, start, is_believed, folder, monkeypatch):
    monkeypatch.setenv(checkpoint.FOLDER, "")
    nowhere = new_checkpoint()
    run(*start(), [], 1, nowhere)
    assert not is_believed(nowhere)
    nowhere.remove()
    assert not folder.exists()


def test_an_epoch_soon_after_another_is_not_written(new_checkpoint, start, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(checkpoint, "INTERVAL", 10.0)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    written = new_checkpoint()
    _, state = start()
    for seconds, is_new in [(9.9, False), (10.0, True), (19.9, False), (20.1, True)]:
        clock[0] = seconds
        written.save(state, [Epoch(1, 1, 0.0, (Score(0.0, 0.0), Score(0.0, 0.0)))])
        assert written.path.exists() == is_new
        written.path.unlink(missing_ok=True)


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


@pytest.mark.parametrize("obstacle", ["a file in place of the folder", "a full disk", "no memory"])
def test_checkpoint_that_cannot_be_written_is_only_a_note(
    new_checkpoint, folder, start, is_believed, monkeypatch, capsys, obstacle
):
    def refuse(*_, **__):
        raise OSError(28, "No space left on device") if "disk" in obstacle else MemoryError

    if "file" in obstacle:
        folder.write_text("")
    else:
        monkeypatch.setattr(checkpoint, "save_arrays", refuse)
    written = new_checkpoint()
    assert len(run(*start(), [], 2, written)) == 2
    said = capsys.readouterr().err
    assert said.startswith("note: ")
    assert str(folder) in said
    assert ("space" in said, "memory" in said) == ("disk" in obstacle, "memory" in obstacle)
    assert said.count("\n") == 1  # once, not after each epoch
    assert not is_believed(written)
    written.remove()


# The stage


def test_stage_continues_or_begins_anew_and_ends_with_the_same_bytes(folder, write_params, monkeypatch):
    def stage(name, *options):
        out = folder.parent / name
        files = [folder.parent / "train.npz", folder.parent / "validation.npz"]
        files += [out / name for name in ("mlp.npz", "train.json", "validation.json", "history.csv")]
        result = CliRunner().invoke(app, [*map(str, files), "--params", str(params), *options])
        return result, out

    def stop(self, state, rows):
        save(self, state, rows)
        if len(rows) == 4:
            raise KeyboardInterrupt

    params = write_params(EVERYTHING)
    save = Checkpoint.save
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", stop)
        result, out = stage("stopped")
        assert result.exit_code == 130
        assert not (out / "mlp.npz").exists()
    (written,) = folder.iterdir()
    kept = shutil.copy(written, folder.parent / "kept.npz")

    def run_on(name, content, *options):
        written.write_bytes(content)
        result, out = stage(name, *options)
        assert (result.exit_code, result.stdout) == (0, "")
        assert list(folder.iterdir()) == []
        return "continues after epoch 4." in result.stderr, contents(out)

    content = bytearray(kept.read_bytes())
    continued, files = run_on("continued", content)
    assert continued
    assert run_on("fresh", content, "--fresh") == (False, files)
    content[len(content) // 2] ^= 1
    assert run_on("damaged", content) == (False, files)
