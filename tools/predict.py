"""Tell which digit is on a picture: `python -m tools.predict seven.png scan.jpg images-idx3-ubyte.gz`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from pipeline.program.command import command
from pipeline.program.errors import UserError

if TYPE_CHECKING:  # imported where they are needed, so that `--help` is quick
    import numpy as np
    from rich.table import Table

MOST_UNPACKED = 1 << 30  # bytes of a gzipped IDX file; MNIST's largest has 47 million


class Prediction(NamedTuple):
    """What the network makes of one image.

    Attributes:
        file: where the image is from.
        index: its place in an IDX file, counted from 0; None for a picture.
        probabilities: of each class, in the order of the classes.
    """

    file: str
    index: int | None
    probabilities: list[float]


@command
def predict(
    files: Annotated[
        list[Path], typer.Argument(help="Pictures with one digit each, or IDX files of images, gzipped or not.")
    ],
    model: Annotated[Path, typer.Option(help="The trained network.")] = Path("models/mlp.npz"),
    limit: Annotated[int | None, typer.Option(min=1, help="Of an IDX file, only so many images.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, probabilities to the last bit.")] = False,
) -> None:
    """Tell which digit is on a picture, and how probable each class is.

    The digit may be dark on light or light on dark, in any colours, at any size and place; there should be nothing else
    on the picture. Nothing is printed unless all files can be read.
    """
    import numpy as np

    from mlp import network
    from pipeline.store.artifacts import load_model

    trained = load_model(model)
    _, _, image_shape, classes = trained.preparation
    sources, images = [], []
    for file in files:
        found = list(_images_in(file, image_shape, model, limit))
        sources += [(str(file), index) for index, _ in found]
        images += [image for _, image in found]

    try:
        with np.errstate(all="ignore"):
            probabilities, _ = network.predict(trained, np.stack(images).reshape(len(images), -1))
        if not np.isfinite(probabilities).all():
            raise FloatingPointError
    except FloatingPointError:
        raise UserError(
            f"{model}: its weights are too large to compute with; run `dvc repro` to make it again."
        ) from None
    predictions = [Prediction(*source, row) for source, row in zip(sources, probabilities.tolist(), strict=True)]
    if as_json:
        _print_json(predictions, classes)
    else:
        _print_table(predictions, classes)


def _images_in(
    file: Path, image_shape: tuple[int, int], model: Path, limit: int | None
) -> "Iterator[tuple[int | None, np.ndarray]]":
    """Yield the images of a file, bytes of `image_shape`, each with its place in an IDX file, or None."""
    if file.is_dir():
        raise UserError(f"{file}: a folder; expected an image or an IDX file.")
    if not file.exists():
        raise UserError(f"{file}: no such file.")
    if not file.is_file():
        raise UserError(f"{file}: not a regular file; expected an image or an IDX file.")
    with _unpacked(file) as unpacked:
        if _first_bytes(unpacked)[:2] == b"\0\0":  # an IDX file begins so, and none of the image formats
            yield from enumerate(_idx_images(file, unpacked, image_shape, model)[:limit])
            return
    yield None, _digit(file, image_shape)


def _first_bytes(file: Path) -> bytes:
    with file.open("rb") as content:
        return content.read(4)


@contextmanager
def _unpacked(file: Path) -> Iterator[Path]:
    """Give a file as it is, or decompressed to a temporary one if it is gzipped."""
    if _first_bytes(file)[:2] != b"\x1f\x8b":
        yield file
        return
    import gzip
    import tempfile
    import zlib

    with tempfile.TemporaryDirectory() as folder:
        unpacked = Path(folder) / file.stem
        try:
            with gzip.open(file) as packed, unpacked.open("wb") as out:
                length = 0
                while block := packed.read(1 << 20):
                    length += len(block)
                    if length > MOST_UNPACKED:
                        raise UserError(f"{file}: expected at most {MOST_UNPACKED} bytes when unpacked, found more.")
                    out.write(block)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UserError(f"{file}: the gzip file is damaged ({str(error).rstrip('.')}).") from None
        yield unpacked


def _idx_images(file: Path, unpacked: Path, image_shape: tuple[int, int], model: Path) -> "np.ndarray":
    from pipeline.images.idx import read_images

    if _first_bytes(unpacked) == b"\0\0\x08\x01":
        raise UserError(f"{file}: an IDX file of labels; expected one of images.")
    try:
        images = read_images(unpacked)
    except UserError as error:
        raise UserError(str(error).replace(str(unpacked), str(file))) from None
    if images.shape[1:] != image_shape:
        found, expected = ("{} × {}".format(*shape) for shape in (images.shape[1:], image_shape))
        raise UserError(f"{file}: expected images of {expected} pixels, as {model} was trained on, found {found}.")
    return images


def _digit(file: Path, image_shape: tuple[int, int]) -> "np.ndarray":
    from tools.digits import prepare, read_picture

    picture, pictures = read_picture(file)
    if pictures > 1:
        typer.echo(f"note: {file}: the first of {pictures} pictures is used.", err=True)
    try:
        return prepare(picture, image_shape)
    except ValueError as error:
        raise UserError(f"{file}: {error}.") from None


def _print_json(predictions: list[Prediction], classes: tuple[str, ...]) -> None:
    import json

    document = []
    for file, index, probabilities in predictions:
        probability = max(probabilities)
        document.append(
            {
                "file": file,
                "index": index,
                "class": classes[probabilities.index(probability)],
                "probability": probability,
                "probabilities": dict(zip(classes, probabilities, strict=True)),
            }
        )
    typer.echo(json.dumps(document, indent=2, allow_nan=False))


def _print_table(predictions: list[Prediction], classes: tuple[str, ...]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    table = _table(predictions, classes)
    needed = console.measure(table, options=console.options.update(width=10_000)).maximum
    if not console.is_terminal:
        console.width = max(console.width, needed)  # a file or a pipe has no edge
    elif needed > console.width:
        table = _short_table(predictions, classes)
    console.print(table)


def _table(predictions: list[Prediction], classes: tuple[str, ...]) -> "Table":
    """Return a table with the probability of every class, in whole percents; below ½ % it stays blank."""
    widths = [max(len(name), 3) + 2 for name in classes]

    # One column for all classes: Rich takes a millisecond for a row of a dozen cells, and an IDX file has thousands
    def aligned(cells) -> str:
        return "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))

    table = _begun_table()
    table.add_column(_text(aligned(classes)), no_wrap=True)
    for prediction in predictions:
        percents = (round(100 * probability) or "" for probability in prediction.probabilities)
        table.add_row(*_first_cells(prediction, classes), aligned(percents))
    return table


def _short_table(predictions: list[Prediction], classes: tuple[str, ...]) -> "Table":
    """Return a table with the two classes that come next, for narrow terminals."""
    table = _begun_table()
    table.add_column("next")
    for prediction in predictions:
        order = sorted(range(len(classes)), key=lambda c: -prediction.probabilities[c])
        others = (f"{classes[c]} ({100 * prediction.probabilities[c]:.1f} %)" for c in order[1:3])
        table.add_row(*_first_cells(prediction, classes), _text(", ".join(others)))
    return table


def _begun_table() -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False)
    table.add_column("file", overflow="fold")
    table.add_column("class", no_wrap=True)
    table.add_column("probability", justify="right", no_wrap=True)
    return table


def _first_cells(prediction: Prediction, classes: tuple[str, ...]) -> tuple:
    file, index, probabilities = prediction
    probability = max(probabilities)
    name = _text(classes[probabilities.index(probability)])
    name.stylize("bold")
    return _text(file if index is None else f"{file} [{index}]"), name, f"{100 * probability:.1f} %"


def _text(content: str):
    """Return text that Rich prints as it is: no markup in it, and nothing that cannot be encoded."""
    from rich.text import Text

    return Text(content.encode(errors="replace").decode())


if __name__ == "__main__":
    predict()
