"""Drawings as strokes, and their pixels: a second implementation beside that of tools/draw."""

from typing import Any

import numpy as np

# The paper in units and in pixels, and the width of the pen in units
SIDE, PIXELS, PEN = 1024, 128, 88

# A 0, 1, 4, 7 and 9 drawn by hand. Of each stroke the points where a pointer was, in units
BY_HAND = """
512,196 402,236 338,352 322,520 352,690 436,802 548,820 \
648,742 700,598 692,420 634,280 540,206 500,198
520,180 516,300 512,430 510,560 508,690 506,836
400,190 370,320 340,450 330,540 450,550 580,545 710,540 / 610,380 605,520 600,680 596,840
330,260 500,250 690,240 600,420 520,600 450,820 / 410,540 520,530 640,522
620,250 500,200 400,270 390,390 490,450 600,390 630,260 640,400 620,580 560,730 470,820
"""


def _stroke(text: str) -> dict[str, Any]:
    return {"width": PEN, "points": [[*map(int, point.split(","))] for point in text.split()]}


DRAWINGS = [[*map(_stroke, line.split("/"))] for line in BY_HAND.split("\n")[1:-1]]


def rasterised(strokes: list[dict[str, Any]]) -> np.ndarray:
    """Return pixels, (128, 128) uint8: 255 where the centre is under the round pen, else 0."""
    centres = np.arange(PIXELS) * (SIDE // PIXELS) + SIDE // PIXELS // 2
    x, y = centres[np.newaxis, :], centres[:, np.newaxis]
    ink = np.zeros((PIXELS, PIXELS), bool)
    for stroke in strokes:
        points, width2 = stroke["points"], stroke["width"] ** 2
        for (px, py), (qx, qy) in zip([points[0], *points[:-1]], points, strict=True):
            dx, dy = qx - px, qy - py
            along, across = (x - px) * dx + (y - py) * dy, (x - px) * dy - (y - py) * dx
            beside = (along > 0) & (along < dx * dx + dy * dy)
            ink |= beside & (4 * across**2 <= width2 * (dx * dx + dy * dy))
            for cx, cy in ((px, py), (qx, qy)):
                ink |= 4 * ((x - cx) ** 2 + (y - cy) ** 2) <= width2
    return ink.astype(np.uint8) * 255
