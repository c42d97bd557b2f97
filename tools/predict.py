"""Tell which digit is on a picture: `python -m tools.predict seven.png images-idx3-ubyte.gz`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from pipeline.program.command import command
from pipeline.program.errors import UserError, visible

SURE = 0.6  # an answer with a lower probability is not sure


@command
def predict(
    files: Annotated[list[Path], Argument(help="Pictures, or IDX files (may be gzipped).")],
    model: Annotated[Path, Option(help="The trained network.")] = Path("models/mlp.npz"),
    limit: Annotated[int | None, Option(min=1, help="At most N images of an IDX file.")] = None,
    whole: Annotated[
        bool | None, Option("--fit/--digit", help="Use the whole picture, or find the digit.")
    ] = None,
    inverted: Annotated[
        bool | None, Option("--invert/--as-it-is", help="Swap light and dark, or do not.")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON, with all probabilities.")] = False,
) -> None:
    """Tell which digit is on a picture, and how probable that and the next two classes are.

    The digit may be dark on light or light on dark, in any colours, at any size and place. The
    picture should show nothing else. A note says when the answer is not to be trusted; for the
    images of an IDX file, notes are only in the JSON. If a file cannot be read, nothing is printed
    for the others either.

    A network that learnt your own pictures remembers how tools.pack prepared them. New ones are
    prepared like them, without --fit or --digit, --invert or --as-it-is.
    """
    import numpy as np  # here, so that --help answers at once

    from mlp.prediction import predict as probabilities_of
    from pipeline.store.artifacts import load_model
    from tools.pictures.files import read_idx, read_picture

    network = load_model(model)
    preparation = network.preparation
    shape = preparation.image_shape
    fit = preparation.whole if whole is None else whole
    invert = preparation.inverted if inverted is None else inverted
    answers: list[dict[str, Any]] = []
    images = []
    for file in files:
        found = read_idx(file, limit)
        if found is None:
            image, notes = read_picture(file, shape, fit, invert)
            answers.append({"file": str(file), "index": None, "notes": notes})
            found = image[np.newaxis]
        elif found.shape[1:] == shape:
            places = range(len(found))
            answers += ({"file": str(file), "index": place, "notes": []} for place in places)
        else:
            given, expected = ("{} × {}".format(*pixels) for pixels in (found.shape[1:], shape))
            what = f"expected images of {expected} pixels, as {model} was trained on"
            raise UserError(f"{file}: {what}, found {given}.")
        images.append(found)

    pixels = np.concatenate(images).reshape(len(answers), -1)
    try:
        with np.errstate(all="ignore"):
            probabilities, _ = probabilities_of(network, pixels)
    except FloatingPointError:
        cure = "train with a smaller train.learning_rate"
        raise UserError(f"{model}: its weights are too large; {cure}.") from None
    for answer, row in zip(answers, probabilities.tolist(), strict=True):
        largest = max(row)
        if largest < SURE:
            answer["notes"].append(f"not sure: the most probable class has {100 * largest:.1f} %")
        for note in answer["notes"] if answer["index"] is None else ():
            typer.echo(visible(f"note: {answer['file']}: {note}."), err=True)
        answer["class"] = preparation.classes[row.index(largest)]
        answer["probability"] = largest
        answer["probabilities"] = dict(zip(preparation.classes, row, strict=True))
    if as_json:
        typer.echo(json.dumps(answers, indent=2, allow_nan=False))
    else:
        _print_table(answers)


def _print_table(answers: list[dict[str, Any]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    from tools.tables import show

    columns = (Column("file", overflow="fold"), "class", "probability", "next")
    table = Table(*columns, box=SIMPLE_HEAD, show_edge=False)
    for answer in answers:
        # a name may hold bytes that are not UTF-8
        file = visible(answer["file"].encode(errors="replace").decode())
        place = "" if answer["index"] is None else f" [{answer['index']}]"
        # Classes of equal probability stay in their order
        ranked = sorted(answer["probabilities"].items(), key=lambda item: -item[1])
        (best, largest), *others = [(name, f"{100 * share:.1f} %") for name, share in ranked[:3]]
        following = ", ".join(f"{name} ({share})" for name, share in others)
        table.add_row(file + place, best, largest, following)
    show(table)


if __name__ == "__main__":
    predict()
