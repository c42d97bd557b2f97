"""The train stage: what it writes, that it writes the same twice, and its refusals."""

import csv
import json
import math
import os
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from typer.testing import CliRunner

from mlp.network import Preparation, Split
from mlp.random import SAMPLE, permutation, stream
from mlp.training import measure
from pipeline.store.arrays import load_arrays, save_arrays
from pipeline.store.artifacts import load_model, load_prepared
from stages.train import train as app
from tests.support.files import contents, save_prepared
from tests.support.networks import digits
from tests.support.project import ROOT
from tests.support.refusals import refusal

OUTPUTS = ["history.csv", "mlp.npz", "train.json", "validation.json"]
COLUMNS = ["epoch", "iteration", "loss", "train_accuracy", "validation_loss", "validation_accuracy", "kept"]


@pytest.fixture
def prepared(tmp_path):
    """A folder with 500 images to train on and 100 to watch training with."""
    images, labels = digits("train")
    save_prepared(tmp_path / "train.npz", images[:500], labels[:500])
    save_prepared(tmp_path / "validation.npz", images[500:], labels[500:])
    return tmp_path


@pytest.fixture
def train(prepared, write_params):
    """A function that runs the stage with some parameters and returns its result and the folder it writes into."""

    def run(out="out", **knobs):
        knobs = {"iterations": 25, "learning_rate": 1.0} | knobs
        params = write_params({f"train.{key}": value for key, value in knobs.items()})
        folder = prepared / out
        files = [prepared / "train.npz", prepared / "validation.npz"]
        files += [folder / "mlp.npz", folder]
        return CliRunner().invoke(app, [*map(str, files), "--params", str(params)]), folder

    return run


@pytest.mark.parametrize("arithmetic", ["exact", "float32"])
def test_what_is_written(train, prepared, arithmetic):
    result, out = train(arithmetic=arithmetic, hidden_sizes=[20, 15], activation="tanh", weight_init_std=0.1)
    assert result.exit_code == 0, result.output
    assert result.output == ""
    assert sorted(contents(out)) == OUTPUTS

    network = load_model(out / "mlp.npz")
    assert [W.shape for W in network.weights] == [(784, 20), (20, 15), (15, 10)]
    assert (network.activation.name, network.arithmetic.name) == ("tanh", arithmetic)
    assert network.preparation == Preparation(0.0, 1 / 255, (28, 28), tuple("0123456789"))

    with (out / "history.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == COLUMNS
    history = [dict(zip(COLUMNS, map(float, row), strict=True)) for row in rows[1:]]
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5]  # of 5 batches of 100 images
    assert [row["iteration"] for row in history] == [5, 10, 15, 20, 25]

    last = history[-1]
    splits = {name: load_prepared(prepared / f"{name}.npz").split for name in ("train", "validation")}
    on_all, unseen = (measure(network, split) for split in splits.values())
    for name, score in ("train", on_all), ("validation", unseen):
        assert json.loads((out / f"{name}.json").read_text()) == {"accuracy": score.accuracy, "loss": score.loss}
    assert (last["validation_accuracy"], last["validation_loss"]) == (unseen.accuracy, unseen.loss)
    # After each epoch, on as many training images as there are validation images: always the same
    images, labels = splits["train"]
    sample = permutation(stream(0, SAMPLE), 500)[:100]
    assert last["train_accuracy"] == measure(network, Split(images[sample], labels[sample])).accuracy
    assert math.isfinite(on_all.loss)


def test_files_have_the_same_bytes_twice_and_line_ends_of_unix(train):
    """Two processes share the work, and neither which of them is quicker nor anything else of a run decides a byte."""
    first, second = contents(train("one")[1]), contents(train("two")[1])
    assert first == second
    assert b"\r" not in first["train.json"] + first["history.csv"]
    assert first["history.csv"].endswith(b"\n")


