"""How accurate is a model on digits that do not come from MNIST's files?

    python -m benchmarks.foreign_digits [models/mlp.npz] [--pictures FOLDER]

draws digits, prepares them as `tools.predict` does, and prints a table in Markdown, as in docs/prediction.md. It draws

- fonts: those of Matplotlib, by Pillow's ImageDraw, in several sizes, colours and rotations;
- strokes: lines drawn with a round pen through a few points that a hand might aim at, and misses, by a seeded
  generator;
- the same in uneven light, with noise, and after a JPEG file of low quality.

With `--pictures`, FOLDER gets a drawing from each source, and sheets with the prepared images, to look at.
"""

import io
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from PIL import Image, ImageDraw, ImageFont

FONTS = {
    "DejaVu Sans": ["DejaVuSans", "DejaVuSans-Oblique", "DejaVuSans-Bold", "DejaVuSans-BoldOblique"],
    "DejaVu Sans Mono": [
        "DejaVuSansMono",
        "DejaVuSansMono-Oblique",
        "DejaVuSansMono-Bold",
        "DejaVuSansMono-BoldOblique",
    ],
    "DejaVu Serif": ["DejaVuSerif", "DejaVuSerif-Italic", "DejaVuSerif-Bold", "DejaVuSerif-BoldItalic"],
    "STIX": ["STIXGeneral", "STIXGeneralItalic", "STIXGeneralBol", "STIXGeneralBolIta"],
    "Computer Modern": ["cmr10", "cmti10", "cmb10", "cmss10", "cmtt10"],
}
SIZES = [24, 60, 150]  # of the font, in pixels
ROTATIONS = [-10, 0, 10]  # degrees
COLOURS = [("black", "white"), ("white", "black"), ("navy", "khaki"), ("gold", "darkgreen"), ("#888888", "#dddddd")]

# What a pen aims at: points to the right and down, in percent of the digit's height. A stroke is a smooth curve (~) or
# has corners (/). Several ways to write each digit.
SHAPES = {
    0: [
        "~ 50,0 15,20 8,55 30,95 70,92 90,50 75,10 45,0",
        "~ 62,3 30,10 10,50 25,90 60,97 85,60 80,15 50,5",
    ],
    1: [
        "/ 50,0 50,100",
        "/ 62,0 40,100",
        "/ 30,22 52,0 52,100",
    ],
    2: [
        "~ 10,25 35,2 75,10 75,40 40,75 10,97 / 10,97 90,95",
        "~ 15,20 45,0 80,15 70,50 35,90 10,90 20,72 50,85 95,95",
    ],
    3: [
        "~ 15,12 50,0 80,20 65,42 40,47 ~ 40,47 75,55 85,75 55,100 10,88",
        "/ 15,3 80,3 40,42 ~ 40,42 78,52 82,78 50,100 10,88",
    ],
    4: [
        "/ 30,0 12,55 88,52 / 72,5 66,100",
        "/ 68,0 8,65 92,63 / 68,0 66,100",
        "~ 20,2 14,40 40,52 75,42 / 78,0 70,100",
    ],
    5: [
        "/ 80,3 25,3 20,42 ~ 20,42 60,40 82,68 55,98 12,90",
        "/ 90,0 35,5 25,45 ~ 25,45 60,50 70,75 45,97 10,95",
    ],
    6: [
        "~ 70,0 30,30 15,70 40,98 75,85 70,58 40,55 18,75",
        "~ 50,0 25,40 20,80 50,100 80,80 65,60 30,70",
    ],
    7: [
        "/ 10,5 85,3 40,100",
        "~ 10,12 45,7 85,6 ~ 85,6 60,45 48,100",
        "/ 10,5 85,3 40,100 / 30,52 82,48",
    ],
    8: [
        "~ 75,12 40,0 20,20 50,45 80,75 50,100 20,80 50,47 78,25 72,8",
        "~ 50,0 20,20 50,45 80,22 50,0 ~ 50,45 15,75 50,100 85,75 50,45",
    ],
    9: [
        "~ 75,15 45,0 18,25 40,50 72,35 77,15 / 77,10 68,100",
        "~ 78,12 40,2 20,30 50,48 78,20 78,60 60,100",
    ],
}
MISS = 0.05  # how far a point may be missed to each side, of the digit's height
WIDTHS = {"thin pen": 0.03, "medium pen": 0.09, "thick pen": 0.15}  # of the pen, of the digit's height
DRAWN_OF_EACH_SHAPE = 20


