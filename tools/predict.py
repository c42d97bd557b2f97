"""Tell which digit is on a picture: `python -m tools.predict seven.png scan.jpg images-idx3-ubyte.gz`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline.program.command import command
from pipeline.program.errors import UserError, visible

if TYPE_CHECKING:  # imported inside functions, so that `--help` is quick
    import numpy as np
    from rich.table import Table
    from rich.text import Text

    from mlp.network import Network
    from tools.ink import Findings


@dataclass(frozen=True)
class Prediction:
    """The network's answer for one image.

    Attributes:
        file: the name of the file.
        index: the image's place in an IDX file, counted from 0; None for a picture.
        probabilities: the probability of each class, in the order of the classes.
        notes: why not to trust the answer, a sentence each.
    """

    file: str
    index: int | None
    probabilities: list[float]
    notes: list[str]

    def ranking(self) -> list[int]:
        """Return the classes' numbers, most probable first; classes of equal probability in their order."""
        return sorted(range(len(self.probabilities)), key=lambda number: -self.probabilities[number])


@command
def predict(
    files: Annotated[
        list[Path], typer.Argument(help="Pictures with one digit each, or IDX files of images, gzipped or not.")
    ],
    model: Annotated[Path, typer.Option(help="The trained network.")] = Path("models/mlp.npz"),
    prepare: Annotated[
        Literal["digit", "fit"],
        typer.Option(help="digit: find the digit. fit: resize the whole picture, as tools.pack does."),
    ] = "digit",
    invert: Annotated[
        bool, typer.Option("--invert", help="Make light pixels dark, and dark ones light, after that.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="The most images to use of an IDX file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, probabilities to the last bit.")] = False,
) -> None:
    """Tell which digit is on a picture, and how probable each class is.

    The digit may be dark on light or light on dark, in any colours, at any size and place. The picture should show
    nothing else. A note says when the answer is not to be trusted; for the images of an IDX file, notes are only in
    the JSON. If a file cannot be read, nothing is printed for the others either.

    For a network that learnt your own pictures, use the options that you gave to tools.pack, which fits by default.
    """
    import numpy as np

    from pipeline.store.artifacts import load_model
    from tools.doubts import doubts
    from tools.pictures import read_idx

    network = load_model(model)
    image_shape, classes = network.preparation.image_shape, network.preparation.classes
    sources: list[tuple[str, int | None, Findings | None]] = []
    images: list[np.ndarray] = []
    for file in files:
        found = read_idx(file, limit)
        if found is None:
            image, findings, pictures = _read(file, image_shape, prepare)
            if pictures > 1:
                _note(str(file), f"the first of {pictures} pictures is used")
            sources.append((str(file), None, findings))
            images.append((255 - image if invert else image)[np.newaxis])
            continue
        if invert:
            raise UserError(f"{file}: the images of an IDX file are used as they are; leave out --invert.")
        if found.shape[1:] != image_shape:
            given, expected = ("{} × {}".format(*shape) for shape in (found.shape[1:], image_shape))
            raise UserError(f"{file}: expected images of {expected} pixels, as {model} was trained on, found {given}.")
        sources += ((str(file), index, None) for index in range(len(found)))
        images.append(found)

    rows = _probabilities(network, np.concatenate(images), model)
    predictions = [
        Prediction(file, index, row, doubts(findings, max(row)))
        for (file, index, findings), row in zip(sources, rows, strict=True)
    ]
    for prediction in predictions:
        if prediction.index is None:
            for note in prediction.notes:
                _note(prediction.file, note)
    if as_json:
        _print_json(predictions, classes)
    else:
        _print_table(predictions, classes)


def _read(file: Path, image_shape: tuple[int, int], prepare: str) -> "tuple[np.ndarray, Findings | None, int]":
    """Return the prepared image of a picture, what was seen on it, and the number of pictures in the file."""
    from tools.digits import examine
    from tools.pictures import read_picture
    from tools.resizing import fit

    try:
        if prepare == "fit":
            image, pictures = read_picture(file, image_shape, fit)
            return image, None, pictures
        (image, findings), pictures = read_picture(file, image_shape, examine)
        return image, findings, pictures
    except UserError as error:
        if error.about != "format":
            raise
        raise UserError(f"{str(error).removesuffix('.')}, or an IDX file.") from None


def _note(file: str, sentence: str) -> None:
    typer.echo(visible(f"note: {file}: {sentence}."), err=True)


def _probabilities(network: "Network", images: "np.ndarray", model: Path) -> list[list[float]]:
    import numpy as np

    from mlp.network import predict

    try:
        with np.errstate(all="ignore"):
            probabilities, _ = predict(network, images.reshape(len(images), -1))
    except FloatingPointError:
        raise UserError(
            f"{model}: its weights are too large to compute with; run `dvc repro` to make it again."
        ) from None
    return probabilities.tolist()


def _print_json(predictions: list[Prediction], classes: tuple[str, ...]) -> None:
    import json

    document = []
    for prediction in predictions:
        best = prediction.ranking()[0]
        document.append(
            {
                "file": prediction.file,
                "index": prediction.index,
                "class": classes[best],
                "probability": prediction.probabilities[best],
                "probabilities": dict(zip(classes, prediction.probabilities, strict=True)),
                "notes": prediction.notes,
            }
        )
    typer.echo(json.dumps(document, indent=2, allow_nan=False))


def _print_table(predictions: list[Prediction], classes: tuple[str, ...]) -> None:
    from tools.tables import fits, plain_console

    console = plain_console()
    table = _table(predictions, classes)
    console.print(table if fits(console, table) else _short_table(predictions, classes))


def _table(predictions: list[Prediction], classes: tuple[str, ...]) -> "Table":
    """Return a table with the probability of every class in whole percents, blank below ½ %."""
    from rich.cells import cell_len  # of a terminal: a Korean or Chinese character takes two cells

    widths = [max(cell_len(name), 3) + 2 for name in classes]

    # One column for all classes: Rich takes a millisecond for a row of a dozen cells, and an IDX file has thousands
    def aligned(cells: list[str]) -> str:
        return "".join(" " * (width - cell_len(cell)) + cell for cell, width in zip(cells, widths, strict=True))

    table = _begun_table()
    table.add_column(aligned(list(classes)), no_wrap=True)
    for prediction in predictions:
        percents = [str(round(100 * probability) or "") for probability in prediction.probabilities]
        table.add_row(*_first_cells(prediction, classes), aligned(percents))
    return table


def _short_table(predictions: list[Prediction], classes: tuple[str, ...]) -> "Table":
    """Return a table for narrow terminals, with the two next probable classes instead of all."""
    table = _begun_table()
    table.add_column("next")
    for prediction in predictions:
        others = (
            f"{classes[number]} ({100 * prediction.probabilities[number]:.1f} %)"
            for number in prediction.ranking()[1:3]
        )
        table.add_row(*_first_cells(prediction, classes), ", ".join(others))
    return table


def _begun_table() -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False)
    table.add_column("file", overflow="fold")
    table.add_column("class", no_wrap=True)
    table.add_column("probability", justify="right", no_wrap=True)
    return table


def _first_cells(prediction: Prediction, classes: tuple[str, ...]) -> "tuple[str, Text, str]":
    from rich.text import Text

    file = visible(prediction.file.encode(errors="replace").decode())  # a name may hold bytes that are not UTF-8
    if prediction.index is not None:
        file += f" [{prediction.index}]"
    best = prediction.ranking()[0]
    return file, Text(classes[best], style="bold"), f"{100 * prediction.probabilities[best]:.1f} %"


if __name__ == "__main__":
    predict()
