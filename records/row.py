"""Train one network of a record and test it, or test a committee of networks that are there."""

import csv
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from typer import Argument, Exit, Option

from mlp.prediction import predict
from pipeline.evaluation.evaluation import evaluation_of, save_evaluation
from pipeline.fitting.fit import training_of
from pipeline.fitting.processes import processes_for
from pipeline.program.command import command
from pipeline.program.errors import UserError
from pipeline.program.files import read_json, write_json, write_text
from pipeline.settings.params import load_params
from pipeline.store.artifacts import NETWORK, load_misclassified, load_model, load_prepared
from records.ledger import COMMITTEES, HERE, RECORDS, SEEDS


@command
def main(
    name: Annotated[str, Argument(help="A record, or a committee.")],
    seed: Annotated[int, Argument(help="The row's seed. A committee has none.")] = 0,
    epochs: Annotated[
        int | None, Option(min=1, help="Train so many epochs, and compare their states.")
    ] = None,
) -> None:
    """Write model and result: errors, loss, misclassified images, and each epoch's state.

    With --epochs, compare the first states with those of the result that is there, and write
    nothing.
    """
    result = HERE / "results" / f"{name if name in COMMITTEES else f'{name}-{seed}'}.json"
    if members := COMMITTEES.get(name):
        if epochs:
            raise UserError(f"{name} is not trained, so it has no epochs; leave out --epochs.")
        models = [HERE / "models" / f"{record}-{seed}.npz" for record in members for seed in SEEDS]
        evaluation = HERE / "evaluation" / name
        evaluate_committee(models, HERE / "prepared" / "mnist" / "test.npz", evaluation)
        write_result(result, evaluation)
        return
    if name not in RECORDS:
        expected = f"one of {', '.join([*RECORDS, *COMMITTEES])}"
        raise UserError(f"there is no record {name}; expected {expected}.")
    values = load_params(HERE / f"{name}.yaml").model_dump(mode="json")
    values["train"]["seed"] = seed
    data = HERE / "prepared" / values["download"]["dataset"]
    with tempfile.TemporaryDirectory() as temporary:
        folder, params = Path(temporary), Path(temporary, "params.json")
        write_json(params, values)  # JSON is YAML
        if epochs:
            audit(result, params, data, epochs)
            return
        train_and_evaluate(params, data, HERE / "models" / f"{name}-{seed}.npz", folder)
        with (folder / "training" / "history.csv").open() as history:
            states = [row["state"] for row in csv.DictReader(history)]
        write_result(result, folder / "evaluation", states=states)


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


def evaluate_committee(models: Sequence[Path], test: Path, folder: Path) -> None:
    """Write what the evaluate stage does, by the mean probabilities of networks of one kind."""
    networks, split = [load_model(path) for path in models], load_prepared(test).split
    A = networks[0].arithmetic
    predictions = (predict(network, split.images) for network in networks)
    probabilities, logarithms = zip(*predictions, strict=True)
    # Not the logarithm of the mean: a probability may be too small for a number
    largest = np.max(logarithms, axis=0)
    mean = np.add.reduce([A.exp(log - largest) for log in logarithms]) / len(models)
    log_y = largest + A.log(mean)
    y = np.add.reduce(probabilities) / len(models)
    save_evaluation(evaluation_of(networks[0], split, y, log_y), *evaluated(folder))


def write_result(result: Path, evaluation: Path, **more: list[str]) -> None:
    """Write errors, loss, each misclassified image's place and classes, and more, like states."""
    found = load_misclassified(evaluation / "misclassified.npz")
    columns = (found.place.tolist(), found.actual.tolist(), found.predicted.tolist())
    wrong = sorted(zip(*columns, strict=True))
    loss = read_json(evaluation / "test.json")["loss"]
    text = json.dumps({"errors": len(wrong), "loss": loss, "wrong": wrong, **more}, indent=2)
    # In one line each
    write_text(result, re.sub(r"\[\s+(\d+),\s+(\d+),\s+(\d+)\s+\]", r"[\1, \2, \3]", text) + "\n")


if __name__ == "__main__":
    main()
