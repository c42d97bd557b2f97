"""Prepare, train and test four small networks on the tests' sample, and hash all their files.

    PYTHONPATH=. python tools/portable/short_run.py 2  # processes

It prints JSON: one hash for each arithmetic, and facts about the machine. It needs only NumPy.
"""

import gzip
import hashlib
import json
import os
import platform
import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from mlp.arithmetic import ARITHMETICS, Arithmetic
from mlp.distortions import Distortion, Strength
from mlp.network import init_network
from mlp.optimizers import SGD, Adam, Optimizer, Schedule
from mlp.protocol import Preparation
from mlp.regularization import Dropout
from mlp.training import Method
from pipeline.evaluation.evaluation import evaluate, save_evaluation
from pipeline.fitting.fit import Training
from pipeline.images.idx import read_labelled
from pipeline.images.prepare import hold_out, one_hot, scaling_of
from pipeline.program.files import write_json
from pipeline.store.artifacts import load_model, load_prepared, save_model, save_prepared
from pipeline.store.tables import write_history

SAMPLE = Path(__file__).parents[2] / "tests" / "sample"
CLASSES = tuple("0123456789")
SEED = 2026
BLAS = re.compile(r"/(lib(?:scipy_|flexi)?(?:openblas|blas|blis|mkl_rt)[^/\n]*)$", re.MULTILINE)
# Activation, hidden layers, scaling, std of the weights
Run = tuple[str, tuple[int, ...], str, float | str, Method]

PLAIN = Method(iterations=60, batch_size=50, seed=SEED, optimizer=Optimizer(Schedule(0.5)))
ADAM = Optimizer(Schedule(0.01, "cosine", warmup=5, steps=60), Adam(), weight_decay=0.1)
NESTEROV = Optimizer(Schedule(0.01, "linear", steps=6), SGD(0.9, nesterov=True), max_norm=1.5)
DISTORTION = Distortion((28, 28), Strength(15.0, 10.0, 15.0, 1.0, elastic=1.0, smoothness=5.0))
BEST = replace(PLAIN, optimizer=ADAM, patience=1, keep_best=True)
LARGE = replace(PLAIN, iterations=6, optimizer=NESTEROV, dropout=Dropout(0.2, 0.5))
# Together they use every function of mlp but RMSprop and label smoothing, which are elementwise
RUNS: list[Run] = [
    ("sigmoid", (50,), "minmax", 0.05, PLAIN),
    ("sigmoid", (50,), "minmax", 0.05, replace(PLAIN, distortion=DISTORTION)),
    ("tanh", (40, 30), "zscore", "glorot", BEST),
    ("relu", (2100,), "minmax", "he", LARGE),  # sums of over 2,048 terms
]


def short_runs(arithmetic: str, processes: int) -> str:
    """Return the hash of all files, in 16 hexadecimal digits."""
    with tempfile.TemporaryDirectory() as name:
        for number, run in enumerate(RUNS):
            write_run(Path(name, str(number)), run, ARITHMETICS[arithmetic], processes)
        return hash_of(Path(name))[:16]


def write_run(folder: Path, run: Run, A: Arithmetic, processes: int) -> None:
    """Write the files of preprocess, train and evaluate into a new folder; validate on 200."""
    activation, hidden_sizes, scaling, std, method = run
    folder.mkdir()
    for name, kind in (("images", "idx3"), ("labels", "idx1")):
        packed = (SAMPLE / f"train-{name}-{kind}-ubyte.gz").read_bytes()
        (folder / name).write_bytes(gzip.decompress(packed))
    digits, labels = read_labelled(folder / "images", folder / "labels", len(CLASSES))
    files = [folder / f"{name}.npz" for name in ("train", "validation")]
    to_train, _ = parts = hold_out(len(digits), validation_size=200, seed=SEED)
    shift, scale = scaling_of(digits[to_train], scaling)
    preparation = Preparation(shift, scale, (28, 28), CLASSES)
    labels = one_hot(labels, len(CLASSES))
    for file, part in zip(files, parts, strict=True):
        save_prepared(file, digits[part], labels[part], preparation)
    images, validation = (load_prepared(file).split for file in files)

    network = init_network(hidden_sizes, activation, std, A, preparation, SEED)
    training = Training(network, method, images, images, validation, processes)
    for _ in training.run():
        pass
    result = training.result()
    save_model(folder / "mlp.npz", result.network)
    write_history(folder / "history.csv", training.epochs)
    write_json(folder / "train.json", result.train._asdict())
    found = evaluate(load_model(folder / "mlp.npz"), validation)
    names = ("misclassified.npz", "test.json", "classes.json", "confusion.csv")
    save_evaluation(found, *(folder / name for name in names))


def hash_of(folder: Path) -> str:
    """Return the SHA-256 of all files in a folder, names and bytes, in hexadecimal."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def describe() -> dict[str, str]:
    """Return facts about the machine under the names that they have in the table."""
    try:  # Linux
        memory, cpus = Path("/proc/self/maps").read_text(), Path("/proc/cpuinfo").read_text()
    except OSError:
        memory, cpus = "", ""
    processors = re.findall(r"^model name\s*: (.+)$", cpus, re.MULTILINE)
    processors += [platform.processor() or platform.machine()]
    # A system that lists no memory gives the name of the BLAS that NumPy was built with
    built_with = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
    return {
        "processor": os.environ.get("EMULATED") or processors[0],
        "byte_order": sys.byteorder,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        # The files in this process's memory
        "blas": " + ".join(sorted(set(BLAS.findall(memory)))) or built_with,
    }


if __name__ == "__main__":
    processes = int(sys.argv[1])
    hashes = {arithmetic: short_runs(arithmetic, processes) for arithmetic in ARITHMETICS}
    print(json.dumps(describe() | hashes))  # after the runs, so that every library is loaded
