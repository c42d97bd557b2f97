"""Drawings as strokes, and their pixels: a second implementation beside tools/draw/strokes.js."""

import gzip
import json
from typing import Any

import numpy as np

from tests.conftest import SAMPLE

SIDE, PIXELS = 1024, 128  # of the paper, in units and in pixels


def drawings() -> list[dict[str, Any]]:
    """Return the 500 drawings of the sample: each a digit and its strokes."""
    return json.loads(gzip.decompress((SAMPLE / "drawings.json.gz").read_bytes()))


def rasterised(strokes: list[dict[str, Any]]) -> np.ndarray:
    """Return a drawing's pixels, (128, 128) uint8: 255 where the pixel's centre is under the round pen, else 0."""
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
