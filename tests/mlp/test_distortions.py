"""Distortions: the bytes against whole numbers, and the statistics of the map."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

import mlp.distortions
from mlp.distortions import Distortion, Strength
from mlp.random import DISTORTION, stream

OFF = Strength(0.0, 0.0, 0.0, 0.0, 0.0, 6.0)
DIGITS = Strength(rotation=15.0, shear=10.0, scaling=15.0, shift=1.5, elastic=1.2, smoothness=4.0)

STRENGTHS = {
    "all": DIGITS,
    "affine": DIGITS._replace(elastic=0.0),
    "elastic": OFF._replace(elastic=1.5, smoothness=1.0),
    "strong": Strength(45.0, 45.0, 50.0, 3.0, 5.0, 2.5),
    "smooth": OFF._replace(elastic=3.0, smoothness=20.0),
}


def random_images(n: int, shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, shape[0] * shape[1]), dtype=np.uint8)


def places_of(shape: tuple[int, int], strength: Strength, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y, (n, H, W) each: the places for n images, in pixels from the first pixel."""
    x, y = Distortion(shape, strength).places(stream(0, DISTORTION, 1), n) / 256 - 1
    return x.transpose(1, 0, 2), y.transpose(1, 0, 2)


# The bytes


def integer_distortion(image: np.ndarray, places: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return one image, (H, W), interpolated downwards, then to the right, rounded each time."""

    def between(a: np.ndarray, b: np.ndarray, part: np.ndarray) -> np.ndarray:
        return ((256 - part) * a + part * b + 128) // 256

    padded = np.pad(image.astype(np.int64), ((1, 2), (1, 2)))
    (column, right), (row, down) = (divmod(place, 256) for place in places)
    left, other = (between(padded[row, x], padded[row + 1, x], down) for x in (column, column + 1))
    return between(left, other, right)


@pytest.mark.parametrize("strength", STRENGTHS.values(), ids=STRENGTHS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (2, 2), (11, 4), (28, 28)], ids=str)
def test_bytes_are_interpolated_in_whole_numbers(shape, strength):
    distortion, images = Distortion(shape, strength), random_images(4, shape)
    found = distortion.distort(images, 7, 3, 0)
    x, y = distortion.places(stream(7, DISTORTION, 3), 4).transpose(0, 2, 1, 3).astype(np.int64)
    for number, image in enumerate(images):
        expected = integer_distortion(image.reshape(shape), (x[number], y[number]))
        np.testing.assert_array_equal(found[number].reshape(shape), expected)


# Exactness


@pytest.mark.parametrize("number", [0, 0xFFFF])
@pytest.mark.parametrize("smoothness", [5.0, 20.0])
def test_sums_of_the_largest_images_and_strengths_fit_53_bits(number, smoothness):
    distortion = Distortion((2048, 2048), Strength(45.0, 45.0, 50.0, 100.0, 20.0, smoothness))
    words = number * 0x0001000100010001
    source = SimpleNamespace(random_raw=lambda n: np.full(n, words, np.uint64))
    C = distortion.coefficients(source, 1)[:, :, 0]
    places = [0, 1, 1023, 2047]
    rows, columns = distortion.rows[places], distortion.columns[places]
    unit = 2**-31  # of a place in 1/256 pixel
    assert (np.abs(rows) @ np.abs(C) @ np.abs(columns).T).max() <= 2**53 * unit
    for whole in (rows * 2**13, C * 2**16, columns * 2**13, C[:, :-2, :-2] * 2**5):
        assert (whole == np.rint(whole)).all()


def test_distortions_whose_sums_might_not_be_exact_are_refused():
    with pytest.raises(ValueError, match="1 × 12000"):
        Distortion((1, 12000), OFF)
    for changes in ({"shift": 16384.0}, {"elastic": 1000.0}):
        with pytest.raises(ValueError, match="28 × 28"):
            Distortion((28, 28), OFF._replace(**changes))


# What decides a distortion


@pytest.mark.parametrize("name", Strength._fields)
def test_each_strength_alone_changes_images_and_none_changes_nothing(name):
    images = random_images(20, (9, 8))
    changed = Distortion((9, 8), OFF._replace(**{name: 2.0})).distort(images, 0, 1, 0) != images
    assert changed.any() == (name != "smoothness")


@pytest.mark.parametrize("strength", STRENGTHS.values(), ids=STRENGTHS)
@pytest.mark.parametrize("chunk", [1, 700])
def test_bytes_do_not_depend_on_how_the_images_are_divided(strength, chunk, monkeypatch):
    shape = (12, 9)
    images = random_images(30, shape)
    whole = Distortion(shape, strength).distort(images, 5, 1, 100)
    found = np.empty_like(images)
    monkeypatch.setattr(mlp.distortions, "CHUNK", chunk)
    for start, stop in [(17, 30), (0, 1), (1, 17), (3, 3)]:
        part = images[start:stop]
        found[start:stop] = Distortion(shape, strength).distort(part, 5, 1, 100 + start)
    np.testing.assert_array_equal(found, whole)


# The map


@pytest.mark.parametrize("case", [((28, 28), 6.0), ((9, 16), 2.0), ((40, 1), 20.0)], ids=str)
def test_elastic_is_the_root_mean_square_of_the_field_at_the_centre(case):
    shape, smoothness = case
    n, row, column = 3000, shape[0] // 2, shape[1] // 2
    x, y = places_of(shape, OFF._replace(elastic=0.2, smoothness=smoothness), n)
    for field in (x[:, row, column] - column, y[:, row, column] - row):
        assert math.sqrt((field**2).mean()) == pytest.approx(0.2, rel=0.04)
        assert abs(field.mean()) < 4 * 0.2 / math.sqrt(n)


def extremes_are_near(values: np.ndarray, limit: float):
    """Assert that `values` lie between −limit and limit, almost uniformly, and come near both."""
    rounding = 0.0015 * limit
    assert np.abs(values).max() <= limit + rounding
    assert min(values.max(), -values.min()) > 0.99 * limit
    assert abs(values.mean()) < 4 * limit / math.sqrt(3 * len(values))
    assert values.std() == pytest.approx(limit / math.sqrt(3), rel=0.06)


def moved(row: int, column: int, **strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y, from the centre, of the places for one pixel of 1000 images."""
    x, y = places_of((41, 41), OFF._replace(**strength), 1000)
    return x[:, 20 + row, 20 + column] - 20, y[:, 20 + row, 20 + column] - 20


def test_rotation_shear_scaling_and_shift_reach_their_strength_and_not_more():
    x, y = moved(0, 15, rotation=30.0)
    extremes_are_near(np.degrees(np.arctan2(y, x)), 30.0)
    np.testing.assert_allclose(np.hypot(x, y), 15, rtol=0, atol=0.01)

    x, y = moved(15, 0, shear=20.0)
    extremes_are_near(x / y, math.tan(math.radians(20)))
    np.testing.assert_array_equal(y, 15)

    x, y = moved(15, 15, scaling=25.0)
    extremes_are_near(x / 15 - 1, 0.25)
    extremes_are_near(y / 15 - 1, 0.25)
    assert abs(np.corrcoef(x, y)[0, 1]) < 4 / math.sqrt(1000)

    x, y = moved(0, 0, shift=7.0)
    extremes_are_near(x, 7.0)
    extremes_are_near(y, 7.0)

    right_x, right_y = moved(0, 15, rotation=30.0, shear=20.0)
    down_x, down_y = moved(15, 0, rotation=30.0, shear=20.0)
    areas = (right_x * down_y - right_y * down_x) / 15**2
    np.testing.assert_allclose(areas, 1, atol=0.005)  # turned and sheared, as large as before
