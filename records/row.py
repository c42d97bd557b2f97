"""Train one network of a record and test it, or test a committee of networks that are there."""

import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from pipeline.program.command import command
from pipeline.program.errors import UserError
from pipeline.program.files import read_json, write_json, write_text
from pipeline.settings.params import load_params
from records.ledger import COMMITTEES, HERE, RECORDS, SEEDS


@command
def main(
    name: Annotated[str, Argument(help="A record, or a committee.")],
    seed: Annotated[int, Argument(help="The row's seed. A committee has none.")] = 0,
    epochs: Annotated[int | None, Option(min=1, help="Train so many epochs, and compare their states.")] = None,
) -> None:
    """Write the model and the result: errors, loss, every misclassified image, and the state after each epoch.

    With --epochs, compare the first states with those of the result that is there, and write nothing.
    """
    if members := COMMITTEES.get(name):
        if epochs:
            raise UserError(f"{name} is not trained, so it has no epochs; leave out --epochs.")
        test, evaluation = HERE / "prepared" / "mnist" / "test.npz", HERE / "evaluation" / name
        models = [HERE / "models" / f"{record}-{seed}.npz" for record in members for seed in SEEDS]
        evaluate_committee(models, test, evaluation)
        write_result(evaluation, HERE / "results" / f"{name}.json")
        return
    if name not in RECORDS:
        raise UserError(f"there is no record {name}; expected one of {', '.join([*RECORDS, *COMMITTEES])}.")
    params, model = load_params(HERE / f"{name}.yaml").model_dump(mode="json"), HERE / "models" / f"{name}-{seed}.npz"
    data = HERE / "prepared" / params["download"]["dataset"]
    params["train"]["seed"] = seed
    with tempfile.TemporaryDirectory() as temporary:
        training, evaluation = Path(temporary, "training"), Path(temporary, "evaluation")
        splits = data / "train.npz", data / "validation.npz"
        write_json(with_seed := Path(temporary, "params.json"), params)  # JSON is YAML
        if epochs:
            audit(f"{name}-{seed}", with_seed, *splits, epochs)
            return
        run("train", *splits, model, *watched(training), "--params", with_seed)
        run("evaluate", model, data / "test.npz", *evaluated(evaluation))
        with (training / "history.csv").open() as history:
            states = [row["state"] for row in csv.DictReader(history)]
        write_result(evaluation, HERE / "results" / f"{name}-{seed}.json", states)


def audit(row: str, params: Path, train: Path, validation: Path, epochs: int) -> None:
    """Train a row's first epochs again, and compare the state after each with what its result says.

    Raises:
        UserError: a state differs, or the result has no states.
    """
    from pipeline.fitting.fit import fitting_of  # here, so that --help answers at once
    from pipeline.store.artifacts import load_prepared

    stated = read_json(HERE / "results" / f"{row}.json").get("states", [])
    if not stated:
        raise UserError(f"the result of {row} has no states of its epochs; verify the whole row.")
    fitting = fitting_of(load_params(params), params, load_prepared(train), load_prepared(validation))
    for state, epoch in zip(stated[:epochs], fitting.run(), strict=False):
        if epoch.state != state:
            raise UserError(f"{row}: after epoch {epoch.epoch} the state is {epoch.state}, not {state}.")
    print(f"{len(fitting.epochs)} of {len(stated)} epochs have the states of the result. The others were not checked.")


def evaluate_committee(models: Sequence[Path], test: Path, folder: Path) -> None:
    """Write into a folder what the evaluate stage writes, of several networks: by the mean of their probabilities.

    The networks have one arithmetic, and one preparation.
    """
    import functools  # here, so that --help answers at once

    import numpy as np

    from mlp.network import predict
    from pipeline.evaluation.evaluation import evaluation_of, save_evaluation
    from pipeline.store.artifacts import load_model, load_prepared

    def mean(arrays: Sequence[np.ndarray]) -> np.ndarray:
        return functools.reduce(np.add, arrays) / len(arrays)

    networks, split = [load_model(path) for path in models], load_prepared(test).split
    A = networks[0].arithmetic
    probabilities, logarithms = zip(*(predict(network, split.images) for network in networks), strict=True)
    # Not the logarithm of the mean: a probability can be too small for a number, and its logarithm is not
    largest = functools.reduce(np.maximum, logarithms)
    log_y = largest + A.log(mean([A.exp(log - largest) for log in logarithms]))
    save_evaluation(evaluation_of(networks[0], split, mean(probabilities), log_y), *evaluated(folder))


def watched(folder: Path) -> list[Path]:
    """Return where the train stage shall write what it measures: into a folder."""
    return [folder / name for name in ("train.json", "validation.json", "history.csv")]


def evaluated(folder: Path) -> list[Path]:
    """Return where the evaluate stage shall write: into a folder."""
    return [folder / name for name in ("misclassified.npz", "test.json", "classes.json", "confusion.csv")]


def run(stage: str, *words: str | Path, quiet: bool = False) -> None:
    """Run a stage with its arguments, and end with its exit code if it fails; its message says why."""
    stage_command = [sys.executable, "-m", f"stages.{stage}", *map(str, words)]
    result = subprocess.run(stage_command, cwd=HERE.parent, capture_output=quiet, text=True)
    if result.returncode:
        sys.stderr.write(result.stderr or "")
        raise typer.Exit(result.returncode)


def write_result(evaluation: Path, result: Path, states: Sequence[str] = ()) -> None:
    """Write errors, loss, states, and the place, class and predicted class of each misclassified image."""
    from pipeline.store.artifacts import load_misclassified  # here, so that --help answers at once

    mistakes = load_misclassified(evaluation / "misclassified.npz")
    loss = read_json(evaluation / "test.json")["loss"]
    columns = (mistakes.place, mistakes.actual, mistakes.predicted)
    wrong = sorted(zip(*(column.tolist() for column in columns), strict=True))
    lists = {"wrong": wrong} | ({"states": states} if states else {})
    text = "".join(f',\n  "{key}": [\n    {_lines(values)}\n  ]' for key, values in lists.items())
    write_text(result, f'{{\n  "errors": {len(wrong)},\n  "loss": {loss}{text}\n}}\n')


def _lines(values: Sequence[Any]) -> str:
    return ",\n    ".join(map(json.dumps, values))


if __name__ == "__main__":
    main()
