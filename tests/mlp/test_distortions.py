"""Distortions: the bytes against whole numbers of unlimited size, the map against the formulas, and its statistics."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlp.distortions
from mlp.distortions import Distortion, Strength
from mlp.random import DISTORTION, stream, uniform_integers

unhurried = settings(deadline=None, max_examples=40)

OFF = Strength(0.0, 0.0, 0.0, 0.0, 0.0, 6.0)
DIGITS = Strength(rotation=15.0, shear=10.0, scaling=15.0, shift=1.5, elastic=1.2, smoothness=4.0)
STRONGEST = Strength(rotation=45.0, shear=45.0, scaling=50.0, shift=100.0, elastic=20.0, smoothness=20.0)

STRENGTHS = {
    "all": DIGITS,
    "affine": DIGITS._replace(elastic=0.0),
    "elastic": OFF._replace(elastic=1.5, smoothness=1.0),
    "strong": Strength(45.0, 45.0, 50.0, 3.0, 5.0, 2.5),
    "smooth": OFF._replace(elastic=3.0, smoothness=20.0),
}
shapes = st.tuples(st.integers(1, 40), st.integers(1, 40))


class Words:
    """A source whose 16-bit numbers are all the same."""

    def __init__(self, number: int):
        self.word = number * 0x0001000100010001

    def random_raw(self, n: int) -> np.ndarray:
        return np.full(n, self.word, np.uint64)


def random_images(n: int, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, shape[0] * shape[1]), dtype=np.uint8)


def places_of(shape: tuple[int, int], strength: Strength, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y, (n, H, W) each, of the places for n images, in pixels from the first pixel."""
    x, y = Distortion(shape, strength).places(stream(0, DISTORTION, 1), n) / 256 - 1
    return x.transpose(1, 0, 2), y.transpose(1, 0, 2)


def numbers_of(distortion: Distortion, seed: int, epoch: int, image: int) -> list[int]:
    """Return the random numbers of one image, from all numbers of the epoch up to it."""
    n = 4 * distortion.words
    return uniform_integers(stream(seed, DISTORTION, epoch), n * (image + 1))[n * image :].tolist()


# The bytes, from their definition in whole numbers


def integer_bumps(n: int, strength: Strength) -> list[list[int]]:
    """Return the bumps at each of n pixels, in units of 2⁻¹³."""
    if not strength.elastic:
        return [[] for _ in range(n)]
    side = math.ceil((n - 1) / 2 / strength.smoothness) + 1
    distances = [
        [(pixel - (n - 1) / 2) / strength.smoothness - point for point in range(-side, side + 1)] for pixel in range(n)
    ]
    return [[round(math.exp(-d * d / 2) * 2**13) for d in row] for row in distances]


