"""Measure a trained network, or a committee, on the test images. No other stage reads them."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.program.command import command
from pipeline.program.errors import UserError


@command
def evaluate(
    model: Annotated[Path, typer.Argument(help="The trained network.")] = Path("models/mlp.npz"),
    test: Annotated[Path, typer.Argument(help="The test images.")] = Path("data/prepared/test.npz"),
    evaluation: Annotated[
        Path,
        typer.Argument(
            help="Output: a folder for accuracy, loss and mean F1 (test.json), precision, recall and F1 by class "
            "(classes.json), each image's actual and predicted class (confusion.csv), and the images that the network "
            "got wrong (misclassified.npz)."
        ),
    ] = Path("models/evaluation"),
    others: Annotated[
        list[Path] | None,
        typer.Option("--with", help="Another network: measure all as a committee, by the mean of their probabilities."),
    ] = None,
) -> None:
    """Measure a trained network, or a committee of them, on the test images.

    No other stage reads the test images.
    """
    from pipeline.evaluation import evaluation as results  # here, so that --help answers at once
    from pipeline.program.files import check_distinct
    from pipeline.store.artifacts import load_model, load_prepared

    models = [model, *(others or ())]
    check_distinct(*models, test, evaluation)
    networks = [load_model(path) for path in models]
    prepared = load_prepared(test)
    for path, network in zip(models, networks, strict=True):
        if network.preparation != prepared.preparation:
            raise UserError(f"{path} was not trained on the preparation that {test} has; run `dvc repro`.")
        if network.arithmetic != networks[0].arithmetic:
            raise UserError(
                f"{path} computes in {network.arithmetic.name}, and {model} in {networks[0].arithmetic.name}; "
                "a committee has one arithmetic."
            )
    try:
        found = results.evaluate(networks, prepared.split)
    except FloatingPointError:
        raise UserError(
            f"{', '.join(map(str, models))}: the weights are so large that the loss on {test} is not finite; train "
            "again."
        ) from None
    results.save_evaluation(evaluation, found)


if __name__ == "__main__":
    evaluate()
