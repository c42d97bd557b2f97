"""Measure a trained network on the test images. No other stage learns from them."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import UserError, one_sentence_errors

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
@one_sentence_errors
def evaluate(
    model: Annotated[Path, typer.Argument(help="The trained network.")] = Path("models/mlp.npz"),
    test: Annotated[Path, typer.Argument(help="Images to test on.")] = Path("data/prepared/test.npz"),
    metrics: Annotated[Path, typer.Argument(help="Where to write accuracy, error rate and loss.")] = Path(
        "metrics/test.json"
    ),
    classes: Annotated[Path, typer.Argument(help="Where to write precision, recall and F1 by class.")] = Path(
        "metrics/classes.json"
    ),
    confusion: Annotated[Path, typer.Argument(help="Where to write each image's actual and predicted class.")] = Path(
        "metrics/confusion.csv"
    ),
    misclassified: Annotated[Path, typer.Argument(help="Where to write the images it got wrong.")] = Path(
        "data/misclassified.npz"
    ),
) -> None:
    """Measure a trained network on the test images. No other stage learns from them."""
    import math

    import numpy as np

    from mlp.arithmetic import ARITHMETICS
    from mlp.layers import cross_entropy
    from mlp.metrics import classification_report
    from mlp.network import predict
    from pipeline.artifacts import Misclassified, load_model, load_prepared, save_misclassified
    from pipeline.files import write_json
    from pipeline.tables import write_confusion

    network, image_shape, names = load_model(model)
    prepared = load_prepared(test)
    if prepared[1:] != (network.shift, network.scale, image_shape, names):
        raise UserError(f"{model} was not trained on the preparation that {test} is of; run `dvc repro`.")

    images, labels = prepared.split
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            y, log_y = predict(network, images)
            loss = cross_entropy(ARITHMETICS[network.arithmetic], log_y, labels)
    except FloatingPointError:
        loss = math.nan
    if not math.isfinite(loss):
        raise UserError(f"{model}: its weights are so large that its loss on {test} is not finite; train it again.")

    actual, predicted = labels.argmax(axis=1), y.argmax(axis=1)
    wrong = np.flatnonzero(actual != predicted)
    probability = y[wrong, predicted[wrong]].astype(np.float64)
    order = np.argsort(-probability, kind="stable")  # the most confident mistake first
    wrong, probability = wrong[order], probability[order]

    write_json(
        metrics,
        {
            "accuracy": (len(images) - len(wrong)) / len(images),
            "error_rate": len(wrong) / len(images),
            "loss": loss,
            "images": len(images),
        },
    )
    write_json(classes, dict(zip(names, classification_report(actual, predicted, len(names)), strict=True)))
    write_confusion(confusion, names, actual, predicted)
    mistakes = Misclassified(images[wrong], actual[wrong], predicted[wrong], probability, wrong, image_shape, names)
    save_misclassified(misclassified, mistakes)


if __name__ == "__main__":
    app()
