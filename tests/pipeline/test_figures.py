"""The figures show the data: images and weights are at the right places, with the right names."""

import io
import math
import zlib

import numpy as np
import pytest
from PIL import Image

from pipeline.drawing import figures
from pipeline.drawing.figures import draw_misclassified, draw_training_images, draw_weights
from pipeline.drawing.png import png_bytes, zlib_bytes
from pipeline.store.artifacts import Misclassified

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module", autouse=True)
def own_settings():
    figures.use_own_settings()


def pixels_of(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def texts(labels):
    return [label.get_text() for label in labels]


CLASSES = ("T-shirt/top", "Trouser", "a name of 12", "a class with a very long name", "$\\frac$")


def mistakes_of(number, height, width):
    actual = RNG.integers(0, len(CLASSES), number)
    return Misclassified(
        images=RNG.integers(0, 256, (number, height * width), np.uint8),
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
def test_gallery_shows_images_line_by_line_with_their_names(number, most, height, width, title):
    mistakes = mistakes_of(number, height, width)
    (axes,) = draw_misclassified(mistakes, most).axes
    assert axes.get_title().split("\n")[0] == title
    shown = min(number, most)
    assert len(axes.images) == shown
    short = [name if len(name) <= 12 else f"{name[:11]}…" for name in CLASSES]
    (x0, x1), (y1, y0) = axes.get_xlim(), axes.get_ylim()  # y grows downwards
    expected = []
    for place in range(shown):
        image = axes.images[place]
        left, right, bottom, top = image.get_extent()
        assert x0 <= left < right <= x1
        assert y0 < top < bottom <= y1
        pixels = 255 - mistakes.images[place].reshape(height, width)
        np.testing.assert_array_equal(image.get_array()[..., 0], pixels)
        assert (right - left) / (bottom - top) == pytest.approx(width / height)
        percent = math.floor(100 * mistakes.probability[place])
        predicted, actual = short[mistakes.predicted[place]], short[mistakes.actual[place]]
        expected += [f"{predicted}, {percent}%", f"is {actual}"]
    assert texts(axes.texts) == expected


def test_gallery_without_mistakes():
    (axes,) = draw_misclassified(mistakes_of(0, 2, 2), 25).axes
    assert (len(axes.texts), len(axes.images)) == (1, 0)


@pytest.mark.parametrize(
    ("epochs", "n", "height", "width"), [(0, 26, 28, 28), (6, 3, 5, 40), (2, 12, 9, 4)]
)
def test_training_images_have_their_names_and_their_distortions_below(epochs, n, height, width):
    rows = RNG.integers(0, 200, (epochs + 1, n, height, width), dtype=np.uint8)
    flat = rows.reshape(epochs + 1, n, -1)
    names = [f"class {place}" for place in range(n)]
    (axes,) = draw_training_images(flat[0], list(flat[1:]), (height, width), names).axes
    assert (f" {epochs} epochs" in axes.get_title()) == (epochs > 0)
    assert texts(axes.texts) == names
    boxes = [tuple(image.get_extent()) for image in axes.images]
    for place, name in enumerate(axes.texts):
        for epoch in range(epochs + 1):
            left, right, bottom, top = boxes[place * (epochs + 1) + epoch]
            assert left < name.get_position()[0] < right
            assert (right - left) / (bottom - top) == pytest.approx(width / height)
            shown = axes.images[place * (epochs + 1) + epoch].get_array()
            np.testing.assert_array_equal(shown[..., 0], 255 - rows[epoch, place])
    assert len(set(boxes)) == len(boxes) == n * (epochs + 1)


@pytest.mark.parametrize(
    ("neurons", "height", "width", "which"),
    [(1, 9, 9, "1 neuron,"), (50, 3, 5, "50 neurons,"), (3000, 28, 7, "50 of 3,000 neurons,")],
)
def test_weights_have_the_colour_of_their_sign_and_size(neurons, height, width, which):
    weights = RNG.normal(size=(height * width, neurons))
    shown = min(neurons, 50)
    weights[:, shown:] *= 100  # what is not shown has no part in the scale
    axes, bar = draw_weights(weights, (height, width)).axes
    assert f"{which} {height} × {width} inputs" in axes.get_title()
    canvas = axes.images[0].get_array().astype(int)
    ends = {(0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2)}  # full orange, full blue
    assert ends & {tuple(colour) for colour in canvas.reshape(-1, 3).tolist()}
    limit = np.percentile(np.abs(weights[:, :shown]), 99.5, method="lower")
    gap = max(1, height // 14)
    for neuron in range(shown):
        row, column = divmod(neuron, math.ceil(math.sqrt(shown)))
        top, left = row * (height + gap), column * (width + gap)
        tile = canvas[top : top + height, left : left + width]
        of_neuron = weights[:, neuron].reshape(height, width)
        # Within a colour of 33 around 0, both signs are white
        coloured = np.abs(of_neuron) > limit / 16
        sign = np.sign(tile[..., 2] - tile[..., 0])  # blue is above 0
        np.testing.assert_array_equal(sign[coloured], np.sign(of_neuron)[coloured])
        for one_sign in (of_neuron > 0, of_neuron < 0):
            order = np.argsort(np.minimum(np.abs(of_neuron[one_sign]), limit))
            assert (np.diff(tile.sum(axis=2)[one_sign][order]) <= 0).all()  # larger ones are darker
        canvas[top : top + height, left : left + width] = 255
    assert (canvas == 255).all()
    first, *_, last = texts(bar.get_yticklabels())
    assert (first, last) == (f"≤ −{limit:.2g}", f"≥ {limit:.2g}")


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
