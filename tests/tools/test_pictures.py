"""Pictures become images: digits in any light are made like MNIST's; doubtful ones get a note."""

import hashlib
from itertools import product

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.support.files import drawn
from tests.support.networks import digits
from tools.pictures.background import find_ink
from tools.pictures.preparation import fit
from tools.pictures.preparation import prepare as prepare_picture


def examined(picture, shape=(28, 28)):
    """Return the image of a digit on a picture, or on an array of pixels, and the notes."""
    picture = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    return prepare_picture(picture, shape, whole=False, inverted=False)


def prepare(picture, shape=(28, 28)):
    return examined(picture, shape)[0]


def unlike(picture, other):
    """Return the mean difference of two pictures' images."""
    return abs(prepare(picture).astype(int) - prepare(other)).mean()


def four(side=400, pen=20):
    """A four, black on white: its strokes are horizontal, vertical and slanting."""
    picture = np.full((side, side), 255, np.uint8)
    unit = side // 20
    picture[12 * unit : 12 * unit + pen, 5 * unit : 14 * unit] = 0
    picture[4 * unit : 17 * unit, 11 * unit : 11 * unit + pen] = 0
    for step in range(8 * unit):
        picture[4 * unit + step, 9 * unit - step // 2 : 9 * unit - step // 2 + pen] = 0
    return picture


def test_a_picture_becomes_these_bytes_on_every_machine():
    """A blurred ring on paper that gets dark, with noise."""
    rows, columns = np.indices((150, 120))
    away = abs((rows - 90) ** 2 + 2 * (columns - 60) ** 2 - 2500) // 24
    noise = (rows * 7919 + columns * 104_729) % 5
    picture = (250 - rows * 5 // 4) * (80 + np.minimum(away, 100)) // 180 + noise
    image = prepare(picture.astype(np.uint8), (20, 28))
    assert hashlib.sha256(image.tobytes()).hexdigest()[:16] == "606e100864a9ff1c"


@pytest.mark.parametrize("paper", [(0, 0, False), (1, 0.01, True), (3, -0.01, False)], ids=str)
def test_ruled_lines_are_no_ink(paper):
    (turn, slope, squared), picture = paper, four()
    ruled = picture.copy()
    for column, place in product(range(400), range(15, 420, 55)):
        row = min(max(round(place + slope * column), 0), 397)
        ruled[row : row + 3, column] = np.minimum(ruled[row : row + 3, column], 90)
        if squared:
            ruled[column, row : row + 3] = np.minimum(ruled[column, row : row + 3], 90)
    assert unlike(np.rot90(ruled, turn), np.rot90(picture, turn)) < 3
    assert examined(ruled)[1] == []


def test_shadow_and_noise_are_no_ink():
    across = np.arange(400)
    hard, soft = np.where(across < 170, 1, 0.45), np.linspace(1, 0.35, 400)
    corner = np.where(across + across[:, np.newaxis] < 500, 1, 0.45)
    noise = np.random.default_rng(0).uniform(-12, 12, (400, 400))
    for light in (hard, soft, corner):
        assert unlike((four() * light).astype(np.uint8), four()) < 3
        assert unlike((four() * light + noise).clip(0, 255).astype(np.uint8), four()) < 6


def box(rows=100, columns=100, gap=60):
    """A box of lines on white paper: its ink touches no side."""
    picture = np.full((rows + 2 * gap, columns + 2 * gap), 255, np.uint8)
    inside = picture[gap:-gap, gap:-gap]
    inside[:6], inside[-6:], inside[:, :6], inside[:, -6:] = 0, 0, 0, 0
    return picture


def filled(rows, columns):
    return np.pad(np.zeros((rows, columns), np.uint8), 110, constant_values=255)


def dotted(dots, side=13):
    """A box with small boxes beside it."""
    picture = box()
    for dot in range(dots):
        picture[60 + 19 * dot :, 180:][:side, :side] = 0
    return picture


@pytest.mark.parametrize(
    ("picture", "note"),
    [
        *((picture, "") for picture in (four(), 255 - four(), four(28, 2), four(900, 20))),
        (box(100, 150), ""),
        (box(100, 151), "several digits"),
        # Higher than wide
        (np.hstack([filled(100, 10)[:, :-90], filled(100, 10)[:, 90:]]), "several digits"),
        (four()[:260, 20:], ""),
        (four()[:260, 120:], "touches 2 sides"),
        # Joined by corners
        (np.pad(255 - 255 * np.eye(99, dtype=np.uint8)[::-1], 30, constant_values=255), ""),
        (dotted(5), ""),
        (dotted(6), "in 7 pieces"),
        (dotted(6, side=12), ""),  # specks
        (np.random.default_rng(0).integers(0, 256, (200, 200), dtype=np.uint8), "pieces"),
        (filled(90, 80), "nearly all is ink"),
        (filled(100, 51), "nearly all is ink"),
        (filled(100, 50), ""),  # a one may be as thick
        (np.asarray(drawn("#808080", "#9a9a9a")), ""),
        (np.asarray(drawn("#808080", "#999999")), "contrast"),
    ],
)
def test_notes_on_doubtful_pictures(picture, note):
    found = "; ".join(examined(picture)[1])
    assert note in found
    assert bool(note) == bool(found)


def test_a_winding_stroke_is_one_piece():
    """Its pixels meet over a long way."""
    snake = np.full((300, 300), 255, np.uint8)
    for number, row in enumerate(range(40, 240, 20)):
        snake[row : row + 4, 60:240] = 0
        end = 60 if number % 2 else 236
        snake[row : row + 24, end : end + 4] = 0
    ink, notes = find_ink(snake)
    assert (ink[snake == 0] > 0).all()
    assert notes == []


def transparent(picture, ink):
    """Return a black digit on white paper in another ink on no paper."""
    found = Image.new("RGBA", picture.size, ink)
    found.putalpha(ImageOps.invert(picture))
    return found


def test_neither_colours_nor_contrast_nor_size_nor_place_nor_mode_matter():
    seven = prepare(drawn())
    grey = np.asarray(drawn(mode="L"))
    large = drawn(mode="L", scale=60)  # 1800 × 2400 pixels
    for other in (
        drawn("white", "black"),
        drawn("yellow", "blue"),
        drawn("firebrick", "darkgreen"),
        drawn("magenta", "red"),  # only the blue differs
        drawn("#808080", "#8d8d8d"),
        *(drawn(mode=mode) for mode in ("1", "P", "CMYK", "LA")),
        *(drawn(at=at, scale=scale) for at, scale in (((30, 3), 1), ((3, 30), 7))),
        *(Image.fromarray(grey.astype(kind) * 257) for kind in (np.uint16, np.int32)),
        Image.fromarray(np.asarray(large).astype(np.uint16) * 257),
        *(transparent(large, ink) for ink in ("black", "white", "gold")),
    ):
        assert np.array_equal(prepare(other), seven)
    with pytest.raises(ValueError, match="blank"):
        prepare(drawn("#808080", "#8c8c8c"))
    picture = np.full((200, 200, 3), (0, 150, 0), np.uint8)
    picture[four(200, 10) == 0] = (255, 19, 0)  # as light as the paper, by the usual weights
    assert np.array_equal(prepare(picture), prepare(four(200, 10)))


def test_mnist_digits_stay_what_they_are():
    """On a large sheet, dark on light, they become the same images again, but for faint specks."""
    images = digits("test").images[:100].reshape(-1, 28, 28)
    again = []
    for i, image in enumerate(images):
        sheet = np.full((200, 150), 255, np.uint8)
        sheet[i % 170 : i % 170 + 28, i % 120 : i % 120 + 28] -= image
        again.append(prepare(sheet))
    differences = abs(np.array(again).astype(int) - images).max(axis=(1, 2))
    # a tenth of MNIST's images have 254 for white; here it is always 255
    assert (differences <= 1).mean() > 0.98


def test_a_lopsided_digit_goes_as_far_to_the_side_as_it_fits():
    blob = np.zeros((50, 50), np.uint8)
    blob[:, :5] = blob[25] = 255
    image = prepare(np.pad(blob, 50))
    assert np.flatnonzero(image.any(axis=0)).tolist() == [*range(8, 28)]


def test_fit_keeps_the_whole_picture_and_puts_it_on_its_background():
    picture = np.random.default_rng(0).integers(0, 256, (10, 20), np.uint8)
    large = Image.fromarray(np.kron(picture, np.ones((3, 3), np.uint8)))
    assert np.array_equal(fit(large, (10, 20)), picture), "the mean of the covered pixels"
    picture[[0, -1]], picture[:, [0, -1]] = 200, 200
    picture[0, :9] = 10  # the median of the border does not notice
    image = fit(Image.fromarray(picture), (20, 20))
    assert (image[:5] == 200).all()
    assert (image[15:] == 200).all()
    assert np.array_equal(image[5:15], picture)
    inverted, _ = prepare_picture(Image.fromarray(picture), (20, 20), whole=True, inverted=True)
    assert np.array_equal(inverted, 255 - image)
