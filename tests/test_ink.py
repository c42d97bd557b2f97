"""Ink is told from paper in any light, lines and dust are left out, and doubtful pictures get a note."""

from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tools.digits import examine, prepare
from tools.doubts import doubts
from tools.ink import Findings, find_ink


def four(side=400, pen=20):
    """A four, black on white: its strokes are horizontal, vertical and slanting."""
    picture = np.full((side, side), 255, np.uint8)
    unit = side // 20
    picture[12 * unit : 12 * unit + pen, 5 * unit : 14 * unit] = 0
    picture[4 * unit : 17 * unit, 11 * unit : 11 * unit + pen] = 0
    for step in range(8 * unit):
        picture[4 * unit + step, 9 * unit - step // 2 : 9 * unit - step // 2 + pen] = 0
    return picture


def spread(ink, radius):
    """Return the greatest value of the square around each pixel."""
    rows, columns = ink.shape
    spread = np.zeros_like(ink)
    for y, x in product(range(rows), range(columns)):
        spread[y, x] = ink[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1].max()
    return spread


def pieces_of(ink):
    """Return the pixels of each connected piece, found by walking from pixel to pixel."""
    left = {(int(y), int(x)) for y, x in np.argwhere(ink)}
    pieces = []
    while left:
        piece, ahead = [], [left.pop()]
        while ahead:
            y, x = ahead.pop()
            piece.append((y, x))
            beside = {(y + down, x + right) for down, right in product((-1, 0, 1), repeat=2)} & left
            left -= beside
            ahead += beside
        pieces.append(np.array(piece))
    return pieces


def found_plainly(grey):
    """Return what `find_ink` does, pixel by pixel; for pictures so small that no line is thin."""
    last = grey.shape[0] - 1, grey.shape[1] - 1
    border = [pixel for (y, x), pixel in np.ndenumerate(grey) if y in (0, last[0]) or x in (0, last[1])]  # each once
    if 2 * sum(map(int, border)) < len(border) * (int(grey.min()) + int(grey.max())):
        grey = 255 - grey
    radius = max(grey.shape) // 6
    paper = 255 - spread(255 - spread(grey, radius), radius)
    contrast = np.array(
        [255 * (int(p) - int(g)) // max(64, int(p)) for p, g in zip(paper.flat, grey.flat, strict=True)]
    ).reshape(grey.shape)
    pieces = pieces_of(contrast > contrast.max() // 3)
    boxes = [(*piece.min(axis=0), *(piece.max(axis=0) + 1)) for piece in pieces]
    lengths = [max(bottom - top, right - left) for top, left, bottom, right in boxes]
    kept = []
    for number, (top, left, bottom, right) in enumerate(boxes):
        at_border = top == 0 or left == 0 or bottom == grey.shape[0] or right == grey.shape[1]
        if lengths[number] * (2 if at_border else 8) >= max(lengths):
            kept.append(number)
    ink = np.zeros(grey.shape, np.uint8)
    for number in kept:
        ink[tuple(pieces[number].T)] = 1
    tops, lefts, bottoms, rights = np.array([boxes[number] for number in kept]).T
    height, width = max(bottoms) - min(tops), max(rights) - min(lefts)
    sides = [min(tops) == 0, min(lefts) == 0, max(bottoms) == grey.shape[0], max(rights) == grey.shape[1]]
    tall = sum(3 * (bottoms - tops) > 2 * height)
    findings = Findings(int((paper - grey).max()), sum(sides), len(kept), tall, height, width, int(ink.sum()))
    return contrast * spread(ink, 1), findings


GREYS = arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=st.sampled_from([0, 60, 200, 255]))


@settings(deadline=None, max_examples=60)
@given(GREYS)
@example(np.array([[0], [200], [200], [60], [60], [60]], np.uint8))  # one column is both sides of the border
def test_ink_is_found_as_by_the_plain_definitions(grey):
    paper = np.pad(grey, 6, constant_values=255)
    for picture in (paper, 255 - paper, grey):
        try:
            ink, findings = find_ink(picture)
        except ValueError:
            continue
        expected, expected_findings = found_plainly(picture)
        assert np.array_equal(ink, expected)
        assert findings == expected_findings


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("slope", [0, 0.01, -0.01])
@pytest.mark.parametrize("squared", [False, True])
def test_ruled_lines_are_no_ink(turn, slope, squared):
    picture = four()
    ruled = picture.copy()
    for column, place in product(range(400), range(15, 420, 55)):
        row = min(max(round(place + slope * column), 0), 397)
        ruled[row : row + 3, column] = np.minimum(ruled[row : row + 3, column], 90)
        if squared:
            ruled[column, row : row + 3] = np.minimum(ruled[column, row : row + 3], 90)
    image = prepare(np.rot90(ruled, turn)).astype(int)
    expected = prepare(np.rot90(picture, turn)).astype(int)
    assert abs(image - expected).mean() < 3
    assert doubts(examine(ruled, (28, 28))[1], 1.0) == []


def test_thick_strokes_across_the_picture_stay():
    picture = np.full((300, 300), 255, np.uint8)
    picture[140:160] = 0
    picture[40:260, 140:160] = 0
    assert find_ink(picture)[0][150].all()


def test_a_line_alone_is_what_was_drawn():
    picture = np.full((300, 300), 255, np.uint8)
    picture[150:153] = 0
    assert find_ink(picture)[1].pixels == 900


@pytest.mark.parametrize("light", ["hard", "soft", "corner"])
def test_shadow_is_no_ink(light):
    across = np.arange(400)
    dark = {
        "hard": np.where(across < 170, 1, 0.45),
        "soft": np.linspace(1, 0.35, 400),
        "corner": np.where(across + across[:, np.newaxis] < 500, 1, 0.45),
    }[light]
    picture = (four() * dark).astype(np.uint8)
    assert abs(prepare(picture).astype(int) - prepare(four())).mean() < 3


def test_dust_is_no_ink():
    dusty = four()
    for y, x in np.random.default_rng(0).integers(0, 395, (40, 2)):
        dusty[y : y + 4, x : x + 4] = 0
    assert abs(prepare(dusty).astype(int) - prepare(four())).mean() < 3


def test_detached_strokes_stay():
    picture = four()
    picture[:, 200:215] = 255  # between the upright stroke and the rest
    assert find_ink(picture)[1].pieces == 2
    assert find_ink(picture)[1].width == find_ink(four())[1].width


def test_colours_of_equal_lightness():
    picture = np.full((200, 200, 3), (0, 150, 0), np.uint8)
    picture[four(200, 10) == 0] = (255, 19, 0)  # as light as the paper, by the usual weights
    assert np.array_equal(prepare(picture), prepare(four(200, 10)))


def sentences(picture):
    return " ".join(doubts(examine(picture, (28, 28))[1], 1.0))


def test_no_note_on_a_good_picture():
    for picture in (four(), 255 - four(), four(28, 2), four(900, 20)):
        assert sentences(picture) == ""


def test_notes_on_bad_pictures():
    blot = np.full((300, 300), 255, np.uint8)
    blot[100:190, 100:180] = 0
    noise = np.random.default_rng(0).integers(0, 256, (200, 200), dtype=np.uint8)
    specks = np.where(np.random.default_rng(0).random((200, 200)) < 0.02, 0, 255).astype(np.uint8)
    assert "several digits" in sentences(np.hstack([four(), four()]))
    assert "touches 2 sides" in sentences(four()[:260, 120:])
    assert "nearly all is ink" in sentences(blot)
    assert "contrast" in sentences(four() // 15 + 100)
    assert "pieces" in sentences(noise)
    assert "pieces" in sentences(specks)


GOOD = Findings(contrast=200, sides=1, pieces=6, tall=1, height=100, width=150, pixels=11250)


@pytest.mark.parametrize(
    ("changes", "probability", "notes"),
    [
        ({}, 0.6, 0),
        ({}, 0.59, 1),
        ({"contrast": 26}, 1, 0),
        ({"contrast": 25}, 1, 1),
        ({"sides": 2}, 1, 1),
        ({"tall": 2}, 1, 1),
        ({"width": 151, "pixels": 0}, 1, 1),
        ({"pieces": 7}, 1, 1),
        ({"pixels": 11251}, 1, 1),
        ({"width": 50, "pixels": 5000}, 1, 0),
        ({"width": 51, "pixels": 5000}, 1, 1),
        ({"tall": 2, "width": 200, "pixels": 0}, 1, 1),
        ({"sides": 4, "contrast": 13, "pieces": 50, "tall": 9, "pixels": 15000}, 0.1, 6),
    ],
)
def test_doubts(changes, probability, notes):
    assert len(doubts(GOOD._replace(**changes), probability)) == notes


def test_doubts_on_an_image_from_elsewhere():
    assert doubts(None, 0.6) == []
    assert doubts(None, 0.5) == ["not sure: the most probable class has 50.0 %"]