def integer_places(shape: tuple[int, int], strength: Strength, numbers: list[int]) -> dict[tuple[int, int], list[int]]:
    """Return, for each (row, column) of one image, x and y of its place in 1/256 pixel."""
    (height, width), (rotation, shear, scaling, shift, elastic, _) = shape, strength
    u = [Fraction(2 * number - 65535, 65536) for number in numbers]
    t = u[0] * Fraction(math.tan(math.radians(rotation / 2)))
    s = u[1] * Fraction(math.tan(math.radians(shear)))
    p, q = (1 + u[i] * Fraction(scaling) / 100 for i in (2, 3))
    cos, sin = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    affine = [
        [round(value * 2**24) for value in row]
        for row in (
            [p * cos, p * (cos * s - sin), Fraction(shift) * u[4]],
            [q * sin, q * (sin * s + cos), Fraction(shift) * u[5]],
        )
    ]
    rows, columns = integer_bumps(height, strength), integer_bumps(width, strength)
    heights = [[], []]
    if elastic:
        squares = [sum(bump**2 for bump in bumps) / 2**26 for bumps in (rows[height // 2], columns[width // 2])]
        amplitude = Fraction(elastic * math.sqrt(3 / (squares[0] * squares[1])))
        count = len(rows[0]) * len(columns[0])
        in_units = [round(value * amplitude * 2**13) for value in u[6 : 6 + 2 * count]]
        heights = [in_units[:count], in_units[count:]]
    places = {}
    for row in range(height):
        for column in range(width):
            twice_x, twice_y = 2 * column - (width - 1), 2 * row - (height - 1)
            bumps = [b_y * b_x for b_y in rows[row] for b_x in columns[column]]
            places[row, column] = []
            for (a, b, c), z, size in zip(affine, heights, (width, height), strict=True):
                total = sum(bump * height for bump, height in zip(bumps, z, strict=True))  # in units of 2⁻³⁹
                total += (a * twice_x + b * twice_y + 2 * c + (size + 1) * 2**24) * 2**14
                places[row, column].append(round(Fraction(min(max(total, 0), (size + 1) * 2**39), 2**31)))
    return places


def integer_distortion(image: np.ndarray, places: dict[tuple[int, int], list[int]]) -> np.ndarray:
    """Return one image, (H, W) uint8, distorted: first interpolated downwards, then to the right, rounded each time."""

    def between(a: int, b: int, part: int) -> int:
        return ((256 - part) * a + part * b + 128) // 256

    padded = np.pad(image, ((1, 2), (1, 2))).tolist()
    result = np.empty_like(image)
    for place, (x, y) in places.items():
        (i, down), (j, right) = divmod(y, 256), divmod(x, 256)
        left, other = (between(padded[i][k], padded[i + 1][k], down) for k in (j, j + 1))
        result[place] = between(left, other, right)
    return result


@pytest.mark.parametrize("strength", STRENGTHS.values(), ids=STRENGTHS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (2, 2), (5, 7), (11, 4)], ids=str)
def test_bytes_are_those_of_whole_numbers(shape, strength):
    distortion = Distortion(shape, strength)
    images = random_images(4, shape)
    found = distortion.distort(images, 7, 3, 0)
    for number, (image, result) in enumerate(zip(images, found, strict=True)):
        places = integer_places(shape, strength, numbers_of(distortion, 7, 3, number))
        np.testing.assert_array_equal(result.reshape(shape), integer_distortion(image.reshape(shape), places))


def test_bytes_of_a_digit_are_those_of_whole_numbers():
    distortion = Distortion((28, 28), DIGITS)
    images = random_images(1, (28, 28))
    places = integer_places((28, 28), DIGITS, numbers_of(distortion, 0, 1, 54321))
    found = distortion.distort(images, 0, 1, 54321)
    np.testing.assert_array_equal(found.reshape(28, 28), integer_distortion(images.reshape(28, 28), places))


# Exactness


@pytest.mark.parametrize("number", [0, 0xFFFF])
@pytest.mark.parametrize("smoothness", [5.0, 20.0])
def test_sums_of_the_largest_images_and_strengths_fit_53_bits(number, smoothness):
    strength = STRONGEST._replace(smoothness=smoothness)
    distortion = Distortion((2048, 2048), strength)
    assert distortion.amplitude < 2 * strength.elastic
    C = distortion.coefficients(Words(number), 1)[:, :, 0]
    rows, columns = (functions[[0, 1, 1023, 2047]] for functions in (distortion.rows, distortion.columns))
    unit = 2**-31  # 2⁻³⁹ pixels
    assert (np.abs(rows) @ np.abs(C) @ np.abs(columns).T).max() <= 2**53 * unit
    whole_rows, whole_C, whole_columns = rows * 2**13, C * 2**16, columns * 2**13
    for whole in (whole_rows, whole_C, whole_columns, C[:, :-2, :-2] * 2**5):
        assert (whole == np.rint(whole)).all()
    sums = [
        [sum(int(r) * int(c) for r, c in zip(row, column, strict=True) if c) for column in whole_C[0].T]
        for row in whole_rows
    ]
    places = [
        [sum(s * int(c) for s, c in zip(row, column, strict=True)) / 2**42 for column in whole_columns] for row in sums
    ]
    np.testing.assert_array_equal(rows @ C[0] @ columns.T, places)


@unhurried
@given(shapes, st.floats(0.3, 30))
def test_no_bump_is_higher_than_twice_the_field_and_bumps_sum_to_less_than_three(shape, smoothness):
    distortion = Distortion(shape, OFF._replace(elastic=1.0, smoothness=smoothness))
    assert 0 < distortion.amplitude < 2
    for functions in (distortion.rows, distortion.columns):
        assert functions[:, :-2].sum(axis=1).max() < 3


@pytest.mark.parametrize("shape", [(8192, 8192), (1, 12000), (100_000, 100_000)], ids=str)
def test_images_too_large_for_exact_sums_are_refused(shape):
    with pytest.raises(ValueError, match="too large"):
        Distortion(shape, OFF)


# What decides a distortion


@unhurried
@given(shapes, st.integers(0, 5), st.floats(1, 20))
def test_nothing_changes_when_all_distortions_are_off(shape, n, smoothness):
    images = random_images(n, shape)
    found = Distortion(shape, OFF._replace(smoothness=smoothness)).distort(images, 1, 2, 3)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, images)


@pytest.mark.parametrize("name", Strength._fields)
def test_distorts_tells_whether_anything_is_on(name):
    assert OFF._replace(**{name: 0.1}).distorts == (name != "smoothness")
    images = random_images(20, (9, 8))
    changed = Distortion((9, 8), OFF._replace(**{name: 2.0})).distort(images, 0, 1, 0) != images
    assert changed.any() == (name != "smoothness")


@unhurried
@given(
    st.sampled_from(list(STRENGTHS.values())),
    st.lists(st.integers(0, 30), max_size=4),
    st.sampled_from([1, 700, 2**16]),
)
def test_bytes_do_not_depend_on_how_the_images_are_divided(strength, cuts, chunk):
    images, shape = random_images(30, (12, 9)), (12, 9)
    whole = Distortion(shape, strength).distort(images, 5, 1, 100)
    edges = sorted({0, 30, *cuts})
    found = np.empty_like(images)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlp.distortions, "CHUNK", chunk)
        for start, stop in reversed(list(pairwise(edges))):
            part = slice(start, stop)
            Distortion(shape, strength).distort(images[part], 5, 1, 100 + start, found[part])
    np.testing.assert_array_equal(found, whole)


