"""The train stage: what it writes, that it writes the same twice, and its refusals."""

import csv
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from mlp.optimizers import SGD, Optimizer, Schedule
from mlp.prediction import measure, predict
from mlp.protocol import Split
from mlp.random import SAMPLE, permutation, stream
from mlp.regularization import Dropout
from mlp.training import Method
from pipeline.fitting.fit import method_of
from pipeline.fitting.processes import PROCESSES, processes_for
from pipeline.settings.params import load_params
from pipeline.store.artifacts import load_model, load_prepared
from tests.support.files import save_prepared
from tests.support.flow import arguments, by_name, is_beginning, refused, run_stage
from tests.support.networks import MINMAX, digits, new_network
from tests.support.project import PLAIN, ROOT
from tests.support.refusals import refusal

MODEL = Path("models/mlp.npz")
TRAIN, VALIDATION = Path("data/prepared/train.npz"), Path("data/prepared/validation.npz")
OUTPUTS = ["history.csv", "mlp.npz", "train.json", "validation.json"]


@pytest.fixture
def train(tmp_path, monkeypatch, write_params):
    """A function that runs the stage on 500 images with 100 to watch; it returns the result."""
    monkeypatch.chdir(tmp_path)
    images, labels = digits("train")
    save_prepared(TRAIN, images[:500], labels[:500])
    save_prepared(VALIDATION, images[500:], labels[500:])

    def run(*options: str, **changes):
        sections = {key: "distort" if f"distort.{key}" in PLAIN else "train" for key in changes}
        write_params(PLAIN | {f"{sections[key]}.{key}": value for key, value in changes.items()})
        return run_stage("train", *options)

    return run


def history() -> list[dict[str, str]]:
    return list(csv.DictReader(by_name("train")["history.csv"].decode().splitlines()))


@pytest.mark.parametrize("arithmetic", ["exact", "float32"])
def test_what_is_written(train, arithmetic):
    """Twice the same: two processes share the work. Lines end as on Unix."""
    changes = {"hidden_sizes": [20, 15], "activation": "tanh", "weight_init_std": 0.1}
    changes |= {"arithmetic": arithmetic}
    result = train(**changes)
    assert (result.exit_code, result.output) == (0, "")
    made = by_name("train")
    assert sorted(made) == OUTPUTS
    for content in [made[name] for name in OUTPUTS if name != "mlp.npz"]:
        assert b"\r" not in content
        assert content.endswith(b"\n")

    network = load_model(MODEL)
    assert [W.shape for W in network.weights] == [(784, 20), (20, 15), (15, 10)]
    assert (network.activation.name, network.arithmetic.name) == ("tanh", arithmetic)
    assert network.preparation == MINMAX

    rows = history()
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5]
    assert [int(row["iteration"]) for row in rows] == [5, 10, 15, 20, 25]
    assert [row["kept"] for row in rows] == [*"00001"]
    assert len({row["state"] for row in rows}) == (5 if arithmetic == "exact" else 1)
    last = {column: float(value) for column, value in rows[-1].items() if column != "state"}
    splits = {path: load_prepared(path).split for path in (TRAIN, VALIDATION)}
    on_all, unseen = (measure(network, split) for split in splits.values())
    for name, score in ("train.json", on_all), ("validation.json", unseen):
        shown = json.loads(made[name])
        assert (shown["accuracy"], shown["loss"]) == (score.accuracy, score.loss)
    images, labels = splits[VALIDATION]
    actual, predicted = labels.argmax(axis=1), predict(network, images)[0].argmax(axis=1)
    right = [2 * ((actual == k) & (predicted == k)).sum() for k in range(10)]
    counted = [(actual == k).sum() + (predicted == k).sum() for k in range(10)]
    assert shown["macro_f1"] == pytest.approx(np.mean(np.divide(right, counted)))
    assert (last["validation_accuracy"], last["validation_loss"]) == (unseen.accuracy, unseen.loss)
    # After each epoch, on as many training images as there are validation images: always the same
    images, labels = splits[TRAIN]
    sample = permutation(stream(0, SAMPLE), 500)[:100]
    on_sample = measure(network, Split(images[sample], labels[sample]))
    assert last["train_accuracy"] == on_sample.accuracy

    train(**changes)
    assert by_name("train") == made


