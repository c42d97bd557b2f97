"""Measure a trained network on the test images. No other stage reads them."""

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
            help="Output: a folder for accuracy and loss (test.json), precision, recall and F1 by class "
            "(classes.json), each image's actual and predicted class (confusion.csv), and the images that the network "
            "got wrong (misclassified.npz)."
        ),
    ] = Path("models/evaluation"),
) -> None:
    """Measure a trained network on the test images. No other stage reads them."""
    from pipeline.evaluation import evaluation as results  # here, so that --help answers at once
    from pipeline.program.files import check_distinct
    from pipeline.store.artifacts import load_model, load_prepared

    check_distinct(model, test, evaluation)
    network = load_model(model)
    prepared = load_prepared(test)
    if prepared.preparation != network.preparation:
        raise UserError(f"{model} was not trained on the preparation that {test} has; run `dvc repro`.")
    try:
        found = results.evaluate(network, prepared.split)
    except FloatingPointError:
        raise UserError(
            f"{model}: its weights are so large that its loss on {test} is not finite; train it again."
        ) from None
    results.save_evaluation(evaluation, found)


if __name__ == "__main__":
    evaluate()