class Drawing(NamedTuple):
    """A picture of a digit, and from which source it is."""

    picture: Image.Image
    digit: int
    source: str


def fonts() -> Iterator[Drawing]:
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for family, names in FONTS.items():
        for name, size, rotation, digit in product(names, SIZES, ROTATIONS, range(10)):
            font = ImageFont.truetype(folder / f"{name}.ttf", size)
            for ink, paper in COLOURS:
                picture = Image.new("RGB", (2 * size, 2 * size), paper)
                ImageDraw.Draw(picture).text((size, size), str(digit), ink, font, anchor="mm")
                picture = picture.rotate(rotation, Image.Resampling.BICUBIC, fillcolor=paper)
                yield Drawing(picture, digit, f"font: {family}")


def strokes(seed: int = 0) -> Iterator[Drawing]:
    source = random.Random(seed)
    for (pen, width), (digit, shapes) in product(WIDTHS.items(), SHAPES.items()):
        for shape, _ in product(shapes, range(DRAWN_OF_EACH_SHAPE)):
            yield Drawing(written(shape, width, source), digit, f"strokes: {pen}")
    for digit, shapes in SHAPES.items():
        for shape, _ in product(shapes, range(DRAWN_OF_EACH_SHAPE)):
            picture = photographed(written(shape, WIDTHS["medium pen"], source), source)
            yield Drawing(picture, digit, "strokes: medium pen, photographed")


def written(shape: str, width: float, source: random.Random) -> Image.Image:
    """Draw a digit as a hand might: every point missed a little, the whole slanted, narrow or wide, large or small."""
    height = source.uniform(60, 400)
    narrow, slant = source.uniform(0.55, 0.85), source.uniform(-0.1, 0.35)
    ink, paper = COLOURS[int(source.random() * len(COLOURS))]
    picture = Image.new("RGB", (int(2.2 * height), int(1.8 * height)), paper)
    draw = ImageDraw.Draw(picture)
    left, top = source.uniform(0.3, 0.8), source.uniform(0.2, 0.6)
    for stroke in re.findall(r"[~/][^~/]*", shape):
        points = [[int(percent) / 100 for percent in point.split(",")] for point in stroke[1:].split()]
        aimed = [(narrow * (x + source.uniform(-MISS, MISS)), y + source.uniform(-MISS, MISS)) for x, y in points]
        path = smooth(aimed) if stroke[0] == "~" else aimed
        path = [(height * (left + x + slant * (1 - y)), height * (top + y)) for x, y in path]
        pen = max(1, round(width * height))
        draw.line(path, ink, pen, joint="curve")
        for x, y in (path[0], path[-1]):  # the pen is round
            draw.ellipse([x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2], ink)
    return picture


def photographed(picture: Image.Image, source: random.Random) -> Image.Image:
    """Let the light fall off by a fifth from one side to the other, add noise of up to ±10, and save as poor JPEG."""
    pixels = np.asarray(picture, np.float64)
    light = np.linspace(1.0, 0.8, pixels.shape[1])[:, np.newaxis]
    if source.random() < 0.5:
        light = light[::-1]
    noise = np.frombuffer(source.randbytes(pixels.size), np.uint8).reshape(pixels.shape) / 255 * 20 - 10
    file = io.BytesIO()
    Image.fromarray((pixels * light + noise).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=40)
    return Image.open(file)