def test_history_is_a_whole_table_that_grows_every_two_seconds(train, monkeypatch):
    """Nothing else is written before the end. The progress bar gets the same numbers."""
    seen, told = [], []

    def watched(epochs, _, total, done, described):
        assert (total, done) == (5, 0)
        for epoch in epochs:
            yield epoch
            seen.append(by_name("train"))
            told.append(described(epoch))

    monkeypatch.setattr("stages.train.progress", watched)
    clock = types.SimpleNamespace(monotonic=lambda: 100.0 + len(seen))  # an epoch takes a second
    monkeypatch.setattr("stages.train.time", clock)
    assert train(iterations=23).exit_code == 0  # the last epoch is not a whole one
    whole = by_name("train")["history.csv"]
    assert all(list(made) == ["history.csv"] for made in seen)
    assert all(is_beginning(made["history.csv"], whole) for made in seen)
    assert [made["history.csv"].count(b"\n") - 1 for made in seen] == [1, 1, 3, 3, 5]
    assert told == [
        f"epoch {row['epoch']} of 5, loss {float(row['loss']):.4f}, "
        f"validation accuracy {float(row['validation_accuracy']):.4f}"
        for row in history()
    ]


def test_network_that_is_no_better_than_guessing_says_so_and_is_written(train):
    result = train(learning_rate=0.001)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("note: ")
    assert "train.learning_rate (now 0.001)" in result.stderr
    assert result.stderr.count("\n") == 1
    assert sorted(by_name("train")) == OUTPUTS
    # 0.27 of the validation images are right: more than twice what guessing gets
    assert train().output == ""


def test_best_network_is_kept_and_marked_and_training_stops_early(train):
    result = train(keep="best", activation="relu", weight_init_std="he", iterations=500, patience=3)
    rows = history()
    validation = [(row["validation_accuracy"], row["validation_loss"]) for row in rows]
    accuracies = [(float(accuracy), -float(loss)) for accuracy, loss in validation]
    best = accuracies.index(max(accuracies)) + 1
    assert [int(row["epoch"]) for row in rows if row["kept"] == "1"] == [best]
    assert len(rows) == best + 3 < 100  # of at most 100 epochs
    assert f" {best + 3}: 3 epochs " in result.output
    assert f" epoch {best} is kept." in result.output

    score = measure(load_model(MODEL), load_prepared(VALIDATION).split)
    assert (score.accuracy, -score.loss) == accuracies[best - 1] != accuracies[-1]
    assert score._asdict().items() <= json.loads(by_name("train")["validation.json"]).items()


def test_a_mini_batch_has_at_most_all_images(train):
    refused("train", train(batch_size=501), "params.yaml", "train.batch_size", "501", "500")
    assert train(batch_size=500, iterations=2).exit_code == 0


def test_of_two_classes_half_are_guessed_so_four_fifths_are_better(train):
    images, labels = digits("train")
    halves = np.eye(2, dtype=np.uint8)[labels.argmax(axis=1) // 5]
    for path, part in ((TRAIN, slice(500)), (VALIDATION, slice(500, None))):
        save_prepared(path, images[part], halves[part], classes=("low", "high"))
    assert "guessing" in train(learning_rate=0.1).stderr
    assert train(iterations=200, weight_init_std="glorot").output == ""
    assert 0.75 < json.loads(by_name("train")["validation.json"])["accuracy"] < 1


def test_a_network_that_learnt_by_heart_is_not_called_a_guess(train):
    images, labels = digits("train")
    save_prepared(VALIDATION, images[500:], np.roll(labels[500:], 1, axis=1))
    assert train().output == ""
    assert json.loads(by_name("train")["validation.json"])["accuracy"] < 0.1


def test_each_parameter_has_its_place_in_the_method(write_params):
    whole = {"iterations": 70, "batch_size": 30, "seed": 5, "warmup": 7, "patience": 4}
    shares = {"momentum": 0.9, "weight_decay": 0.02, "max_norm": 3}
    shares |= {"input_dropout": 0.2, "hidden_dropout": 0.4, "label_smoothing": 0.3}
    values = whole | shares | {"learning_rate": 0.3, "schedule": "cosine", "nesterov": True}
    params = PLAIN | {f"train.{key}": value for key, value in values.items()}
    optimizer = Optimizer(Schedule(0.3, "cosine", 7, 70), SGD(0.9, True), 0.02, 3)
    numbers = {"iterations": 70, "batch_size": 30, "seed": 5, "patience": 4}
    numbers |= {"label_smoothing": 0.3}
    expected = Method(**numbers, optimizer=optimizer, dropout=Dropout(0.2, 0.4))
    assert method_of(load_params(write_params(params)), (28, 28)) == expected


# Training that fails


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({"learning_rate": 1e300}, "step 2"),
        ({"weight_decay": 1e20}, "train.weight_decay (now 1e+20)"),  # in the second epoch
        ({"arithmetic": "float32", "weight_init_std": 1e40}, "step 1"),
    ],
    ids=str,
)
def test_divergence_is_one_sentence_and_leaves_the_old_files_and_no_checkpoint(
    train, monkeypatch, changes, step
):
    """A checkpoint would lead there again."""
    train()
    before = by_name("train")
    monkeypatch.setenv("TRAIN_CHECKPOINTS", "checkpoints")
    monkeypatch.setattr("pipeline.fitting.checkpoint.INTERVAL", 0.0)
    Path("checkpoints").mkdir()
    keys = "train.learning_rate", "train.weight_init_std"
    sentence = refusal(train(**changes), "params.yaml", *keys)
    assert step in sentence
    assert ("weight_decay" in sentence) == ("weight_decay" in changes)
    # Which grows in the first epoch
    assert by_name("train") | {"history.csv": b""} == before | {"history.csv": b""}
    assert list(Path("checkpoints").iterdir()) == []