def test_history_of_many_epochs_is_thinned_and_ends_with_the_last(train):
    result, out = train(hidden_sizes=[], batch_size=250, iterations=1003)  # two steps an epoch, and one more
    assert result.exit_code == 0, result.output
    with (out / "history.csv").open(newline="") as file:
        _, *rows = csv.reader(file)
    assert [int(epoch) for epoch, *_ in rows] == list(range(2, 503, 2))
    assert [int(iteration) for _, iteration, *_ in rows] == [*range(4, 1001, 4), 1003]


def test_network_that_is_no_better_than_guessing_says_so_and_is_written(train):
    result, out = train(learning_rate=0.001)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr.startswith("note: the network is hardly better than guessing (validation accuracy 0.")
    assert "train.learning_rate (now 0.001)" in result.stderr
    assert result.stderr.count("\n") == 1
    assert sorted(contents(out)) == OUTPUTS
    assert train(learning_rate=0.5, activation="relu", weight_init_std="he", iterations=50)[0].output == ""


def test_best_network_is_kept_and_marked_and_training_stops_early(train, prepared):
    knobs = {"activation": "relu", "weight_init_std": "he", "iterations": 500, "patience": 3}
    result, out = train(keep="best", **knobs)
    assert result.exit_code == 0, result.output
    with (out / "history.csv").open(newline="") as file:
        rows = [row | {"epoch": int(row["epoch"])} for row in csv.DictReader(file)]
    accuracies = [(float(row["validation_accuracy"]), -float(row["validation_loss"])) for row in rows]
    best = max(range(len(rows)), key=accuracies.__getitem__)
    assert [row["epoch"] for row in rows if row["kept"] == "1"] == [best + 1]
    assert rows[-1]["epoch"] == best + 4 < 100  # of at most 100 epochs
    stopped = f"Training stopped after epoch {best + 4}: 3 epochs without a better one. The network of epoch"
    assert result.output == f"{stopped} {best + 1} is kept.\n"
    score = measure(load_model(out / "mlp.npz"), load_prepared(prepared / "validation.npz").split)
    assert json.loads((out / "validation.json").read_text()) == score._asdict()
    assert score.accuracy == accuracies[best][0]

    result, last = train("last", keep="last", **knobs)
    assert result.output == f"{stopped} {best + 4} is kept.\n"
    assert (last / "mlp.npz").read_bytes() != (out / "mlp.npz").read_bytes()
    score = measure(load_model(last / "mlp.npz"), load_prepared(prepared / "validation.npz").split)
    assert (score.accuracy, -score.loss) == accuracies[-1]


@pytest.mark.parametrize(
    "knob",
    [
        {"hidden_sizes": [30]},
        {"hidden_sizes": []},
        {"activation": "relu"},
        {"activation": "tanh"},
        {"iterations": 26},
        {"batch_size": 50},
        {"learning_rate": 0.9},
        {"weight_init_std": 0.02},
        {"arithmetic": "float32"},
        {"seed": 1},
        {"weight_init_std": "glorot"},
        {"weight_init_std": "he"},
        {"optimizer": "adam"},
        {"schedule": "linear"},
        {"schedule": "cosine"},
        {"warmup": 5},
        {"momentum": 0.5},
        {"weight_decay": 0.1},
        {"max_norm": 0.1},
        {"input_dropout": 0.2},
        {"hidden_dropout": 0.2},
    ],
    ids=str,
)
def test_every_parameter_acts(train, knob):
    default, changed = train("one")[1], train("two", **knob)[1]
    assert (default / "mlp.npz").read_bytes() != (changed / "mlp.npz").read_bytes()
    assert (default / "history.csv").read_bytes() != (changed / "history.csv").read_bytes()


def test_batch_of_all_images_is_taken_and_of_one_more_refused(train):
    assert train(batch_size=500, iterations=2)[0].exit_code == 0
    result, out = train("other", batch_size=501)
    refusal(result, "params.yaml", "train.batch_size", "501", "500")
    assert not out.exists()


