"""How accurate is a model on digits that do not come from MNIST's files, and when does a note warn of a mistake?

    python -m benchmarks.foreign_digits [models/mlp.npz ...] [--pictures FOLDER]

makes pictures, prepares and judges them as `tools.predict` does, and prints a table for each model in Markdown, as in
docs/prediction.md. The pictures are MNIST's test images, if `data/raw` has them; digits in fonts and as strokes of a
pen (benchmarks/drawn_digits.py); strokes on ruled paper, in shadow and so on (benchmarks/disturbances.py); the stored
drawings of tests/sample; and pictures that have no right answer.

With `--pictures`, FOLDER gets a picture from each source, and sheets with the prepared images, to look at.
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from PIL import Image

from benchmarks import disturbances
from benchmarks.drawn_digits import COLOURS, FONTS, in_fonts, written
from mlp.network import Network, predict
from pipeline.images.idx import read_images, read_labels
from pipeline.program.command import command
from pipeline.program.errors import UserError
from pipeline.store.artifacts import load_model
from tests.drawings import drawings, rasterised
from tools.digits import examine
from tools.doubts import SURE, doubts
from tools.ink import Findings

RAW = Path("data/raw")

WRITTEN = 30  # pictures of each digit from each source
MNIST = 2000  # images

Example = tuple[int | None, Image.Image]  # the digit, None where no answer is right; and the picture


def sources() -> Iterator[tuple[str, Iterator[Example]]]:
    """Yield each source's name and its pictures. Each has a generator of its own: one changes no other."""
    if (RAW / "t10k-images-idx3-ubyte").exists():
        yield "MNIST's test images", mnist()
    for family in FONTS:
        yield f"font: {family}", in_fonts(family)
    for name, pen in {"hairline": 0.012, "thin": 0.03, "medium": 0.09, "thick": 0.15}.items():
        yield f"strokes: {name} pen", strokes(pen=pen)
    yield "strokes on lined paper", strokes(sheet=disturbances.lined)
    yield "strokes on squared paper", strokes(sheet=disturbances.squared)
    yield "strokes, photographed", strokes(disturbances.photographed)
    yield "strokes, shadow with a hard edge", strokes(disturbances.in_shadow)
    yield "strokes, shadow with a soft edge", strokes(disturbances.in_soft_shadow)
    yield "strokes, dust", strokes(disturbances.with_dust)
    yield "strokes, cut at the top or bottom", strokes(disturbances.cut)
    yield "strokes, upside down", strokes(disturbances.upside_down)
    yield "the stored drawings", stored()
    yield "two digits", ((None, picture) for _, picture in strokes(two=True))
    yield "noise alone", without_answer(disturbances.noise)
    yield "nearly all black", without_answer(disturbances.nearly_black)


def mnist() -> Iterator[Example]:
    """Yield test images in the usual colours, 28 to 200 pixels high, on sheets up to twice as large."""
    images = read_images(RAW / "t10k-images-idx3-ubyte")[:MNIST]
    labels = read_labels(RAW / "t10k-labels-idx1-ubyte", 10)
    source = random.Random(0)
    for image, label in zip(images, labels, strict=False):
        side = int(source.uniform(28, 200))
        scaled = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
        ink, paper = COLOURS[int(source.random() * len(COLOURS))]
        picture = Image.new("RGB", tuple(int(side * source.uniform(1, 2)) for _ in range(2)), paper)
        place = tuple(int((whole - side) * source.random()) for whole in picture.size)
        picture.paste(ink, place, scaled)
        yield int(label), picture


def strokes(
    disturb: Callable[[Image.Image, random.Random], Image.Image] | None = None, two: bool = False, **how
) -> Iterator[Example]:
    """Yield written digits, each alone or before another one; `how` they are written is for `written`."""
    source = random.Random(0)
    for digit in range(10):
        for _ in range(WRITTEN):
            picture = written([digit, int(10 * source.random())] if two else [digit], source, **how)
            yield digit, disturb(picture, source) if disturb else picture


def stored() -> Iterator[Example]:
    """Yield the drawings of tests/sample, as the page to draw on makes pixels of them."""
    for drawing in drawings():
        yield drawing["digit"], Image.fromarray(rasterised(drawing["strokes"]))


def without_answer(make: Callable[[random.Random], Image.Image]) -> Iterator[Example]:
    """Yield pictures of no digit."""
    source = random.Random(0)
    return ((None, make(source)) for _ in range(10 * WRITTEN))