def test_loss_that_is_not_finite_and_a_process_that_ends_are_sentences(train, monkeypatch):
    def fail(error: Exception) -> None:
        raise error

    with monkeypatch.context() as patch:
        loop = "mlp.divided.training.Team.run", lambda *_: fail(ChildProcessError("ended early"))
        patch.setattr(*loop)
        patch.setenv(PROCESSES, "2")
        refused("train", train(), "", "processes", "ended early")
    monkeypatch.setattr("pipeline.fitting.fit.measure", lambda *_: fail(FloatingPointError()))
    refusal(train(), "params.yaml", "loss", "train.learning_rate")
    assert list(by_name("train")) == ["history.csv"]


@pytest.mark.parametrize(
    ("cores", "sizes", "batch", "arithmetic", "said", "processes"),
    [
        (1, [800], 100, "exact", None, 1),
        (2, [50], 100, "exact", None, 2),
        (16, [800], 100, "exact", None, 16),
        (16, [50], 100, "exact", None, 13),  # 3,970,000 products
        (16, [50], 100, "float32", None, 3),
        (16, [50], 2, "exact", None, 1),
        (2, [50], 2, "exact", "8", 8),
    ],
)
def test_as_many_processes_as_cores_and_work_allow_or_as_one_says(
    monkeypatch, cores, sizes, batch, arithmetic, said, processes
):
    monkeypatch.setattr("pipeline.fitting.processes.available_processes", lambda: cores)
    monkeypatch.setenv(PROCESSES, said) if said else monkeypatch.delenv(PROCESSES, raising=False)
    assert processes_for(new_network(arithmetic, sizes), batch) == processes


@pytest.mark.parametrize("text", ["two", "0", "-1", "65", "1.5"])
def test_number_of_processes_that_is_none_is_one_sentence(train, monkeypatch, text):
    monkeypatch.setenv(PROCESSES, text)
    refused("train", train(), "", PROCESSES, text, "from 1 to 64")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere one process has all threads")
def test_the_blas_has_one_thread(train):
    """Each of the two processes has a processor. More threads would wait for each other."""
    train(iterations=5)  # writes the parameters, too
    (ours := Path("command")).mkdir()
    (ours / "__init__.py").write_text("import stages")  # as `python -m stages.train` does first
    code = "import os; from stages.train import train\n"
    code += f"train({arguments('train')}, standalone_mode=False)\n"
    code += "print(*(os.environ[name] for name in os.environ if name.endswith('_NUM_THREADS')))\n"
    code += "print(len(os.listdir('/proc/self/task')))"
    (ours / "__main__.py").write_text(code)
    done = python("-m", "command")
    assert (done.stdout, done.returncode) == ("1 1 1 1\n1\n", 0), done.stderr


def python(*words: str) -> subprocess.CompletedProcess:
    """Run Python where no variable limits the threads of the BLAS."""
    kept = {name: text for name, text in os.environ.items() if not name.endswith("_NUM_THREADS")}
    environment = kept | {"PYTHONPATH": f".{os.pathsep}{ROOT}"}
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True)


def test_importing_the_packages_leaves_the_process_as_it_is():
    packages = [name for name in ("records", "stages", "tools") if (ROOT / name).exists()]
    code = "import os, sys; before = dict(os.environ), sys.excepthook\n"
    code += f"import {', '.join(packages)}\nprint(before == (dict(os.environ), sys.excepthook))"
    done = python("-c", code)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_images_that_are_too_large_for_distortions_are_refused(train):
    images, labels = np.zeros((10, 12_000), np.uint8), np.eye(10, dtype=np.uint8)
    for path in (TRAIN, VALIDATION):
        save_prepared(path, images, labels, image_shape=(1, 12_000))
    refused("train", train(shift=1, batch_size=5, iterations=2), "", "1 × 12000 pixels", "distort")
