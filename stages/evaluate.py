"""Measure a trained network, or a committee, on the test images. No other stage reads them."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.evaluation import evaluation
from pipeline.program.command import command
from pipeline.program.errors import UserError
from pipeline.program.files import check_distinct
from pipeline.store.artifacts import check_alike, load_model, load_prepared


@command
def evaluate(
    model: Annotated[Path, typer.Argument(help="The trained network.")] = Path("models/mlp.npz"),
    test: Annotated[Path, typer.Argument(help="The test images.")] = Path("data/prepared/test.npz"),
    misclassified: Annotated[Path, typer.Argument(help="Output: the images that the network got wrong.")] = Path(
        "models/misclassified.npz"
    ),
    metrics: Annotated[Path, typer.Argument(help="Output: accuracy, loss and mean F1.")] = Path("metrics/test.json"),
    classes: Annotated[Path, typer.Argument(help="Output: precision, recall and F1 of each class.")] = Path(
        "metrics/classes.json"
    ),
    confusion: Annotated[Path, typer.Argument(help="Output: each image's actual and predicted class.")] = Path(
        "metrics/confusion.csv"
    ),
    others: Annotated[
        list[Path] | None,
        typer.Option("--with", help="Another network: measure all as a committee, by the mean of their probabilities."),
    ] = None,
) -> None:
    """Measure a trained network, or a committee of them, on the test images.

    No other stage reads the test images.
    """
    models = [model, *(others or ())]
    check_distinct(*models, test, misclassified, metrics, classes, confusion)
    networks = [load_model(path) for path in models]
    prepared = load_prepared(test)
    for path, network in zip(models, networks, strict=True):
        check_alike(path, network.preparation, test, prepared.preparation)
        if network.arithmetic != networks[0].arithmetic:
            raise UserError(
                f"{path} computes in {network.arithmetic.name}, and {model} in {networks[0].arithmetic.name}; "
                "a committee has one arithmetic."
            )
    try:
        found = evaluation.evaluate(networks, prepared.split)
    except FloatingPointError:
        raise UserError(
            f"{', '.join(map(str, models))}: the weights are so large that the loss on {test} is not finite; choose a "
            "smaller train.learning_rate."
        ) from None
    evaluation.save_evaluation(found, misclassified, metrics, classes, confusion)


if __name__ == "__main__":
    evaluate()