@pytest.mark.parametrize("knobs", [{"momentum": 0}, {"momentum": 0.9, "optimizer": "adam"}])
def test_nesterov_without_momentum_of_sgd_is_refused(train, knobs):
    result, out = train(nesterov=True, **knobs)
    refusal(result, "params.yaml", "train.nesterov", "sgd", "train.momentum")
    assert not out.exists()


def test_warmup_longer_than_the_training_is_refused(train):
    assert train(warmup=25)[0].exit_code == 0
    result, out = train("other", warmup=26)
    refusal(result, "params.yaml", "train.warmup", "26", "25")
    assert not out.exists()


def test_divergence_names_the_weight_decay_too(train):
    refusal(train(weight_decay=1e200)[0], "train.learning_rate", "train.weight_decay (now 1e+200)")
    assert "weight_decay" not in train(learning_rate=1e200)[0].stderr


def test_images_too_large_for_distortions_are_refused(train, prepared, write_params):
    for name in ("train", "validation"):
        labels = np.eye(10, dtype=np.uint8)
        shape = np.array([1, 12_000], np.int64)
        save_prepared(prepared / f"{name}.npz", np.zeros((10, 12_000), np.uint8), labels, image_shape=shape)
    params = write_params({"distort.shift": 1, "train.batch_size": 5, "train.iterations": 2})
    out = prepared / "out"
    files = [prepared / "train.npz", prepared / "validation.npz", out / "mlp.npz", out]
    refusal(CliRunner().invoke(app, [*map(str, files), "--params", str(params)]), "1 × 12000 pixels", "distort")
    assert not out.exists()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("knobs", "step"),
    [
        ({"arithmetic": "exact", "learning_rate": 1e300}, 2),
        ({"arithmetic": "exact", "learning_rate": 1e30, "activation": "relu"}, None),
        ({"arithmetic": "float32", "learning_rate": 1e38}, None),
        ({"arithmetic": "float32", "learning_rate": 1e300}, None),
        ({"arithmetic": "exact", "weight_init_std": 1e200}, 1),
        ({"arithmetic": "exact", "weight_init_std": 1e308}, 1),
        ({"arithmetic": "float32", "weight_init_std": 1e40}, 1),
    ],
    ids=str,
)
def test_divergence_is_one_sentence_and_leaves_the_old_model(train, knobs, step):
    assert train()[0].exit_code == 0
    result, out = train(iterations=100)
    before = contents(out)
    result, _ = train(**knobs)
    refusal(result, "params.yaml", "train.learning_rate", "train.weight_init_std", f"step {step}" if step else "step")
    assert contents(out) == before


def test_divergence_writes_nothing(train):
    result, out = train(learning_rate=1e300)
    refusal(result, "params.yaml", "train.learning_rate", "1e+300")
    assert not out.exists()


def test_loss_that_is_not_finite_at_the_very_end_writes_nothing(train, prepared, monkeypatch):
    def overflow(*_):
        raise FloatingPointError("the loss is not finite")

    monkeypatch.setattr("mlp.training.measure", overflow)
    result, out = train()
    refusal(result, prepared / "train.npz", "loss", "train.learning_rate")
    assert not out.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="there is a second process on Linux alone")
def test_error_in_the_second_process_is_told(train, monkeypatch):
    def multiply(self, part, exponent):
        if part == 1:  # the second process's
            raise MemoryError("too little")

    monkeypatch.setattr("mlp.team.available_processes", lambda: 2)
    monkeypatch.setattr("mlp.parallel.DividedStep.multiply", multiply)
    result, out = train()
    refusal(result, "", "second process", "MemoryError: too little")
    assert not out.exists()


@pytest.mark.parametrize("name", ["train", "validation"])
def test_missing_or_damaged_images(train, prepared, name):
    path = prepared / f"{name}.npz"
    content = path.read_bytes()
    for damage in (None, b"", content[:-100], b"<!DOCTYPE html>"):
        path.unlink()
        if damage is not None:
            path.write_bytes(damage)
        result, out = train()
        refusal(result, path)
        assert not out.exists()
        path.write_bytes(content)


