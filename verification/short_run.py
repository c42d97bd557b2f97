"""Run the pipeline in short on the tests' sample of real digits, and print a hash of all the files that it writes.

    python -m verification.short_run exact [processes]

It needs NumPy and nothing else, so that it runs wherever NumPy does.
"""

import gzip
import hashlib
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlp.arithmetic import ARITHMETICS
from mlp.layers import ACTIVATIONS, softmax
from mlp.network import Split, init_network, logits
from mlp.optimizers import GradientDescent
from mlp.parallel import available_processes
from mlp.training import State, measure, train
from pipeline.arrays import Blocks, save_arrays
from pipeline.artifacts import Misclassified, load_model, load_prepared, save_misclassified, save_model
from pipeline.files import write_json
from pipeline.idx import read_images, read_labels
from pipeline.one_hot import one_hot
from pipeline.report import classification_report
from pipeline.scaling import scaling_of
from pipeline.tables import EpochRow, write_confusion, write_history

SAMPLE = Path(__file__).parent.parent / "tests" / "sample"
CLASSES = tuple("0123456789")
BATCH_SIZE = 50
KEPT = 400  # images to train on; the others are for validation, and for testing


class Run(NamedTuple):
    """The parameters of a short run."""

    activation: str
    hidden_sizes: tuple[int, ...]
    scaling: str
    learning_rate: float
    steps: int


# Together they use every function of the network
RUNS = [
    Run("sigmoid", (50,), "minmax", 0.5, 60),
    Run("tanh", (40, 30), "zscore", 0.1, 30),
    Run("relu", (2100,), "minmax", 0.01, 6),  # sums of more than 2,048 terms
]


def write_prepared(folder: Path, scaling: str) -> None:
    """Write what the preprocess stage writes."""
    files = [folder / "images", folder / "labels"]
    for path, packed in zip(files, ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"), strict=True):
        path.write_bytes(gzip.decompress((SAMPLE / packed).read_bytes()))
    images, labels = read_images(files[0]), read_labels(files[1], len(CLASSES))
    everything = np.arange(len(images))
    shift, scale = scaling_of(images.blocks(everything[:KEPT]), scaling)
    for name, rows in ("train", everything[:KEPT]), ("validation", everything[KEPT:]):
        save_arrays(
            folder / f"{name}.npz",
            images=Blocks((len(rows), 784), images.dtype, images.blocks(rows)),
            labels=one_hot(labels[rows], len(CLASSES)),
            shift=np.float64(shift),
            scale=np.float64(scale),
            image_shape=np.array(images.shape[1:], np.int64),
            classes=np.array(CLASSES),
        )


def write_trained(folder: Path, run: Run, arithmetic: str, processes: int) -> None:
    """Write what the train stage writes."""
    training, validation = (load_prepared(folder / f"{name}.npz") for name in ("train", "validation"))
    activation, A = ACTIVATIONS[run.activation], ARITHMETICS[arithmetic]
    network = init_network(run.hidden_sizes, activation, 0.05, A, training.preparation, 2026)
    state = State(network, GradientDescent(run.learning_rate))
    watched = [training.split, validation.split]
    rows = [
        EpochRow(epoch, iteration, loss, seen.accuracy, *unseen)
        for epoch, iteration, loss, (seen, unseen) in train(
            state, training.split, run.steps, BATCH_SIZE, 2026, watched, processes
        )
    ]
    save_model(folder / "mlp.npz", network)
    write_history(folder / "history.csv", rows)
    write_json(folder / "train.json", rows[-1]._asdict())


def write_tested(folder: Path) -> None:
    """Write what the evaluate stage writes."""
    network, (images, labels) = load_model(folder / "mlp.npz"), load_prepared(folder / "validation.npz").split
    z = logits(network, images)
    actual, predicted = labels.argmax(axis=1), z.argmax(axis=1)
    wrong = np.flatnonzero(actual != predicted)
    probability = softmax(network.arithmetic, z)[0][wrong, predicted[wrong]].astype(np.float64)
    write_json(folder / "test.json", measure(network, Split(images, labels))._asdict())
    write_json(folder / "classes.json", classification_report(actual, predicted, len(CLASSES)))
    write_confusion(folder / "confusion.csv", CLASSES, actual, predicted)
    mistakes = (images[wrong], actual[wrong], predicted[wrong], probability, wrong, (28, 28), CLASSES)
    save_misclassified(folder / "misclassified.npz", Misclassified(*mistakes))


def hash_of(folder: Path) -> str:
    """Return the SHA-256 of the names and the bytes of all files in a folder and below, in hexadecimal."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def write_run(folder: Path, run: Run, arithmetic: str, processes: int) -> None:
    """Write the files of a short run."""
    folder.mkdir()
    write_prepared(folder, run.scaling)
    write_trained(folder, run, arithmetic, processes)
    write_tested(folder)


def short_runs(arithmetic: str, processes: int) -> str:
    """Return the hash of the files of all `RUNS`."""
    with tempfile.TemporaryDirectory() as folder:
        for number, run in enumerate(RUNS):
            write_run(Path(folder, str(number)), run, arithmetic, processes)
        return hash_of(Path(folder))


if __name__ == "__main__":
    arithmetic, *processes = sys.argv[1:]
    print(short_runs(arithmetic, int(processes[0]) if processes else available_processes()))
