"""Write the result of one row of the records, for Git: its errors, its loss, and the images that it gets wrong."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.program.command import command


@command
def main(
    evaluation: Annotated[Path, typer.Argument(help="The folder that the evaluate stage wrote.")],
    result: Annotated[Path, typer.Argument(help="Output: a JSON file.")],
) -> None:
    """Write the number of errors, the loss, and place, class and predicted class of each misclassified image."""
    from pipeline.program.files import read_json, write_text  # here, so that --help answers at once
    from pipeline.store.artifacts import load_misclassified

    mistakes = load_misclassified(evaluation / "misclassified.npz")
    loss = read_json(evaluation / "test.json")["loss"]
    columns = (mistakes.place, mistakes.actual, mistakes.predicted)
    wrong = sorted(zip(*(column.tolist() for column in columns), strict=True))
    lines = ",\n    ".join(map(json.dumps, wrong))
    write_text(result, f'{{\n  "errors": {len(wrong)},\n  "loss": {loss},\n  "wrong": [\n    {lines}\n  ]\n}}\n')


if __name__ == "__main__":
    main()
