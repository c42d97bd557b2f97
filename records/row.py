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
    """Write the model and the result: errors, loss, every misclassified image, and the state after
    each epoch.

    With --epochs, compare the first states with those of the result that is there, and write
    nothing.
    """
    result = HERE / "results" / f"{name if name in COMMITTEES else f'{name}-{seed}'}.json"
    if members := COMMITTEES.get(name):
        if epochs:
            raise UserError(f"{name} is not trained, so it has no epochs; leave out --epochs.")
        models = [HERE / "models" / f"{record}-{seed}.npz" for record in members for seed in SEEDS]
        evaluate_committee(
            models, HERE / "prepared" / "mnist" / "test.npz", HERE / "evaluation" / name
        )
        write_result(result, HERE / "evaluation" / name)
        return
    if name not in RECORDS:
        raise UserError(
            f"there is no record {name}; expected one of {', '.join([*RECORDS, *COMMITTEES])}."
        )
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
            write_result(
                result,
                folder / "evaluation",
                states=[row["state"] for row in csv.DictReader(history)],
            )


def train_and_evaluate(params: Path, data: Path, model: Path, folder: Path, *options: str) -> None:
    """Let the stages train on a folder of prepared data, and test the model.

    Their results go into a folder.
    """
    measured = [
        folder / "training" / name for name in ("train.json", "validation.json", "history.csv")
    ]
    run(
        "train",
        data / "train.npz",
        data / "validation.npz",
        model,
        *measured,
        "--params",
        params,
        *options,
    )
    run("evaluate", model, data / "test.npz", *evaluated(folder / "evaluation"))


def evaluated(folder: Path) -> list[Path]:
    """Return where the evaluate stage shall write: into a folder."""
    return [
        folder / name
        for name in ("misclassified.npz", "test.json", "classes.json", "confusion.csv")
    ]


def run(stage: str, *words: str | Path) -> None:
    """Run a stage with its arguments, and end with its exit code if it fails; its message says
    why.
    """
    if code := subprocess.run(
        [sys.executable, "-m", f"stages.{stage}", *map(str, words)], cwd=HERE.parent
    ).returncode:
        raise Exit(code)


def audit(result: Path, params: Path, data: Path, epochs: int) -> None:
    """Train the first epochs of a row again.

    A UserError says which state is not the result's, or that it has none.
    """
    stated = read_json(result).get("states", [])
    if not stated:
        raise UserError(
            f"the result of {result.stem} has no states of its epochs; verify the whole row."
        )
    train, validation = (load_prepared(data / f"{split}.npz") for split in ("train", "validation"))
    parameters = load_params(params)
    network = NETWORK.new(parameters.train, train.preparation)
    processes = processes_for(network, parameters.train.batch_size)
    training = training_of(network, parameters, params, train, validation, processes)
    for state, epoch in zip(stated[:epochs], training.run(), strict=False):
        if epoch.fingerprint != state:
            what = f"the state is {epoch.fingerprint}, not {state}"
            raise UserError(f"{result.stem}: after epoch {epoch.epoch} {what}.")
    print(
        f"{len(training.epochs)} of {len(stated)} epochs have the states of the result. The others "
        "were not checked."
    )


def evaluate_committee(models: Sequence[Path], test: Path, folder: Path) -> None:
    """Write what the evaluate stage does, by the mean probabilities of networks of one arithmetic
    and preparation.
    """
    networks, split = [load_model(path) for path in models], load_prepared(test).split
    A = networks[0].arithmetic
    probabilities, logarithms = zip(
        *(predict(network, split.images) for network in networks), strict=True
    )
    # Not the logarithm of the mean: a probability can be too small for a number, and its logarithm
    # is not
    largest = np.max(logarithms, axis=0)
    log_y = largest + A.log(
        np.add.reduce([A.exp(log - largest) for log in logarithms]) / len(models)
    )
    y = np.add.reduce(probabilities) / len(models)
    save_evaluation(evaluation_of(networks[0], split, y, log_y), *evaluated(folder))


def write_result(result: Path, evaluation: Path, **more: list[str]) -> None:
    """Write errors, loss, place, class and predicted class of each misclassified image, and more,
    such as states.
    """
    found = load_misclassified(evaluation / "misclassified.npz")
    wrong = sorted(
        zip(found.place.tolist(), found.actual.tolist(), found.predicted.tolist(), strict=True)
    )
    loss = read_json(evaluation / "test.json")["loss"]
    text = json.dumps({"errors": len(wrong), "loss": loss, "wrong": wrong, **more}, indent=2)
    # In one line each
    write_text(result, re.sub(r"\[\s+(\d+),\s+(\d+),\s+(\d+)\s+\]", r"[\1, \2, \3]", text) + "\n")


if __name__ == "__main__":
    main()
