"""What exactness costs the records: time and errors in float32. Writes records.md, from records.json.

python -m benchmarks.records NAME             # how long a row of the record takes, in both arithmetics
python -m benchmarks.records NAME --seeds 5   # or the errors of five float32 networks: trains those that are missing
"""

import json
import sys
import tempfile
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any

import typer

from benchmarks.machine import ROOT, describe_machine, seconds, table
from pipeline.settings.params import load_params
from pipeline.store.artifacts import load_misclassified, load_prepared
from records.ledger import RECORDS

HERE = Path(__file__).parent
EPOCHS = 1, 4  # the time of an epoch is a third of the difference


def data_of(record: str) -> Path:
    """Return the folder with the prepared data of a record."""
    dataset = load_params(ROOT / "records" / f"{record}.yaml").download.dataset
    return Path("data/prepared" if dataset == "mnist" else "records/prepared")


def time_of(record: str, folder: Path, *changes: str) -> float:
    """Train a record's network into `folder`, and return the seconds it takes."""
    data = data_of(record)
    words = [data / "train.npz", data / "validation.npz", folder / "mlp.npz", folder / "training"]
    words += ["--params", f"records/{record}.yaml", *(word for change in changes for word in ("-S", change))]
    return seconds([sys.executable, "-m", "stages.train", *map(str, words)])


def times(record: str, folder: Path) -> dict[str, float]:
    """Return how many seconds a whole training takes in each arithmetic, from a few epochs of it."""
    params = load_params(ROOT / "records" / f"{record}.yaml").train
    steps = len(load_prepared(ROOT / data_of(record) / "train.npz").split.images) // params.batch_size
    found = {}
    for arithmetic in ("exact", "float32"):
        few, many = (
            time_of(record, folder, f"train.arithmetic={arithmetic}", f"train.iterations={epochs * steps}")
            for epochs in EPOCHS
        )
        found[arithmetic] = round((many - few) / (EPOCHS[1] - EPOCHS[0]) * params.iterations / steps, 1)
    return found


def errors(record: str, seed: int, folder: Path) -> int:
    """Train a network in float32, and return how many test images it gets wrong."""
    time_of(record, folder, "train.arithmetic=float32", f"train.seed={seed}")
    words = [folder / "mlp.npz", data_of(record) / "test.npz", folder / "evaluation"]
    seconds([sys.executable, "-m", "stages.evaluate", *map(str, words)])
    return len(load_misclassified(folder / "evaluation" / "misclassified.npz").place)


def write(found: dict[str, Any]) -> None:
    """Write records.json and records.md."""
    (HERE / "records.json").write_text(json.dumps(found, indent=2) + "\n")
    rows = []
    for record in (name for name in RECORDS if name in found):
        exact, float32 = found[record]["seconds"].values()
        wrong = found[record].get("float32_errors", [])
        percent = [count / 100 for count in wrong]
        error = f"{fmean(percent):.2f} ± {stdev(percent):.2f}" if len(percent) > 1 else ""
        rows.append(
            [
                record,
                f"{exact / 60:.1f}",
                f"{float32 / 60:.1f}",
                f"{exact / float32:.2f}",
                error,
                ", ".join(map(str, wrong)),
            ]
        )
    header = ["record", "minutes, exact", "minutes, float32", "ratio", "float32's error, %", "wrong of 10,000, by seed"]
    machine = "".join(f"* {key}: {value}\n" for key, value in describe_machine().items())
    about = (
        f"Made by `python -m benchmarks.records NAME`: a time is that of one training on two cores, from "
        f"{EPOCHS[1] - EPOCHS[0]} epochs of it. `--seeds 5` makes the errors. Another machine gives others in float32."
    )
    (HERE / "records.md").write_text(
        f"# What exactness costs the records\n\n{about}\n\n{table(header, rows)}\n{machine}"
    )


def main(
    names: Annotated[list[str], typer.Argument(help="Names of records.")],
    seeds: Annotated[int, typer.Option(help="Train so many networks in float32 to the end, in place of times.")] = 0,
) -> None:
    """Measure what records cost in float32 and in exact arithmetic, or the errors in float32."""
    path = HERE / "records.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            entry = found.setdefault(name, {})
            if not seeds or "seconds" not in entry:
                entry["seconds"] = times(name, Path(folder))
                write(found)
            wrong = entry.setdefault("float32_errors", [])
            for seed in range(len(wrong), seeds):
                wrong.append(errors(name, seed, Path(folder)))
                write(found)


if __name__ == "__main__":
    typer.run(main)
