"""Digit and background: which pixels of a grey picture are ink, and signs of mistakes."""

import numpy as np

LEAST_CONTRAST = 13  # of 255, a twentieth: a picture with less contrast is blank
DARKEST_PAPER = 64  # of 255: contrast is measured relative to the paper, but to no darker one
INK = 3  # a pixel is ink if its contrast is above 1/INK of the largest contrast
WINDOW = 6  # a pixel's paper is looked for within 1/WINDOW of the longer side, in each direction
THIN = 64  # a ruled line is at most 2/THIN of the longer side thick
SPECK = 8  # a piece is a speck if it is shorter than 1/SPECK of the longest piece
EDGE = 2  # a piece at the border is a shadow if it is shorter than 1/EDGE of the longest piece


def median_of_border(pixels: np.ndarray) -> int:
    """Return the median of the outermost pixels of (rows, columns) uint8: the background."""
    outermost = border(pixels)
    return int(np.sort(outermost)[len(outermost) // 2])


def border(pixels: np.ndarray) -> np.ndarray:
    """Return the outermost pixels of (rows, columns), each once: (n,)."""
    outermost = np.ones(pixels.shape, bool)
    outermost[1:-1, 1:-1] = False
    return pixels[outermost]


def find_ink(grey: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Find the ink: darker than the paper around it, or lighter if the picture's border is dark.

    Return the contrast of each pixel to its paper, 0 where there is no ink, (rows, columns) uint8
    like `grey`; and a sentence for each sign that the ink is not that of one whole digit.

    Raises:
        ValueError: the picture is blank.
    """
    # The border is mainly paper, and dark
    if 2 * border(grey).mean() < int(grey.min()) + int(grey.max()):
        grey = 255 - grey
    radius = max(grey.shape) // WINDOW
    lightest = _greatest(grey, radius, radius)
    # a closing fills all dark that is narrower than a window
    paper = 255 - _greatest(255 - lightest, radius, radius)
    difference = paper - grey
    if difference.max() < LEAST_CONTRAST:
        raise ValueError("the picture is blank")
    # Ink reflects a part of the light that falls on the paper, so in shadow it differs less
    relative = difference.astype(np.int32) * 255 // np.maximum(paper, DARKEST_PAPER)
    contrast = relative.astype(np.uint8)
    ink, notes = _without_specks(_without_lines((contrast > contrast.max() // INK).view(np.uint8)))
    if difference.max() < 2 * LEAST_CONTRAST:
        notes.append("there is hardly any contrast")
    # The edge of an anti-aliased stroke is paler than ink. So is noise, but noise lies elsewhere
    return contrast * _greatest(ink, 1, 1), notes


def _without_lines(ink: np.ndarray) -> np.ndarray:
    """Return `ink`, 0 and 1, without thin lines across the whole picture; strokes over them stay.

    If there is nothing else, they are what was drawn.
    """
    left = ink & ~(_lines(ink) | _lines(ink.T).T)
    return left if left.any() else ink


def _lines(ink: np.ndarray) -> np.ndarray:
    """Return the thin ink near the rows where every column has ink nearby: a line may slope."""
    near = max(ink.shape) // THIN
    crossed = _greatest(ink, near, 0).min(axis=1, keepdims=True)
    # Columns of ink longer than 2 · near
    thick = _greatest(1 - _greatest(1 - ink, near, 0), near, 0)
    return ink & _greatest(crossed, near, 0) & (1 - thick)


def _without_specks(ink: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return `ink`, 0 and 1, without specks and shadows at the border; and signs of mistakes."""
    y, x = np.nonzero(ink)
    piece = _pieces(ink)
    order = np.argsort(piece)
    starts = np.searchsorted(piece[order], np.arange(piece.max() + 1))
    top, left = (np.minimum.reduceat(place[order], starts) for place in (y, x))
    bottom, right = (np.maximum.reduceat(place[order], starts) + 1 for place in (y, x))
    length = np.maximum(bottom - top, right - left)
    at_border = (top == 0) | (left == 0) | (bottom == ink.shape[0]) | (right == ink.shape[1])
    stays = length * np.where(at_border, EDGE, SPECK) >= length.max()

    kept = np.zeros_like(ink)
    kept[y[stays[piece]], x[stays[piece]]] = 1
    top, bottom, left, right = top[stays], bottom[stays], left[stays], right[stays]
    height, width = bottom.max() - top.min(), right.max() - left.min()
    first, last = top.min() == 0, bottom.max() == ink.shape[0]
    sides = [first, last, left.min() == 0, right.max() == ink.shape[1]].count(True)
    tall = np.count_nonzero(3 * (bottom - top) > 2 * height)
    is_full = 4 * kept.sum() > 3 * height * width and 2 * width > height
    signs = {
        f"ink touches {sides} sides of the picture; the digit may be cut off": sides > 1,
        "there may be several digits; one is expected": tall > 1 or 2 * width > 3 * height,
        f"the ink is in {len(top)} pieces; this may be noise": len(top) > 6,
        "nearly all is ink; this may be no digit": is_full,
    }
    return kept, [sentence for sentence, seen in signs.items() if seen]


def _pieces(ink: np.ndarray) -> np.ndarray:
    """Return the number of each ink pixel's piece, from 0, in the order of `np.nonzero`.

    A piece is all pixels that touch, also by their corners.
    """
    framed = np.pad(ink, 1)
    pixels = np.flatnonzero(framed)
    number = np.zeros(framed.size, np.int64)
    number[pixels] = np.arange(len(pixels))
    row = framed.shape[1]
    pairs = []
    for step in (1, row - 1, row, row + 1):  # to the right, and to the three pixels below
        beside = np.flatnonzero(framed.ravel()[pixels + step])
        pairs.append((beside, number[pixels[beside] + step]))
    one, other = np.concatenate(pairs, axis=1)
    piece = np.arange(len(pixels))
    # Each pixel takes the lowest number that it sees, until all pixels of a piece have the same
    while True:
        lowest = np.minimum(piece[one], piece[other])
        joined = piece.copy()
        np.minimum.at(joined, piece[one], lowest)
        np.minimum.at(joined, piece[other], lowest)
        joined = joined[joined]
        if np.array_equal(joined, piece):
            return np.unique(piece, return_inverse=True)[1]
        piece = joined


def _greatest(values: np.ndarray, down: int, across: int) -> np.ndarray:
    """Return for each uint8 the greatest value within `down` rows and `across` columns."""
    for radius in (down, across):
        values = np.pad(values, ((radius, radius), (0, 0)))
        covered, window = 1, 2 * radius + 1
        while covered < window:  # each is the greatest of `covered` values, from its own downwards
            step = min(covered, window - covered)
            values = np.maximum(values[:-step], values[step:])
            covered += step
        values = values.T
    return values