def test_seeds_epochs_and_images_have_distortions_of_their_own():
    images = np.tile(random_images(1, (9, 9)), (2, 1))
    distortion = Distortion((9, 9), DIGITS)
    found = [distortion.distort(images, seed, epoch, 0) for seed in (0, 1) for epoch in (1, 2)]
    assert len({image.tobytes() for pair in found for image in pair}) == 8


def test_result_is_written_to_out_which_may_be_the_images():
    images = random_images(300, (28, 28))
    before = images.copy()
    distortion = Distortion((28, 28), DIGITS)
    expected = distortion.distort(images, 0, 1, 0)
    np.testing.assert_array_equal(images, before)
    wide = np.zeros((300, 800), np.uint8)
    assert distortion.distort(images, 0, 1, 0, wide[:, :784]).base is wide
    np.testing.assert_array_equal(wide[:, :784], expected)
    assert distortion.distort(images, 0, 1, 0, images) is images
    np.testing.assert_array_equal(images, expected)


# The map


@pytest.mark.parametrize("strength", STRENGTHS.values(), ids=STRENGTHS)
@pytest.mark.parametrize("shape", [(28, 28), (200, 300)], ids=str)
def test_places_are_those_of_the_formula(shape, strength):
    distortion = Distortion(shape, strength)
    numbers = np.array(numbers_of(distortion, 0, 1, 1))
    u = (2 * numbers - 65535) / 65536
    angle = 2 * math.atan(u[0] * math.tan(math.radians(strength.rotation) / 2))
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    shear = np.array([[1, u[1] * math.tan(math.radians(strength.shear))], [0, 1]])
    M = np.diag(1 + u[2:4] * strength.scaling / 100) @ rotation @ shear

    x, y = (np.arange(n) - (n - 1) / 2 for n in shape[::-1])
    p = np.array(np.meshgrid(x, y))
    field = np.zeros(p.shape)
    if strength.elastic:
        points = [
            strength.smoothness * np.arange(-side, side + 1)
            for side in (math.ceil((n - 1) / 2 / strength.smoothness) + 1 for n in shape)
        ]
        bumps_y, bumps_x = (
            np.exp(-((axis[:, np.newaxis] - centres) ** 2) / (2 * strength.smoothness**2))
            for axis, centres in zip((y, x), points, strict=True)
        )
        heights = u[6 : distortion.numbers].reshape(2, len(points[0]), len(points[1]))
        field = bumps_y @ heights @ bumps_x.T
        variance = (bumps_y[shape[0] // 2] ** 2).sum() * (bumps_x[shape[1] // 2] ** 2).sum() / 3
        field *= strength.elastic / math.sqrt(variance)
    expected = np.einsum("ab,bij->aij", M, p) + strength.shift * u[4:6, np.newaxis, np.newaxis] + field

    source = stream(0, DISTORTION, 1)
    distortion.places(source, 1)
    found = distortion.places(source, 1)[:, :, 0]
    for place, centred, size in zip(found, expected, shape[::-1], strict=True):
        clipped = np.clip(centred + (size + 1) / 2, 0, size + 1)
        np.testing.assert_allclose(place / 256, clipped, rtol=0, atol=1.5 / 256)


@pytest.mark.parametrize(("shape", "smoothness"), [((28, 28), 6.0), ((9, 16), 2.0), ((40, 1), 20.0)])
def test_elastic_is_the_root_mean_square_of_the_field_at_the_centre(shape, smoothness):
    n, row, column = 3000, shape[0] // 2, shape[1] // 2
    x, y = places_of(shape, OFF._replace(elastic=0.2, smoothness=smoothness), n)
    for field in (x[:, row, column] - column, y[:, row, column] - row):
        assert math.sqrt((field**2).mean()) == pytest.approx(0.2, rel=0.04)
        assert abs(field.mean()) < 4 * 0.2 / math.sqrt(n)


def test_field_is_as_smooth_as_noise_smoothed_by_a_gaussian():
    x, _ = places_of((24, 24), OFF._replace(elastic=1.0, smoothness=4.0), 6000)
    field = x - np.arange(24)
    for distance in (1, 4, 8):  # the covariance of smoothed noise is a Gaussian √2 times as wide
        correlation = np.corrcoef(field[:, 12, 8], field[:, 12, 8 + distance])[0, 1]
        assert correlation == pytest.approx(math.exp(-((distance / 4) ** 2) / 4), abs=0.05)


def extremes_are_near(values: np.ndarray, limit: float):
    """Assert that `values` lie between −limit and limit, almost uniformly, and come near both."""
    rounding = 0.0015 * limit
    assert np.abs(values).max() <= limit + rounding
    assert min(values.max(), -values.min()) > 0.99 * limit
    assert abs(values.mean()) < 4 * limit / math.sqrt(3 * len(values))
    assert values.std() == pytest.approx(limit / math.sqrt(3), rel=0.06)


def test_rotation_shear_scaling_and_shift_reach_their_strength_and_not_more():
    n, shape, middle = 2000, (41, 41), 20
    left, right = (middle, middle - 15), (middle, middle + 15)  # (row, column)
    top, bottom = (middle - 15, middle), (middle + 15, middle)

    def vector(strength: Strength, start: tuple[int, int], end: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        x, y = places_of(shape, strength, n)
        return x[:, *end] - x[:, *start], y[:, *end] - y[:, *start]

    x, y = vector(OFF._replace(rotation=30.0), left, right)
    extremes_are_near(np.degrees(np.arctan2(y, x)), 30.0)
    np.testing.assert_allclose(np.hypot(x, y), 30, rtol=0, atol=0.01)

    x, y = vector(OFF._replace(shear=20.0), top, bottom)
    extremes_are_near(x / y, math.tan(math.radians(20)))
    np.testing.assert_array_equal(y, 30)

    x, _ = vector(OFF._replace(scaling=25.0), left, right)
    _, y = vector(OFF._replace(scaling=25.0), top, bottom)
    extremes_are_near(x / 30 - 1, 0.25)
    extremes_are_near(y / 30 - 1, 0.25)
    assert abs(np.corrcoef(x, y)[0, 1]) < 0.08

    x, y = (place[:, middle, middle] - middle for place in places_of(shape, OFF._replace(shift=7.0), n))
    extremes_are_near(x, 7.0)
    extremes_are_near(y, 7.0)


# The values


@pytest.mark.parametrize("row", [0, 5, 12])
@pytest.mark.parametrize("column", [0, 3, 9])
def test_bright_dot_moves_to_where_the_map_finds_it(row, column):
    shape, n = (13, 10), 50
    images = np.zeros((n, *shape), np.uint8)
    images[:, row, column] = 255
    x, y = places_of(shape, DIGITS, n)
    found = Distortion(shape, DIGITS).distort(images.reshape(n, -1), 0, 1, 0).reshape(n, *shape)
    share = np.maximum(1 - np.abs(x - column), 0) * np.maximum(1 - np.abs(y - row), 0)
    np.testing.assert_allclose(found, 255 * share, rtol=0, atol=1.001)
    assert (found[share == 0] == 0).all()
    assert found.max() > 150


def test_places_outside_the_image_are_black():
    shape, n = (7, 9), 200
    white = np.full((n, 63), 255, np.uint8)
    x, y = places_of(shape, OFF._replace(shift=20.0), n)
    found = Distortion(shape, OFF._replace(shift=20.0)).distort(white, 0, 1, 0).reshape(n, *shape)
    outside = (x <= -1) | (x >= 9) | (y <= -1) | (y >= 7)
    inside = (x >= 0) & (x <= 8) & (y >= 0) & (y <= 6)
    assert outside.mean() > 0.5
    assert (found[outside] == 0).all()
    assert (found[inside] == 255).all()
    assert outside.all(axis=(1, 2)).any(), "an image left the frame"
