"""Train one network of a record, and test it."""

import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Exit, Option

from pipeline.fitting.fit import training_of
from pipeline.fitting.processes import processes_for
from pipeline.program.command import command
from pipeline.program.errors import UserError
from pipeline.program.files import read_json, write_json, write_text
from pipeline.settings.params import Params, load_params
from pipeline.store.artifacts import NETWORK, load_misclassified, load_prepared
from records.ledger import HERE, RECORDS

VALIDATION_SIZE = 5000  # of the records' common split


@command
def main(
    name: Annotated[str, Argument(help="A record.")],
    seed: Annotated[int, Argument(help="The row's seed.")] = 0,
    epochs: Annotated[
        int | None, Option(min=1, help="Train so many epochs, and compare their states.")
    ] = None,
) -> None:
    """Write model and result: errors, loss, misclassified images, and each epoch's state.

    A network that the validation images choose has their scores in its result, too. With --epochs,
    compare the first states with those of the result that is there, and write nothing.
    """
    if name not in RECORDS:
        raise UserError(f"there is no record {name}; expected one of {', '.join(RECORDS)}.")
    result = HERE / "results" / f"{name}-{seed}.json"
    recorded = load_params(HERE / f"{name}.yaml")
    data, values = data_of(recorded), recorded.model_dump(mode="json")
    values["train"]["seed"] = seed
    with tempfile.TemporaryDirectory() as temporary:
        folder, params = Path(temporary), Path(temporary, "params.json")
        write_json(params, values)  # JSON is YAML
        if epochs:
            audit(result, params, data, epochs)
            return
        train_and_evaluate(params, data, HERE / "models" / f"{name}-{seed}.npz", folder)
        more = {}
        if recorded.train.keep == "best":
            more["validation"] = read_json(folder / "training" / "validation.json")
        with (folder / "training" / "history.csv").open() as history:
            states = [row["state"] for row in csv.DictReader(history)]
        write_result(result, folder / "evaluation", more, states)


def data_of(params: Params) -> Path:
    """Return the folder of a record's prepared data: one for each dataset and split."""
    size = params.preprocess.validation_size
    own_split = "" if size == VALIDATION_SIZE else f"-{size}"
    return HERE / "prepared" / f"{params.download.dataset}{own_split}"


def train_and_evaluate(params: Path, data: Path, model: Path, folder: Path, *options: str) -> None:
    """Let the stages train on a folder of prepared data, test the model, and write to a folder."""
    names = ("train.json", "validation.json", "history.csv")
    splits = data / "train.npz", data / "validation.npz"
    measured = [folder / "training" / name for name in names]
    run("train", *splits, model, *measured, "--params", params, *options)
    run("evaluate", model, data / "test.npz", *evaluated(folder / "evaluation"))


def evaluated(folder: Path) -> list[Path]:
    """Return where the evaluate stage shall write: into a folder."""
    names = ("misclassified.npz", "test.json", "classes.json", "confusion.csv")
    return [folder / name for name in names]


def run(stage: str, *words: str | Path) -> None:
    """Run a stage with its arguments. If it fails, it has said why: end with its exit code."""
    command = [sys.executable, "-m", f"stages.{stage}", *map(str, words)]
    if code := subprocess.run(command, cwd=HERE.parent).returncode:
        raise Exit(code)


def audit(result: Path, params: Path, data: Path, epochs: int) -> None:
    """Train the first epochs of a row again.

    A UserError says which state is not the result's, or that it has none.
    """
    found = read_json(result)
    stated = found.get("states", [])
    errors, wrong = found.get("errors", 0), len(found.get("wrong", []))
    if errors != wrong:
        raise UserError(f"{result.stem}: {errors} errors, but {wrong} misclassified images.")
    if not stated:
        cure = "verify the whole row"
        raise UserError(f"the result of {result.stem} has no states of its epochs; {cure}.")
    train, validation = (load_prepared(data / f"{split}.npz") for split in ("train", "validation"))
    parameters = load_params(params)
    network = NETWORK.new(parameters.train, train.preparation)
    processes = processes_for(network, parameters.train.batch_size)
    training = training_of(network, parameters, params, train, validation, processes)
    for state, epoch in zip(stated[:epochs], training.run(), strict=False):
        if epoch.fingerprint != state:
            what = f"the state is {epoch.fingerprint}, not {state}"
            raise UserError(f"{result.stem}: after epoch {epoch.epoch} {what}.")
    equal = f"{len(training.epochs)} of {len(stated)} epochs"
    print(f"{equal} have the states of the result. The others, and the errors, were not.")


def write_result(
    result: Path, evaluation: Path, more: dict[str, Any], states: Sequence[str]
) -> None:
    """Write errors, loss, more, each misclassified image's place and classes, each epoch's state.

    Each has a line.
    """
    found = load_misclassified(evaluation / "misclassified.npz")
    columns = (found.place.tolist(), found.actual.tolist(), found.predicted.tolist())
    wrong = sorted(zip(*columns, strict=True))
    loss = read_json(evaluation / "test.json")["loss"]
    values = {"errors": len(wrong), "loss": loss, **more, "wrong": wrong, "states": states}
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in values.items()]
    write_text(result, "{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
