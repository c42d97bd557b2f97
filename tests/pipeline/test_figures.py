"""The figures show the data: images and weights are at the right places, with the right names."""

import io
import math
import zlib

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from pipeline.drawing.figures import (
    MOST_NEURONS,
    VERMILLION,
    draw_misclassified,
    draw_training_images,
    draw_weights,
    picture,
    use_own_settings,
)
from pipeline.drawing.png import png_bytes, zlib_bytes
from pipeline.store.artifacts import Misclassified

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module", autouse=True)
def own_settings():
    use_own_settings()


def pixels_of(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def texts(labels):
    return [label.get_text() for label in labels]


# The gallery

CLASSES = ("T-shirt/top", "Trouser", "a name of 12", "a class with a very long name", "$\\frac$")


def mistakes_of(number, height, width):
    """Return mistakes with pixels that a PNG keeps exactly."""
    levels = np.array([0, 85, 170, 255], np.uint8)
    actual = RNG.integers(0, len(CLASSES), number)
    return Misclassified(
        images=levels[RNG.integers(0, 4, (number, height * width))],
        actual=actual,
        predicted=(actual + RNG.integers(1, len(CLASSES), number)) % len(CLASSES),
        probability=np.sort(RNG.random(number))[::-1],
        place=np.arange(number),
        image_shape=(height, width),
        classes=CLASSES,
    )


@pytest.mark.parametrize(
    ("number", "most", "height", "width", "title"),
    [
        (1, 25, 7, 3, "The only mistake"),
        (17, 30, 4, 9, "All 17 mistakes, the most confident first"),
        (1290, 26, 5, 5, "The 26 most confident of 1,290 mistakes"),
        (290, 1, 2, 2, "The most confident of 290 mistakes"),
    ],
)
def test_gallery_shows_each_image_with_its_box_and_its_names(number, most, height, width, title):
    mistakes = mistakes_of(number, height, width)
    figure = draw_misclassified(mistakes, most)
    pixels = pixels_of(picture(figure, 60))
    (axes,) = figure.axes
    shown = min(number, most)
    assert len(axes.images) == len(axes.lines) == shown
    assert len(axes.texts) == 2 * shown
    assert axes.get_title().split("\n")[0] == title
    columns = 4 if shown <= 16 else math.ceil(math.sqrt(shown))
    short = [name if len(name) <= 12 else f"{name[:11]}…" for name in CLASSES]
    rows_of_image, columns_of_image = np.mgrid[:height, :width]
    (x0, x1), (y1, y0) = axes.get_xlim(), axes.get_ylim()
    for place in range(shown):
        image, box = axes.images[place], axes.lines[place]
        left, right, bottom, top = image.get_extent()
        row, column = divmod(place, columns)
        assert ((left + right) / 2, top) == pytest.approx((1.3 * column + 0.5, 1.5 * row))  # line by line
        assert (right - left) / (bottom - top) == pytest.approx(width / height)
        assert max(right - left, bottom - top) == pytest.approx(1)
        assert x0 <= left < right <= x1
        assert y0 <= top < bottom <= y1
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        np.testing.assert_allclose(box.get_xydata(), corners)
        predicted, actual = axes.texts[2 * place : 2 * place + 2]
        percent = math.floor(100 * mistakes.probability[place])
        assert predicted.get_text() == f"{short[mistakes.predicted[place]]}, {percent}%"
        assert actual.get_text() == f"is {short[mistakes.actual[place]]}"
        assert (to_hex(predicted.get_color()), to_hex(actual.get_color())) == (VERMILLION.lower(), "#000000")
        assert predicted.get_position()[0] == actual.get_position()[0] == pytest.approx((left + right) / 2)
        # From top to bottom: the predicted class, the true class, the image. In data coordinates, y grows downwards.
        assert y0 < predicted.get_position()[1] < actual.get_position()[1] < top
        middles = np.stack(
            [
                left + (columns_of_image + 0.5) / width * (right - left),
                top + (rows_of_image + 0.5) / height * (bottom - top),
            ],
            axis=2,
        )
        x, y = axes.transData.transform(middles.reshape(-1, 2)).T
        drawn = pixels[len(pixels) - 1 - np.floor(y).astype(int), np.floor(x).astype(int)]
        np.testing.assert_array_equal(drawn, np.repeat(255 - mistakes.images[place][:, None], 3, axis=1))


def test_gallery_with_a_title_of_ones_own_and_without_mistakes():
    (axes,) = draw_misclassified(mistakes_of(3, 2, 2), 25, "Some mistakes").axes
    assert axes.get_title().split("\n")[0] == "Some mistakes"
    (axes,) = draw_misclassified(mistakes_of(0, 2, 2), 25).axes
    assert texts(axes.texts) == ["Not one test image was misclassified."]
    assert len(axes.images) == 0


# The training images and the weights


@pytest.mark.parametrize(("epochs", "n", "height", "width"), [(0, 10, 28, 28), (6, 3, 5, 40)])
def test_training_images_are_shown_in_a_row_with_their_distortions_below(epochs, n, height, width):
    rows = RNG.integers(0, 200, (epochs + 1, n, height, width), dtype=np.uint8)
    flat = rows.reshape(epochs + 1, n, -1)
    (axes,) = draw_training_images(flat[0], list(flat[1:]), (height, width), "Some images").axes
    assert axes.get_title().startswith("Some images; ")
    assert (f" {epochs} epochs" if epochs else "does not distort") in axes.get_title()
    canvas = axes.images[0].get_array()
    assert (canvas == canvas[..., :1]).all()
    shown = 255 - canvas[..., 0]
    gap = max(1, height // 14)
    for row in range(epochs + 1):
        top = row * (height + gap) + (2 * gap if row else 0)
        for column in range(n):
            left = column * (width + gap)
            np.testing.assert_array_equal(shown[top : top + height, left : left + width], rows[row, column])
            shown[top : top + height, left : left + width] = 0
    assert not shown.any()  # white between them


@pytest.mark.parametrize(
    ("neurons", "height", "width", "which"),
    [(1, 9, 9, "1 neuron,"), (50, 3, 5, "50 neurons,"), (3000, 28, 7, "first 50 of 3,000 neurons,")],
)
def test_weights_have_the_colour_of_their_sign_and_size(neurons, height, width, which):
    weights = RNG.normal(size=(height * width, neurons))
    weights[0] = 0
    shown = min(neurons, MOST_NEURONS)
    weights[:, shown:] *= 100  # what is not shown has no part in the scale
    axes, bar = draw_weights(weights, (height, width)).axes
    assert f"{which} {height} × {width} inputs" in axes.get_title()
    canvas = axes.images[0].get_array().astype(int)
    limit = np.percentile(np.abs(weights[:, :shown]), 99.5, method="lower")
    columns = math.ceil(math.sqrt(shown))
    gap = max(1, height // 14)
    for neuron in range(shown):
        row, column = divmod(neuron, columns)
        top, left = row * (height + gap), column * (width + gap)
        tile = canvas[top : top + height, left : left + width]
        expected = weights[:, neuron].reshape(height, width)
        coloured = np.abs(expected) > limit / 16  # within a colour of 33 around 0, both signs are white
        sign = np.sign(tile[..., 0] - tile[..., 2])
        np.testing.assert_array_equal(sign[coloured], np.sign(expected)[coloured])
        for one_sign in (expected > 0, expected < 0):
            order = np.argsort(np.minimum(np.abs(expected[one_sign]), limit))
            assert (np.diff(tile.sum(axis=2)[one_sign][order]) <= 0).all()  # larger ones are darker
        canvas[top : top + height, left : left + width] = 255
    assert (canvas == 255).all()
    labels = texts(bar.get_yticklabels())
    assert labels[::2] == [f"≤ −{limit:.2g}", "0", f"≥ {limit:.2g}"]
    assert labels[1::2] == [f"−{limit / 2:.2g}", f"{limit / 2:.2g}"]
    np.testing.assert_allclose(bar.get_yticks(), [0, 0.25, 0.5, 0.75, 1])


def test_scale_of_the_weights_ends_in_the_darkest_colours_and_is_there_without_weights():
    axes, _ = draw_weights(RNG.normal(size=(400, 6)), (20, 20)).axes
    colours = {tuple(colour) for colour in axes.images[0].get_array().reshape(-1, 3).tolist()}
    assert {(0x67, 0x00, 0x1F), (0x05, 0x30, 0x61)} <= colours
    _, bar = draw_weights(np.zeros((20, 3)), (4, 5)).axes
    assert texts(bar.get_yticklabels()) == ["≤ −1", "−0.5", "0", "0.5", "≥ 1"]


@pytest.mark.parametrize("dpi", [50, 73])
def test_axes_are_on_whole_pixels_and_square_things_are_square(dpi):
    """So the last bits of the layout's arithmetic do not move a pixel."""
    figures = [draw_weights(np.ones((784, 50)), (28, 28)), draw_misclassified(mistakes_of(3, 5, 5), 25)]
    for figure in figures:
        height, width = pixels_of(picture(figure, dpi)).shape[:2]
        assert (width, height) == tuple(np.floor(figure.get_size_inches() * dpi + 1e-6))
        corners = figure.axes[0].get_position().get_points() * figure.get_size_inches() * dpi
        np.testing.assert_allclose(corners, np.rint(corners), atol=1e-6)
        image = figure.axes[0].images[0]
        rows, columns, _ = image.get_array().shape
        wide, high = image.get_window_extent().size
        assert (high / rows) / (wide / columns) == pytest.approx(1, abs=0.1)


# PNG files


def test_zlib_undoes_the_compression():
    """Every length of a run, and every byte."""
    content = b"".join(bytes([length % 256]) * length for length in range(1, 1100))
    assert zlib.decompress(zlib_bytes(content)) == content


def test_png_keeps_up_to_256_colours_of_64_levels():
    levels = (RNG.integers(0, 64, (16, 16, 3)) * 255 + 31) // 63
    pixels = np.concatenate([levels, levels[::-1]]).astype(np.uint8)
    png = png_bytes(pixels, 100)
    np.testing.assert_array_equal(pixels_of(png), pixels)
    assert Image.open(io.BytesIO(png)).info["dpi"] == pytest.approx((100, 100), abs=0.01)
    any_pixels = RNG.integers(0, 256, (12, 20, 3), np.uint8)
    error = np.abs(pixels_of(png_bytes(any_pixels, 100)).astype(int) - any_pixels)
    assert error.max() <= 255 / 63 / 2 + 0.5


def test_png_of_many_colours_keeps_the_frequent_ones_and_replaces_a_rare_one_by_the_nearest():
    """A flat half, and a thousand colours in the other half."""
    step = np.arange(20) * 12
    many = np.stack(np.meshgrid(step, step, [0, 120, 240], indexing="ij"), axis=-1).reshape(40, 30, 3)
    pixels = np.concatenate([np.full((40, 30, 3), (85, 170, 255)), many], axis=1).astype(np.uint8)
    read = pixels_of(png_bytes(pixels, 100)).astype(int)
    np.testing.assert_array_equal(read[:, :30], pixels[:, :30])
    palette = np.unique(read.reshape(-1, 3), axis=0)
    assert len(palette) == 256
    for pixel, drawn in zip(many.reshape(-1, 3), read[:, 30:].reshape(-1, 3), strict=True):
        nearest = np.sqrt(((palette - pixel) ** 2).sum(axis=1).min())
        assert np.sqrt(((drawn - pixel) ** 2).sum()) <= nearest + 8  # both were rounded