@pytest.mark.parametrize(
    "change",
    [
        {"shift": np.float64(33.5)},
        {"scale": np.float64(1.0)},
        {"image_shape": np.array([56, 14], np.int64)},
        {"classes": np.array(list("abcdefghij"))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_images_of_two_preparations_are_refused(train, prepared, change):
    arrays = load_arrays(prepared / "validation.npz")
    save_arrays(prepared / "validation.npz", **(arrays | change))
    result, out = train()
    refusal(result, prepared / "train.npz", "`dvc repro`")
    refusal(result, prepared / "validation.npz")
    assert not out.exists()


def test_bad_parameter_is_named(train):
    refusal(train(learning_rate=0)[0], "params.yaml", "train.learning_rate", "0")
    refusal(train(activation="softplus")[0], "params.yaml", "train.activation", "softplus")


def test_a_parameter_on_the_command_line_counts_as_one_in_the_file(train, prepared, write_params):
    result, out = train(seed=3, hidden_sizes=[7])
    assert result.exit_code == 0, result.output
    params = write_params({"train.iterations": 25, "train.learning_rate": 1.0})
    again = prepared / "again"
    files = [prepared / "train.npz", prepared / "validation.npz", again / "mlp.npz", again]
    words = [*map(str, files), "--params", str(params), "-S", "train.seed=3", "--set-param", "train.hidden_sizes=[7]"]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert contents(again) == contents(out)
    refusal(CliRunner().invoke(app, [*words, "-S", "train.seed=-3"]), '-S is "train.seed=-3": train.seed is -3')


def test_help_tells_of_every_file():
    result = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for word in ["data/prepared/train.npz", "models/mlp.npz", "models/training", "history.csv", "--params", "-S"]:
        assert word in result.output


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of Unix closes it")
def test_standard_error_closed_changes_nothing(prepared, write_params):
    params = write_params({"train.iterations": 25})
    files = ["train.npz", "validation.npz", "out/mlp.npz", "out"]
    command = [sys.executable, "-m", "stages.train", *(str(prepared / file) for file in files), "--params", str(params)]
    done = subprocess.run(["sh", "-c", 'exec "$@" 2>&-', "sh", *command], cwd=ROOT, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"")
    assert sorted(contents(prepared / "out")) == OUTPUTS


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere one process trains, with all threads")
def test_the_blas_has_one_thread(prepared, write_params):
    """Each of the two processes has a processor. More threads would wait for each other."""
    params = write_params({"train.iterations": 5})
    arguments = [*(str(prepared / file) for file in ("train.npz", "validation.npz", "out/mlp.npz", "out"))]
    code = "import os; from stages.train import train as app\n"
    code += f"app({[*arguments, '--params', str(params)]}, standalone_mode=False)\n"
    code += "print(*(value for name, value in os.environ.items() if name.endswith('_NUM_THREADS')))"
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("1 1 1 1\n", 0), done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="there is a second process on Linux alone")
def test_second_process_killed_is_one_sentence_and_writes_nothing(prepared, write_params):
    params = write_params({"train.iterations": 10**8})
    files = ["train.npz", "validation.npz", "out/mlp.npz", "out"]
    command = [sys.executable, "-m", "stages.train", *(str(prepared / file) for file in files), "--params", str(params)]
    # Where there is one processor, the stage has no second process
    two = "import os, runpy\n"
    two += "os.sched_getaffinity = lambda _: {0, 1}; runpy.run_module('stages.train', run_name='__main__')"
    command[1:3] = ["-c", two]
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    stage = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    while stage.poll() is None and not (second := psutil.Process(stage.pid).children()):
        time.sleep(0.1)
    threads = psutil.Process(stage.pid).num_threads()
    second[0].kill()
    try:
        sentence = stage.communicate(timeout=120)[1]
    finally:
        stage.kill()
    assert threads == 1  # of the BLAS; more would wait for each other
    assert stage.returncode == 1
    assert sentence.startswith("error: training's second process ended early")
    assert sentence.count("\n") == 1
    assert not (prepared / "out").exists()
