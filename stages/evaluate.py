from pathlib import Path
from typing import Annotated

from typer import Argument

from pipeline.evaluation import evaluation
from pipeline.program.command import command
from pipeline.program.errors import UserError
from pipeline.program.files import check_distinct
from pipeline.store.artifacts import check_alike, load_model, load_prepared

MISTAKES, SCORES = Path("models/misclassified.npz"), Path("metrics/test.json")
BY_CLASS, TABLE = Path("metrics/classes.json"), Path("metrics/confusion.csv")


@command
def evaluate(
    model: Annotated[Path, Argument(help="The trained network.")] = Path("models/mlp.npz"),
    test: Annotated[Path, Argument(help="The test images.")] = Path("data/prepared/test.npz"),
    misclassified: Annotated[Path, Argument(help="Output: the misclassified images.")] = MISTAKES,
    metrics: Annotated[Path, Argument(help="Output: accuracy, loss and mean F1.")] = SCORES,
    classes: Annotated[Path, Argument(help="Output: precision, recall, F1 by class.")] = BY_CLASS,
    confusion: Annotated[Path, Argument(help="Output: actual and predicted classes.")] = TABLE,
) -> None:
    """Measure a trained network on the test images. No other stage reads them."""
    check_distinct(model, test, misclassified, metrics, classes, confusion)
    network, prepared = load_model(model), load_prepared(test)
    check_alike(model, network.preparation, test, prepared.preparation)
    try:
        found = evaluation.evaluate(network, prepared.split)
    except FloatingPointError:
        what = f"the weights are so large that the loss on {test} is not finite"
        raise UserError(f"{model}: {what}; choose a smaller train.learning_rate.") from None
    evaluation.save_evaluation(found, misclassified, metrics, classes, confusion)


if __name__ == "__main__":
    evaluate()