class Prepared(NamedTuple):
    """A source's pictures, prepared.

    Attributes:
        source: its name.
        digits: the right answer for each picture; −1 if there is none.
        images: (pictures, 28, 28) uint8.
        findings: what was seen on each; None if the tool refuses it as blank.
    """

    source: str
    digits: np.ndarray
    images: np.ndarray
    findings: list[Findings | None]


def prepared(number: int, folder: Path | None) -> Prepared:
    """Prepare the pictures of a source as `tools.predict` does; put one of them, and a sheet, into `folder`."""
    source, examples = list(sources())[number]
    digits, images, findings = [], [], []
    for digit, picture in examples:
        try:
            image, found = examine(picture, (28, 28))
        except ValueError:
            image, found = np.zeros((28, 28), np.uint8), None
        digits.append(-1 if digit is None else digit)
        images.append(image)
        findings.append(found)
        if digit in (None, number % 10):
            shown = picture
    if folder:
        name = re.sub(r"\W+", "-", source.replace("'", "")).lower()
        shown.save(folder / "drawings" / f"{name}.png")
        write_sheet(np.stack(images), folder / "prepared" / f"{name}.png")
    return Prepared(source, np.array(digits), np.stack(images), findings)


def row(network: Network, pictures: Prepared) -> str:
    """Return a source's row of the table; what needs a right answer is blank if there is none.

    "Noted" is a note or a refusal. "Not only as unsure": a note on what was seen, not on the probability alone.
    """
    probabilities, _ = predict(network, pictures.images.reshape(len(pictures.images), -1))
    blank = np.array([found is None for found in pictures.findings])
    odd = blank | [bool(doubts(found, 1.0)) for found in pictures.findings]
    noted = odd | (probabilities.max(axis=1) < SURE)
    predicted = np.where(blank, -2, probabilities.argmax(axis=1))
    right = predicted == pictures.digits
    accuracy, right_odd, right_noted, mistakes_noted, mistaken = "", "", "", "", ""
    if right.any():
        wrong = Counter(zip(pictures.digits[~right].tolist(), predicted[~right].tolist(), strict=True)).most_common(2)
        mistaken = ", ".join(f"{n} × {digit} as {'blank' if other < 0 else other}" for (digit, other), n in wrong)
        accuracy, right_odd, right_noted = (
            f"{100 * share.mean():.1f} %" for share in (right, odd[right], noted[right])
        )
    if not right.all():
        mistakes_noted = f"{100 * noted[~right].mean():.0f} %"
    cells = pictures.source, len(right), accuracy, right_noted, right_odd, mistakes_noted, mistaken
    return f"| {' | '.join(map(str, cells))} |"


@command
def main(
    models: Annotated[
        list[Path] | None, typer.Argument(help="Trained networks.", show_default="models/mlp.npz")
    ] = None,
    pictures: Annotated[Path | None, typer.Option(help="Folder for some pictures, and the prepared images.")] = None,
) -> None:
    """Print how accurate models are on other pictures than MNIST's, and how many get a note."""
    if pictures and pictures.exists() and not pictures.is_dir():
        raise UserError(f"{pictures} is not a folder; name another one.")
    for folder in ("drawings", "prepared") if pictures else ():
        (pictures / folder).mkdir(parents=True, exist_ok=True)
    models = models or [Path("models/mlp.npz")]
    networks = [load_model(model) for model in models]
    with ProcessPoolExecutor() as processes:
        of_each_source = list(processes.map(prepared, range(len(list(sources()))), repeat(pictures)))
    for model, network in zip(models, networks, strict=True):
        print(f"{model}:\n")
        print(
            "| source | pictures | accuracy | right, noted | not only as unsure | mistakes, noted | frequent mistakes |"
        )
        print("|---|--:|--:|--:|--:|--:|---|")
        for of_source in of_each_source:
            print(row(network, of_source))
        print()


def write_sheet(images: np.ndarray, path: Path, columns: int = 40, most: int = 800) -> None:
    """Write some of the images, evenly picked, side by side into one PNG."""
    picked = images[np.linspace(0, len(images) - 1, min(len(images), most)).astype(int)]
    rows = -(-len(picked) // columns)
    cells = np.zeros((rows * columns, 30, 30), np.uint8)
    cells[: len(picked), 1:29, 1:29] = picked
    whole = cells.reshape(rows, columns, 30, 30).swapaxes(1, 2).reshape(rows * 30, columns * 30)
    Image.fromarray(whole).save(path)


if __name__ == "__main__":
    main()
