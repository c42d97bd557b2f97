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
        "models/evaluation/test.json"
    ),
    classes: Annotated[Path, typer.Argument(help="Where to write precision, recall and F1 by class.")] = Path(
        "models/evaluation/classes.json"
    ),
    confusion: Annotated[Path, typer.Argument(help="Where to write each image's actual and predicted class.")] = Path(
        "models/evaluation/confusion.csv"
    ),
    misclassified: Annotated[Path, typer.Argument(help="Where to write the images it got wrong.")] = Path(
        "models/evaluation/misclassified.npz"
    ),
) -> None:
    """Measure a trained network on the test images. No other stage learns from them."""
    import numpy as np

    from mlp.layers import cross_entropy, loss_terms, softmax
    from mlp.network import logits
    from pipeline.artifacts import Misclassified, load_model, load_prepared, save_misclassified
    from pipeline.files import write_json
    from pipeline.report import classification_report
    from pipeline.tables import write_confusion

    network = load_model(model)
    prepared = load_prepared(test)
    if prepared.preparation != network.preparation:
        raise UserError(f"{model} was not trained on the preparation that {test} is of; run `dvc repro`.")

    images, labels = prepared.split
    names = network.preparation.classes
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            z = logits(network, images)
            y, shifted, total = softmax(network.arithmetic, z)
            loss = cross_entropy(network.arithmetic, loss_terms(shifted, total, labels))
    except FloatingPointError:
        raise UserError(
            f"{model}: its weights are so large that its loss on {test} is not finite; train it again."
        ) from None

    actual, predicted = labels.argmax(axis=1), z.argmax(axis=1)
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
    report = classification_report(actual, predicted, len(names))
    write_json(classes, [{"class": name, **scores} for name, scores in zip(names, report, strict=True)])
    write_confusion(confusion, names, actual, predicted)
    shape = network.preparation.image_shape
    mistakes = Misclassified(images[wrong], actual[wrong], predicted[wrong], probability, wrong, shape, names)
    save_misclassified(misclassified, mistakes)


if __name__ == "__main__":
    app()
