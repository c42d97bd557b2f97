"""What exactness costs the records: times, and errors in float32. Writes records/costs.json, for
the ledger.

python -m benchmarks.records NAME             # how long a row takes, in both arithmetics
python -m benchmarks.records NAME --seeds 5   # or the errors of five float32 networks; trains them

An entry of the file has `recipe`, a hash of the parameters; `seconds` of a whole training in each
arithmetic, and the `machine` that measured both; and `float32_errors`, numbers of wrong test images
by seed, from any machine.
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.machine import ROOT, available_cores, describe_machine, seconds, training
from pipeline.program.command import command
from pipeline.program.errors import UserError
from pipeline.program.files import read_json, write_json
from pipeline.settings.params import Params, load_params
from pipeline.store.artifacts import load_misclassified, load_prepared
from records.canary import recipe
from records.ledger import COSTS
from records.row import data_of as prepared
from records.row import evaluated

EPOCHS = 1, 4  # trainings of so many epochs; their difference leaves out the start


def params_of(record: str) -> Params:
    """Return the parameters of a record."""
    return load_params(ROOT / "records" / f"{record}.yaml")


def digest(params: Params) -> str:
    """Return a hash of a training's parameters, which tells measurements with others."""
    read = recipe(params) | {"download": params.download.model_dump()}
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()[:12]


def data_of(record: str) -> Path:
    """Return the folder with the prepared data of a record."""
    return prepared(params_of(record)).relative_to(ROOT)


def check_data(record: str) -> None:
    """Raise a UserError if a record's data are not prepared."""
    data = data_of(record)
    if not (ROOT / data / "test.npz").exists():
        raise UserError(f"{data}: no data; run `dvc repro prepare@{data.name}` in records/.")


def time_of(record: str, folder: Path, **changes: str | int) -> float:
    """Train a record's network into `folder`, with changes of `train`; return its seconds."""
    return seconds(training(data_of(record), folder, f"records/{record}.yaml", **changes))


def times(record: str, folder: Path) -> dict[str, float]:
    """Return the seconds of a whole training in each arithmetic, by a few epochs with seed 0."""
    params = params_of(record).train
    images = load_prepared(ROOT / data_of(record) / "train.npz").split.images
    steps = len(images) // params.batch_size
    found = {}
    for arithmetic in ("exact", "float32"):
        few, many = (
            time_of(record, folder, arithmetic=arithmetic, iterations=epochs * steps)
            for epochs in EPOCHS
        )
        of_step = (many - few) / (EPOCHS[1] - EPOCHS[0]) / steps
        found[arithmetic] = round(of_step * params.iterations, 1)
    return found


def errors(record: str, seed: int, folder: Path) -> int:
    """Train a network in float32, and return how many test images it gets wrong."""
    time_of(record, folder, arithmetic="float32", seed=seed)
    words = [folder / "mlp.npz", data_of(record) / "test.npz", *evaluated(folder)]
    seconds([sys.executable, "-m", "stages.evaluate", *map(str, words)])
    return len(load_misclassified(folder / "misclassified.npz").place)


def machine() -> str:
    """Return this machine in a line."""
    facts = describe_machine()
    python = f"{facts['system']}, Python {facts['python']}"
    return f"{available_cores()} cores of {facts['processor']}, {python}"


def entry_of(name: str) -> dict[str, Any]:
    """Return what was measured of a record with its parameters."""
    recipe, entry = digest(params_of(name)), _costs().get(name, {})
    return entry if entry.get("recipe") == recipe else {"recipe": recipe}


@command
def main(
    names: Annotated[list[str], typer.Argument(help="Names of records.")],
    seeds: Annotated[
        int, typer.Option(min=0, help="Number of float32 networks to train, to count their errors.")
    ] = 0,
) -> None:
    """Measure what records cost in float32 and in exact arithmetic, or the errors in float32."""
    for name in names:
        check_data(name)
    for name in names:
        entry = entry_of(name)
        with tempfile.TemporaryDirectory() as folder:
            if not seeds or "seconds" not in entry:
                entry |= {"machine": machine(), "seconds": times(name, Path(folder))}
                _write(name, entry)
            for seed in range(len(entry.get("float32_errors", [])), seeds):
                wrong = errors(name, seed, Path(folder))
                entry.setdefault("float32_errors", []).append(wrong)
                _write(name, entry)
                print(f"{name}, seed {seed}: {wrong} errors in float32", flush=True)
        found = ", ".join(map(str, entry.get("float32_errors", []))) or "not counted"
        cost = f"{entry['seconds']['exact']} s, in float32 {entry['seconds']['float32']} s"
        print(f"{name}: {cost}; errors in float32: {found}", flush=True)


def _costs() -> dict[str, dict[str, Any]]:
    return read_json(COSTS) if COSTS.exists() else {}


def _write(name: str, entry: dict[str, Any]) -> None:
    # Read again: another run may have written meanwhile
    write_json(COSTS, _costs() | {name: entry})


if __name__ == "__main__":
    main()
