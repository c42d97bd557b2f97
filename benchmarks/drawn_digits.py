"""Digits drawn by a program: in Matplotlib's fonts, and as strokes of a round pen.

A stroke goes through a few points that a hand might aim at, and misses. A seeded generator makes every choice.
"""

import random
import re
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
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

Sheet = Callable[[tuple[int, int], str, str, random.Random], Image.Image]


def in_fonts(family: str) -> Iterator[tuple[int, Image.Image]]:
    """Yield digits and their pictures, in all fonts of a family, in several sizes, rotations and colours."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for number, (name, size, rotation) in enumerate(product(FONTS[family], SIZES, ROTATIONS)):
        font = ImageFont.truetype(folder / f"{name}.ttf", size)
        ink, paper = COLOURS[number % len(COLOURS)]
        for digit in range(10):
            picture = Image.new("RGB", (2 * size, 2 * size), paper)
            ImageDraw.Draw(picture).text((size, size), str(digit), ink, font, anchor="mm")
            yield digit, picture.rotate(rotation, Image.Resampling.BICUBIC, fillcolor=paper)


def plain(size: tuple[int, int], ink: str, paper: str, source: random.Random) -> Image.Image:
    """Return an empty sheet."""
    return Image.new("RGB", size, paper)


def written(digits: list[int], source: random.Random, pen: float = 0.09, sheet: Sheet = plain) -> Image.Image:
    """Draw digits side by side as a hand might: slanted, narrow or wide, large or small, each point a little missed.

    Args:
        digits: what to write, from left to right.
        source: makes the choices.
        pen: the pen's width, of the digits' height.
        sheet: makes the paper, from its size and the two colours.
    """
    height = source.uniform(60, 250)
    narrow, slant = source.uniform(0.55, 0.85), source.uniform(-0.1, 0.35)
    ink, paper = COLOURS[int(source.random() * len(COLOURS))]
    picture = sheet((int((1.2 + len(digits)) * height), int(1.8 * height)), ink, paper, source)
    draw = ImageDraw.Draw(picture)
    left, top = source.uniform(0.3, 0.8), source.uniform(0.2, 0.6)
    width = max(1, round(pen * height))
    for place, digit in enumerate(digits):
        for path in paths(digit, source):
            points = [(height * (left + place + narrow * x + slant * (1 - y)), height * (top + y)) for x, y in path]
            draw.line(points, ink, width, joint="curve")
            for x, y in (points[0], points[-1]):  # the pen is round
                draw.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], ink)
    return picture


def paths(
    digit: int, source: random.Random, miss: float = MISS, steps: int = 12
) -> Iterator[list[tuple[float, float]]]:
    """Yield the strokes of a digit that is 1 high, as paths: points to the right and down.

    Args:
        digit: what to write.
        source: makes the choices.
        miss: how far a point may be missed to each side.
        steps: points of a path for each point that the pen aims at, in curves.
    """
    shape = SHAPES[digit][int(source.random() * len(SHAPES[digit]))]
    for stroke in re.findall(r"[~/][^~/]*", shape):
        points = [[int(percent) / 100 for percent in point.split(",")] for point in stroke[1:].split()]
        aimed = [(x + source.uniform(-miss, miss), y + source.uniform(-miss, miss)) for x, y in points]
        yield _smooth(aimed, steps) if stroke[0] == "~" else aimed


def _smooth(points: list[tuple[float, float]], steps: int) -> list[tuple[float, float]]:
    """Return a Catmull-Rom curve through `points`, as a path of short lines."""
    p = np.array([points[0], *points, points[-1]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, np.newaxis]
    pieces = [
        b + t * ((c - a) + t * ((2 * a - 5 * b + 4 * c - d) + t * (3 * b - a - 3 * c + d))) / 2
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False)
    ]
    return [tuple(point) for point in np.concatenate([*pieces, p[-1:]]).tolist()]