def smooth(points: list[tuple[float, float]], steps: int = 12) -> list[tuple[float, float]]:
    """Return a Catmull-Rom curve through `points`, as a path of short lines."""
    p = np.array([points[0], *points, points[-1]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, np.newaxis]
    pieces = [
        b + t * ((c - a) + t * ((2 * a - 5 * b + 4 * c - d) + t * (3 * b - a - 3 * c + d))) / 2
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False)
    ]
    return [tuple(point) for point in np.concatenate([*pieces, p[-1:]]).tolist()]


def main(
    model: Annotated[Path, typer.Argument(help="The trained network.")] = Path("models/mlp.npz"),
    pictures: Annotated[Path | None, typer.Option(help="Folder for some drawings, and the prepared images.")] = None,
) -> None:
    """Print how accurate the model is on digits from other sources than MNIST."""
    from mlp.network import predict
    from pipeline.store.artifacts import load_model
    from tools.digits import prepare

    if pictures and pictures.exists() and not pictures.is_dir():
        sys.exit(f"error: {pictures} is not a folder; name another one.")
    network = load_model(model)
    drawings = [*fonts(), *strokes()]
    images = np.stack([prepare(drawing.picture, network.preparation.image_shape) for drawing in drawings])
    probabilities, _ = predict(network, images.reshape(len(images), -1))
    predicted = probabilities.argmax(axis=1)
    right = predicted == np.array([drawing.digit for drawing in drawings])
    digits = np.array([drawing.digit for drawing in drawings])
    sources = np.array([drawing.source for drawing in drawings])

    print("| source | images | accuracy | " + " | ".join(map(str, range(10))) + " | most frequent mistakes |")
    print("|---|--:|--:|" + "--:|" * 10 + "---|")
    for number, source in enumerate(dict.fromkeys(sources.tolist())):
        of_source = sources == source
        by_digit = (f"{100 * right[of_source & (digits == digit)].mean():.0f}" for digit in range(10))
        wrong = of_source & ~right
        mistakes = Counter(zip(digits[wrong].tolist(), predicted[wrong].tolist(), strict=True)).most_common(2)
        mistaken = ", ".join(f"{n} × {digit} as {other}" for (digit, other), n in mistakes)
        accuracy = 100 * right[of_source].mean()
        print(f"| {source} | {of_source.sum()} | {accuracy:.1f} % | {' | '.join(by_digit)} | {mistaken} |")
        if pictures:
            name = source.replace(": ", "-").replace(", ", "-").replace(" ", "-").lower()
            for folder in ("drawings", "prepared"):
                (pictures / folder).mkdir(parents=True, exist_ok=True)
            of_digit = np.flatnonzero(of_source & (digits == number + 1))
            drawings[of_digit[len(of_digit) // 2]].picture.save(pictures / "drawings" / f"{name}-{number + 1}.png")
            write_sheet(images[of_source], pictures / "prepared" / f"{name}.png")
    sure = probabilities.max(axis=1) > 0.9
    print(
        f"\nOver 90 % sure: {sure[right].mean():.0%} of the right answers, {sure[~right].mean():.0%} of the mistakes."
    )


def write_sheet(images: np.ndarray, path: Path, columns: int = 40, most: int = 800) -> None:
    """Write some of the images, evenly picked, side by side into one PNG."""
    picked = images[np.linspace(0, len(images) - 1, min(len(images), most)).astype(int)]
    rows = -(-len(picked) // columns)
    cells = np.zeros((rows * columns, 30, 30), np.uint8)
    cells[: len(picked), 1:29, 1:29] = picked
    whole = cells.reshape(rows, columns, 30, 30).swapaxes(1, 2).reshape(rows * 30, columns * 30)
    Image.fromarray(whole).save(path)


if __name__ == "__main__":
    typer.run(main)
