"""Train one network of a record and test it, or test a committee of networks that are there."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from pipeline.program.command import command
from pipeline.program.errors import UserError
from pipeline.program.files import read_json, write_json, write_text
from pipeline.settings.params import load_params
from records.ledger import COMMITTEES, HERE, RECORDS, SEEDS


@command
def main(
    name: Annotated[str, typer.Argument(help="A record, or a committee.")],
    seed: Annotated[int, typer.Argument(help="The row's seed. A committee has none.")] = 0,
) -> None:
    """Write the model and the result: the number of errors, the loss, and every misclassified image."""
    if members := COMMITTEES.get(name):
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
        run("train", *splits, model, *watched(training), "--params", with_seed)
        run("evaluate", model, data / "test.npz", *evaluated(evaluation))
        write_result(evaluation, HERE / "results" / f"{name}-{seed}.json")


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


def write_result(evaluation: Path, result: Path) -> None:
    """Write the number of errors, the loss, and place, class and predicted class of each misclassified image."""
    from pipeline.store.artifacts import load_misclassified  # here, so that --help answers at once

    mistakes = load_misclassified(evaluation / "misclassified.npz")
    loss = read_json(evaluation / "test.json")["loss"]
    columns = (mistakes.place, mistakes.actual, mistakes.predicted)
    wrong = sorted(zip(*(column.tolist() for column in columns), strict=True))
    lines = ",\n    ".join(map(json.dumps, wrong))
    write_text(result, f'{{\n  "errors": {len(wrong)},\n  "loss": {loss},\n  "wrong": [\n    {lines}\n  ]\n}}\n')


if __name__ == "__main__":
    main()
