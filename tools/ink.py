"""Ink on paper: which pixels of a grey picture belong to a digit, and how its pieces lie.

Only whole numbers and plain definitions: a translation into another language can give the same bytes.
"""

from typing import NamedTuple

import numpy as np

from tools.resizing import border

LEAST_CONTRAST = 13  # of 255, a twentieth: a picture with less contrast is blank
DARKEST_PAPER = 64  # of 255: contrast is measured relative to the paper, but to no darker one
INK = 3  # a pixel is ink if its contrast is above 1/INK of the largest contrast
WINDOW = 6  # a pixel's paper is looked for within 1/WINDOW of the longer side, in each direction
THIN = 64  # a ruled line is at most 2/THIN of the longer side thick
SPECK = 8  # a piece is a speck if it is shorter than 1/SPECK of the longest piece
EDGE = 2  # a piece at the border is a shadow's corner, or the like, if it is shorter than 1/EDGE of the longest


class Findings(NamedTuple):
    """What `find_ink` saw, in whole numbers.

    Attributes:
        contrast: the largest difference between ink and paper, 1 to 255.
        sides: how many sides of the picture the ink touches.
        pieces: how many connected pieces the ink has.
        tall: how many of them are higher than two thirds of the whole.
        height, width: of the smallest box around the ink, in pixels.
        pixels: how many pixels of the box are ink.
    """

    contrast: int
    sides: int
    pieces: int
    tall: int
    height: int
    width: int
    pixels: int


def find_ink(grey: np.ndarray) -> tuple[np.ndarray, Findings]:
    """Find the ink, which is darker than the paper around it, or lighter if the picture's border is dark.

    Args:
        grey: (rows, columns) uint8.

    Returns:
        The contrast of each pixel to its paper, uint8 of the same shape, 0 where there is no ink; and the findings.

    Raises:
        ValueError: the picture is blank.
    """
    if _is_dark(grey):
        grey = 255 - grey
    paper = _paper(grey)
    difference = paper - grey
    if difference.max() < LEAST_CONTRAST:
        raise ValueError("the picture is blank")
    # Ink reflects a part of the light that falls on the paper, so in shadow it differs less
    contrast = (difference.astype(np.int32) * 255 // np.maximum(paper, DARKEST_PAPER)).astype(np.uint8)
    ink = _without_lines((contrast > contrast.max() // INK).view(np.uint8))
    ink, findings = _without_specks(ink, int(difference.max()))
    # The edge of an anti-aliased stroke is paler than ink. So is noise, but noise lies elsewhere
    return contrast * _greatest(_greatest(ink, 1, 0), 1, 1), findings


def _is_dark(grey: np.ndarray) -> bool:
    """Return whether the border, which is mainly paper, is nearer to the darkest pixel than to the lightest."""
    pixels = border(grey)
    return 2 * int(pixels.sum(dtype=np.int64)) < len(pixels) * (int(grey.min()) + int(grey.max()))


def _paper(grey: np.ndarray) -> np.ndarray:
    """Return the paper's grey at each pixel: a closing, which fills everything dark that is narrower than a window."""
    radius = max(grey.shape) // WINDOW
    lightest = _greatest(_greatest(grey, radius, 0), radius, 1)
    return 255 - _greatest(_greatest(255 - lightest, radius, 0), radius, 1)


def _without_lines(ink: np.ndarray) -> np.ndarray:
    """Return `ink`, 0 and 1, without thin lines that cross the whole picture; strokes that cross them stay.

    If there is nothing else, they are what was drawn.
    """
    left = ink & ~(_lines(ink) | _lines(ink.T).T)
    return left if left.any() else ink


def _lines(ink: np.ndarray) -> np.ndarray:
    """Return the thin ink near the rows in which every column has ink, or has it nearby: a line may slope a little."""
    near = max(ink.shape) // THIN
    crossed = _greatest(ink, near, 0).min(axis=1, keepdims=True)
    thick = _greatest(1 - _greatest(1 - ink, near, 0), near, 0)  # columns of ink longer than 2 · near
    return ink & _greatest(crossed, near, 0) & (1 - thick)


def _without_specks(ink: np.ndarray, contrast: int) -> tuple[np.ndarray, Findings]:
    """Return `ink`, 0 and 1, without specks and the ends of things at the border; and the findings."""
    rows, columns = ink.shape
    row, start, end, piece = _runs(ink)
    top, left = (np.full(piece.max() + 1, max(ink.shape)) for _ in range(2))
    bottom, right = (np.zeros(piece.max() + 1, int) for _ in range(2))
    np.minimum.at(top, piece, row)
    np.minimum.at(left, piece, start)
    np.maximum.at(bottom, piece, row + 1)
    np.maximum.at(right, piece, end)
    length = np.maximum(bottom - top, right - left)
    at_border = (top == 0) | (left == 0) | (bottom == rows) | (right == columns)
    stays = length * np.where(at_border, EDGE, SPECK) >= length.max()

    row, start, end = row[stays[piece]], start[stays[piece]], end[stays[piece]]
    steps = np.zeros((rows, columns + 1), np.int8)
    steps[row, start] = 1
    steps[row, end] = -1
    top, bottom, left, right = top[stays], bottom[stays], left[stays], right[stays]
    height, width = int(bottom.max() - top.min()), int(right.max() - left.min())
    findings = Findings(
        contrast=contrast,
        sides=sum(map(bool, (top.min() == 0, left.min() == 0, bottom.max() == rows, right.max() == columns))),
        pieces=len(top),
        tall=int((3 * (bottom - top) > 2 * height).sum()),
        height=height,
        width=width,
        pixels=int((end - start).sum()),
    )
    return steps[:, :-1].cumsum(axis=1, dtype=np.int8).view(np.uint8), findings


def _runs(ink: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the runs of ink within rows: row, first column, column after the last, and the number of its piece.

    A piece is all pixels that touch, also by their corners.
    """
    stride = ink.shape[1] + 1  # a column without ink between the end of a row and the next one
    edges = np.flatnonzero(np.diff(np.pad(ink, ((0, 0), (0, 1))).view(np.int8).ravel(), prepend=0))
    start, end = edges[::2], edges[1::2]
    first = np.searchsorted(end, start + stride)  # the runs below that touch are `first` and so many more
    touching = np.searchsorted(start, end + stride, "right") - first
    above = np.repeat(np.arange(len(start)), touching)
    below = np.arange(len(above)) + np.repeat(first - (touching.cumsum() - touching), touching)
    piece = np.arange(len(start))
    while True:  # each run takes the lowest number that it sees, until all runs of a piece have the same
        lowest = np.minimum(piece[above], piece[below])
        joined = piece.copy()
        np.minimum.at(joined, piece[above], lowest)
        np.minimum.at(joined, piece[below], lowest)
        joined = joined[joined]
        if np.array_equal(joined, piece):
            break
        piece = joined
    _, piece = np.unique(piece, return_inverse=True)
    return start // stride, start % stride, end - start // stride * stride, piece


def _greatest(values: np.ndarray, radius: int, axis: int) -> np.ndarray:
    """Return for each uint8 the greatest of itself and its neighbours up to `radius` away along an axis."""
    padding = [(0, 0), (0, 0)]
    padding[axis] = radius, radius
    greatest = np.moveaxis(np.pad(values, padding), axis, 0)
    covered, window = 1, 2 * radius + 1
    while covered < window:  # each is the greatest of `covered` values, from its own onwards
        step = min(covered, window - covered)
        greatest = np.maximum(greatest[:-step], greatest[step:])
        covered += step
    return np.moveaxis(greatest, 0, axis)
