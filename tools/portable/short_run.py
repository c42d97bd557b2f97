"""Run the pipeline in short on the tests' sample of real digits, and print a hash of all files, for each arithmetic.

    PYTHONPATH=. python tools/portable/short_run.py [processes]

It prints JSON, with facts about the machine. It needs NumPy and nothing else, so it runs wherever NumPy does.
"""

import gzip
import hashlib
import json
import platform
import re
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlp.arithmetic import ARITHMETICS
from mlp.distortions import Distortion, Strength
from mlp.layers import ACTIVATIONS
from mlp.network import Preparation, init_network
from mlp.optimizers import SGD, Adam, Optimizer, Schedule
from mlp.regularization import Dropout
from mlp.team import available_processes
from mlp.training import Method, kept, measure, new_state, train
from pipeline.evaluation.evaluation import evaluate, save_evaluation
from pipeline.images.hold_out import hold_out
from pipeline.images.idx import read_labelled
from pipeline.images.one_hot import one_hot
from pipeline.images.scaling import scaling_of
from pipeline.program.files import write_json
from pipeline.store.artifacts import load_model, load_prepared, save_model, save_prepared
from pipeline.store.tables import EpochRow, write_history

SAMPLE = Path(__file__).parents[2] / "tests" / "sample"
CLASSES = tuple("0123456789")
BATCH_SIZE = 50
HELD_OUT = 200  # images for validation, and for testing; the other 400 are to train on

BLAS = re.compile(r"/(lib(?:scipy_|flexi)?(?:openblas|blas|blis|mkl_rt)[^/\n]*)$", re.MULTILINE)


class Run(NamedTuple):
    """The parameters of a short run."""

    activation: str
    hidden_sizes: tuple[int, ...]
    scaling: str
    std: float | str
    method: Method


def method(steps: int, schedule: Schedule, rule: SGD | Adam, decay: float = 0.0, bound: float = 0.0) -> Method:
    """Return a method for the batches of all runs."""
    return Method(steps, BATCH_SIZE, 2026, Optimizer(schedule._replace(steps=steps), rule, decay, bound))


PLAIN = method(60, Schedule(0.5), SGD())
DISTORTION = Distortion((28, 28), Strength(15.0, 10.0, 15.0, 1.0, elastic=1.0, smoothness=5.0))

# Together they use every function of the network
RUNS = [
    Run("sigmoid", (50,), "minmax", 0.05, PLAIN),
    Run("sigmoid", (50,), "minmax", 0.05, PLAIN._replace(distortion=DISTORTION)),
    Run(
        "tanh",
        (40, 30),
        "zscore",
        "glorot",
        method(60, Schedule(0.01, "cosine", warmup=5), Adam(), decay=0.1)._replace(patience=1, keep_best=True),
    ),
    Run(  # with sums of more than 2,048 terms
        "relu",
        (2100,),
        "minmax",
        "he",
        method(6, Schedule(0.01, "linear"), SGD(0.9, nesterov=True), bound=1.5)._replace(dropout=Dropout(0.2, 0.5)),
    ),
]


def write_prepared(folder: Path, scaling: str) -> None:
    """Write what the preprocess stage writes."""
    images_path, labels_path = folder / "images", folder / "labels"
    for path, kind in (images_path, "images-idx3"), (labels_path, "labels-idx1"):
        path.write_bytes(gzip.decompress((SAMPLE / f"train-{kind}-ubyte.gz").read_bytes()))
    images, labels = read_labelled(images_path, labels_path, len(CLASSES))
    kept, held_out = hold_out(len(images), HELD_OUT, 2026)
    _, height, width = images.shape
    preparation = Preparation(*scaling_of(images.blocks(kept), scaling), (height, width), CLASSES)
    for name, rows in ("train", kept), ("validation", held_out):
        save_prepared(folder / f"{name}.npz", images, rows, one_hot(labels[rows], len(CLASSES)), preparation)


def write_trained(folder: Path, run: Run, arithmetic: str, processes: int) -> None:
    """Write what the train stage writes."""
    training, validation = (load_prepared(folder / f"{name}.npz") for name in ("train", "validation"))
    activation, A = ACTIVATIONS[run.activation], ARITHMETICS[arithmetic]
    network = init_network(run.hidden_sizes, activation, run.std, A, training.preparation, 2026)
    state = new_state(network, run.method)
    watched = [training.split, validation.split]
    rows = [
        EpochRow(epoch, iteration, loss, seen.accuracy, *unseen)
        for epoch, iteration, loss, (seen, unseen) in train(state, training.split, run.method, watched, processes)
    ]
    network = kept(state, run.method)
    save_model(folder / "mlp.npz", network)
    write_history(folder / "history.csv", rows)
    write_json(folder / "train.json", measure(network, training.split, processes)._asdict())


def write_tested(folder: Path) -> None:
    """Write what the evaluate stage writes."""
    network, test = load_model(folder / "mlp.npz"), load_prepared(folder / "validation.npz").split
    save_evaluation(folder, evaluate([network], test))


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


# Facts about the machine


def describe() -> dict[str, str]:
    """Return the facts under the names that they have in the table."""
    return {
        "processor": processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": blas(),
    }


def processor() -> str:
    """Return the processor's name, or its architecture where the system tells no name."""
    try:
        names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:  # not Linux
        names = []
    return (names or [platform.processor() or platform.machine()])[0]


def blas() -> str:
    """Return the file name of the BLAS in this process's memory: "libmkl_rt.so.3".

    Several names are joined with " + ". A system that lists no memory gives the name that NumPy was built with.
    """
    try:
        loaded = set(BLAS.findall(Path("/proc/self/maps").read_text()))
    except OSError:  # not Linux
        loaded = set()
    return " + ".join(sorted(loaded)) or np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]


if __name__ == "__main__":
    processes = int(sys.argv[1]) if len(sys.argv) > 1 else available_processes()
    hashes = {arithmetic: short_runs(arithmetic, processes) for arithmetic in ARITHMETICS}
    print(json.dumps(describe() | hashes))  # after the runs, so that every library is loaded
