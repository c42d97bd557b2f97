"""The figures show the data: curves, counts, images and weights are at the right places, with the right names."""

import io
import json
import math
import platform
import struct
import sys
import zlib

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.colors import to_hex
from PIL import Image

from pipeline.drawing.figures import (
    BLUE,
    MOST_NEURONS,
    VERMILLION,
    draw_accuracy,
    draw_confusion,
    draw_loss,
    draw_misclassified,
    draw_training_images,
    draw_weights,
    picture,
    use_own_settings,
)
from pipeline.drawing.png import png_bytes, zlib_bytes
from pipeline.evaluation.report import confusion_matrix
from pipeline.store.artifacts import Misclassified
from pipeline.store.tables import read_confusion, read_history
from tests.support.project import ROOT

# One drawing takes a tenth of a second.
few_examples = settings(max_examples=15)


@pytest.fixture(scope="module", autouse=True)
def own_settings():
    use_own_settings()


def text_box(text):
    """Return the box of a text in the coordinates of its axes' data."""
    return text.get_window_extent().transformed(text.axes.transData.inverted())


def pixels_of(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


# The curves

share = st.integers(0, 5000).map(lambda images: images / 5000)
loss = st.floats(0, 1e9)
epochs = st.lists(st.tuples(loss, share, loss, share), min_size=1, max_size=40)


def history_of(rows, step=1, kept=None):
    numbers = np.arange(1, len(rows) + 1) * step
    columns = ("loss", "train_accuracy", "validation_loss", "validation_accuracy")
    history = {"epoch": numbers.astype(float), **dict(zip(columns, np.array(rows).T, strict=True))}
    return history | {"kept": np.eye(len(rows))[len(rows) - 1 if kept is None else kept]}


CURVES = {
    draw_accuracy: (
        "Accuracy after each epoch",
        "accuracy (share of images classified correctly)",
        {"train_accuracy": "sample of training images", "validation_accuracy": "validation images"},
    ),
    draw_loss: (
        "Loss of each epoch",
        "mean cross-entropy (nats per image)",
        {"loss": "training images", "validation_loss": "validation images"},
    ),
}


@few_examples
@given(epochs, st.integers(1, 40))
@pytest.mark.parametrize("draw", CURVES)
def test_curves_are_the_columns_of_the_history(draw, rows, step):
    title, y_label, columns = CURVES[draw]
    history = history_of(rows, step)
    figure = draw(history)
    (axes,), (legend,) = figure.axes, figure.legends
    assert (legend.get_title().get_text(), axes.get_xlabel(), axes.get_ylabel()) == (title, "epoch", y_label)
    for (column, name), line, text, colour in zip(
        columns.items(), axes.lines, legend.get_texts(), (BLUE, VERMILLION), strict=True
    ):
        np.testing.assert_array_equal(line.get_xdata(), history["epoch"])
        np.testing.assert_array_equal(line.get_ydata(), history[column])
        assert line.get_color() == colour
        said_name, said_value = text.get_text().removesuffix(" at the end").split(", ")
        assert said_name == name
        assert float(said_value) == pytest.approx(history[column][-1], rel=5e-4)


@few_examples
@given(epochs, st.integers(1, 40))
@pytest.mark.parametrize("draw", CURVES)
def test_every_point_is_inside_the_plot_and_the_legend_outside(draw, rows, step):
    figure = draw(history_of(rows, step))
    figure.draw_without_rendering()
    (axes,), (legend,) = figure.axes, figure.legends
    plot, names, page = axes.get_window_extent(), legend.get_window_extent(), figure.bbox
    for line in axes.lines:
        x, y = axes.transData.transform(line.get_xydata()).T
        assert (x >= plot.x0).all()
        assert (x <= plot.x1).all()
        assert (y >= plot.y0 - 0.01).all()
        assert (y <= plot.y1 + 0.01).all()
    assert names.y0 > plot.y1 + 4  # half of a square that marks a point
    assert page.x0 <= names.x0
    assert names.x1 <= page.x1
    assert names.y1 <= page.y1


def test_single_epoch_is_marked_and_many_are_not():
    row = (0.5, 0.5, 0.5, 0.5)
    assert {line.get_marker() for line in draw_loss(history_of([row])).axes[0].lines} == {"s"}
    assert {line.get_marker() for line in draw_loss(history_of([row] * 91)).axes[0].lines} == {""}


@pytest.mark.parametrize("draw", CURVES)
def test_epoch_whose_network_is_kept_is_marked_unless_it_is_the_last(draw):
    rows = [(0.5 - i / 20, 0.5 + i / 20, 0.6 - i / 20, 0.4 + i / 20) for i in range(8)]
    last, third = draw(history_of(rows)), draw(history_of(rows, kept=2))
    assert len(last.axes[0].lines) == 2
    line = third.axes[0].lines[2]
    assert set(line.get_xdata()) == {3}
    texts = [text.get_text() for text in third.legends[0].get_texts()]
    for (column, name), text in zip(CURVES[draw][2].items(), texts, strict=False):
        assert text == f"{name}, {history_of(rows)[column][2]:#.4g} in epoch 3"
    assert texts[2:] == ["the network after this epoch is kept"]


def test_curves_have_their_colours_in_the_png():
    figure = draw_accuracy(history_of([(1, 0.25, 1, 0.75)] * 20))
    pixels = pixels_of(picture(figure, 100)).astype(int)
    (axes,) = figure.axes
    for value, colour in ((0.25, "#0072B2"), (0.75, "#D55E00")):
        x, y = axes.transData.transform((10, value))
        around = pixels[len(pixels) - round(y) - 2 : len(pixels) - round(y) + 3, round(x) - 8 : round(x) + 8]
        wanted = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
        assert np.abs(around - wanted).max(axis=2).min() <= 4  # a PNG has 64 levels of each colour


# The confusion matrix

matrices = st.integers(2, 12).flatmap(lambda n: arrays(np.int64, (n, n), elements=st.integers(0, 999)))


@few_examples
@given(matrices)
def test_counts_are_at_their_cells(counts):
    names = [f"class {number}" for number in range(len(counts))]
    axes = draw_confusion(counts, names).axes[0]
    assert axes.yaxis_inverted()  # the first class is at the top
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "actual class")
    assert [label.get_text() for label in axes.get_xticklabels()] == names
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    assert axes.get_xticks().tolist() == axes.get_yticks().tolist() == list(range(len(counts)))
    shown = np.zeros_like(counts)
    for text in axes.texts:
        column, row = text.get_position()
        shown[row, column] = int(text.get_text())
    np.testing.assert_array_equal(shown, counts)
    assert axes.get_title() == f"Confusion matrix: {np.trace(counts):,} of {counts.sum():,} test images right"


@few_examples
@given(matrices)
def test_a_larger_share_of_the_row_is_darker(counts):
    axes = draw_confusion(counts, [str(number) for number in range(len(counts))]).axes[0]
    (image,) = axes.images
    assert tuple(image.get_extent()) == (-0.5, len(counts) - 0.5, len(counts) - 0.5, -0.5)
    light = image.get_array()[..., :3].astype(int).sum(axis=2)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    order = np.argsort(shares, axis=None)
    assert (np.diff(light.ravel()[order]) <= 0).all()
    assert (light[shares == 0] > 3 * 240).all()
    assert (light[shares == 1] < 3 * 80).all()
    for text in axes.texts:
        column, row = text.get_position()
        assert (text.get_color() == "white") == (shares[row, column] > 0.36)


# The gallery

CLASSES = ("T-shirt/top", "Trouser", "Bag", "a class with a very long name", "$\\frac$")


def mistakes_of(number, height, width, seed=0):
    """Return mistakes with pixels that a PNG keeps exactly."""
    rng = np.random.default_rng(seed)
    levels = np.array([0, 85, 170, 255], np.uint8)
    actual = rng.integers(0, len(CLASSES), number)
    return Misclassified(
        images=levels[rng.integers(0, 4, (number, height * width))],
        actual=actual,
        predicted=(actual + rng.integers(1, len(CLASSES), number)) % len(CLASSES),
        probability=np.sort(rng.random(number))[::-1],
        place=np.arange(number),
        image_shape=(height, width),
        classes=CLASSES,
    )


@few_examples
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 12), st.integers(1, 12))
def test_gallery_shows_each_image_with_its_box_and_its_names(number, most, height, width):
    mistakes = mistakes_of(number, height, width)
    figure = draw_misclassified(mistakes, most)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    shown = min(number, most)
    assert len(axes.images) == len(axes.lines) == shown
    assert len(axes.texts) == 2 * shown
    assert axes.yaxis_inverted()
    for place in range(shown):
        image, box = axes.images[place], axes.lines[place]
        for channel in range(3):
            drawn = 255 - image.get_array()[..., channel]
            np.testing.assert_array_equal(drawn, mistakes.images[place].reshape(height, width))
        left, right, bottom, top = image.get_extent()
        assert (right - left) / (bottom - top) == pytest.approx(width / height)
        assert max(right - left, bottom - top) == pytest.approx(1)
        np.testing.assert_allclose(
            box.get_xydata(), [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        )
        predicted, actual = axes.texts[2 * place : 2 * place + 2]
        name, percent = predicted.get_text().rsplit(", ", 1)
        assert mistakes.classes[mistakes.predicted[place]].startswith(name.removesuffix("…"))
        assert percent == f"{math.floor(100 * mistakes.probability[place])}%"
        assert actual.get_text().startswith("is ")
        assert mistakes.classes[mistakes.actual[place]].startswith(actual.get_text()[3:].removesuffix("…"))
        assert (to_hex(predicted.get_color()), to_hex(actual.get_color())) == (VERMILLION.lower(), "#000000")
        for text in (predicted, actual):
            assert text.get_position()[0] == pytest.approx((left + right) / 2)
        # From top to bottom: the predicted class, the true class, the image. In data coordinates, y grows downwards.
        assert max(text_box(predicted).y0, text_box(predicted).y1) <= min(text_box(actual).y0, text_box(actual).y1)
        assert max(text_box(actual).y0, text_box(actual).y1) < top


@few_examples
@given(st.integers(1, 30), st.integers(1, 12), st.integers(1, 12))
def test_gallery_is_read_line_by_line_and_nothing_overlaps(number, height, width):
    figure = draw_misclassified(mistakes_of(number, height, width), 30)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    tops = [(image.get_extent()[3], image.get_extent()[0]) for image in axes.images]
    assert tops == sorted(set(tops))
    areas = [image.get_window_extent() for image in axes.images]
    areas += [text.get_window_extent() for text in axes.texts if "very long" not in text.get_text()]
    page = figure.bbox
    for place, area in enumerate(areas):
        assert page.x0 <= area.x0 < area.x1 <= page.x1
        assert page.y0 <= area.y0 < area.y1 <= page.y1
        for other in areas[:place]:
            assert not area.overlaps(other) or min(area.x1, other.x1) - max(area.x0, other.x0) < 1


@pytest.mark.parametrize(("number", "height", "width"), [(1, 7, 3), (7, 4, 9)])
def test_gallery_has_the_pixels_of_the_images_in_the_png(number, height, width):
    mistakes = mistakes_of(number, height, width)
    figure = draw_misclassified(mistakes, 25)
    pixels = pixels_of(picture(figure, 120))
    (axes,) = figure.axes
    rows, columns = np.mgrid[:height, :width]
    for place, image in enumerate(axes.images):
        left, right, bottom, top = image.get_extent()
        middles = np.stack(
            [left + (columns + 0.5) / width * (right - left), top + (rows + 0.5) / height * (bottom - top)], axis=2
        )
        x, y = axes.transData.transform(middles.reshape(-1, 2)).T
        drawn = pixels[len(pixels) - 1 - np.floor(y).astype(int), np.floor(x).astype(int)]
        np.testing.assert_array_equal(drawn, np.repeat(255 - mistakes.images[place][:, None], 3, axis=1))


@pytest.mark.parametrize(
    ("number", "most", "title"),
    [
        (290, 25, "The 25 most confident of 290 mistakes"),
        (1290, 100, "The 100 most confident of 1,290 mistakes"),
        (290, 1, "The most confident of 290 mistakes"),
        (5, 25, "All 5 mistakes, the most confident first"),
        (1, 25, "The only mistake"),
    ],
)
def test_title_of_the_gallery_says_how_many_there_are(number, most, title):
    (axes,) = draw_misclassified(mistakes_of(number, 2, 2), most).axes
    assert axes.get_title().split("\n")[0] == title
    assert len(axes.images) == min(number, most)
    (axes,) = draw_misclassified(mistakes_of(number, 2, 2), most, "Some mistakes").axes
    assert axes.get_title().split("\n")[0] == "Some mistakes"


def test_gallery_without_mistakes_is_a_sentence():
    (axes,) = draw_misclassified(mistakes_of(0, 2, 2), 25).axes
    assert [text.get_text() for text in axes.texts] == ["Not one test image was misclassified."]
    assert len(axes.images) == 0


def test_gallery_has_images_an_inch_wide_in_pale_boxes():
    for number, most in (1, 25), (26, 25), (100, 100):
        figure = draw_misclassified(mistakes_of(number, 28, 28), most)
        picture(figure, 100)
        (axes,) = figure.axes
        for image, box in zip(axes.images, axes.lines, strict=True):
            assert image.get_window_extent().size == pytest.approx([100, 100], abs=10)
            assert (box.get_color(), box.get_linewidth()) == ("#CCCCCC", 0.8)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Ankle boots!", "is Ankle boots!"),
        ("Ankle boots!!", "is Ankle boots…"),
        ("twice as long a name", "is twice as lo…"),
    ],
)
def test_long_names_are_cut_to_twelve_characters(name, shown):
    mistakes = mistakes_of(1, 2, 2)._replace(classes=(name,) * len(CLASSES))
    (axes,) = draw_misclassified(mistakes, 25).axes
    assert axes.texts[1].get_text() == shown


# The weights


@pytest.mark.parametrize("epochs", [0, 1, 6])
@pytest.mark.parametrize(("n", "height", "width"), [(10, 28, 28), (1, 1, 1), (3, 5, 40)])
def test_training_images_are_shown_in_a_row_with_their_distortions_below(epochs, n, height, width):
    rng = np.random.default_rng(n)
    rows = rng.integers(0, 200, (epochs + 1, n, height, width), dtype=np.uint8)
    figure = draw_training_images(rows[0], list(rows[1:]))
    assert str(epochs or "does not distort") in figure.axes[0].get_title()
    canvas = figure.axes[0].images[0].get_array()
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


def tile(figure, neuron, neurons, height, width):
    """Return the colours of one neuron's image, from a square grid of neurons."""
    (image,) = figure.axes[0].images
    canvas = image.get_array().astype(int)
    columns = math.ceil(math.sqrt(neurons))
    row, column = divmod(neuron, columns)
    gap = max(1, height // 14)
    top, left = row * (height + gap), column * (width + gap)
    return canvas[top : top + height, left : left + width]


@few_examples
@given(st.integers(1, MOST_NEURONS), st.integers(1, 30), st.integers(1, 30), st.integers(0, 99))
def test_weights_have_the_colour_of_their_sign_and_size(neurons, height, width, seed):
    weights = np.random.default_rng(seed).normal(size=(height * width, neurons))
    weights[0] = 0
    figure = draw_weights(weights, (height, width))
    limit = np.percentile(np.abs(weights), 99.5, method="lower") or 1.0
    for neuron in range(neurons):
        red, _, blue = np.moveaxis(tile(figure, neuron, neurons, height, width), 2, 0)
        expected = weights[:, neuron].reshape(height, width)
        coloured = np.abs(expected) > limit / 16  # within a colour of 33 around 0, both signs are white
        np.testing.assert_array_equal(np.sign(red - blue)[coloured], np.sign(expected)[coloured])
        darkness = 3 * 255 - tile(figure, neuron, neurons, height, width).sum(axis=2)
        order = np.argsort(np.minimum(np.abs(expected), limit), axis=None)
        for sign in (-1, 1):
            same_sign = [place for place in order if np.sign(expected.ravel()[place]) == sign]
            assert (np.diff(darkness.ravel()[same_sign]) >= 0).all()


@few_examples
@given(st.integers(0, 99))
def test_scale_of_the_weights_ends_at_their_99_5th_percentile(seed):
    weights = np.random.default_rng(seed).normal(size=(400, 6))
    figure = draw_weights(weights, (20, 20))
    labels = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    limit = f"{np.percentile(np.abs(weights), 99.5, method='lower'):.2g}"
    assert (labels[0], labels[2], labels[-1]) == (f"≤ −{limit}", "0", f"≥ {limit}")
    colours = {tuple(colour) for colour in figure.axes[0].images[0].get_array().reshape(-1, 3).tolist()}
    darkest = {(0x67, 0x00, 0x1F), (0x05, 0x30, 0x61)}
    assert darkest <= colours


@pytest.mark.parametrize(
    ("neurons", "title"),
    [
        (1, "Weights of the first layer: 1 neuron, 3 × 5 inputs each"),
        (50, "Weights of the first layer: 50 neurons, 3 × 5 inputs each"),
        (3000, "Weights of the first layer: first 50 of 3,000 neurons, 3 × 5 inputs each"),
    ],
)
def test_title_of_the_weights_says_how_many_there_are(neurons, title):
    figure = draw_weights(np.zeros((15, neurons)), (3, 5))
    assert figure.axes[0].get_title() == title


# PNG files


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=1), st.integers(1, 600)), min_size=1, max_size=40))
def test_zlib_undoes_the_compression(runs):
    content = b"".join(byte * length for byte, length in runs)
    assert zlib.decompress(zlib_bytes(content)) == content


def test_zlib_undoes_the_compression_of_every_length_of_a_run():
    for length in range(1, 1100):
        assert zlib.decompress(zlib_bytes(b"\x90" * length)) == b"\x90" * length


def test_compression_has_the_bytes_that_rfc_1951_gives_by_hand():
    """Bits in the order of the stream: 1, 10 (last block, fixed codes); the codes; 0000000 (end of block).

    Byte 2 has the code 00110010 and byte 0 has 00110000. Byte "a" has 10010001; a repeat of 3 has 0000001 and, for the
    distance 1, 00000. The checksum Adler-32 follows.
    """
    assert zlib_bytes(b"\x02\x00") == bytes.fromhex("7801 63620000 00060003")
    assert zlib_bytes(b"aaaa") == bytes.fromhex("7801 4b040200 03ce0185")


def test_png_of_one_pixel_has_the_bytes_that_the_standard_gives_by_hand():
    def chunk(kind, body):
        return struct.pack(">I", len(body) // 2) + kind + bytes.fromhex(body) + struct.pack(">I", crc(kind, body))

    def crc(kind, body):
        return zlib.crc32(kind + bytes.fromhex(body))

    assert png_bytes(np.zeros((1, 1, 3), np.uint8), 100) == b"\x89PNG\r\n\x1a\n" + b"".join(
        [
            chunk(b"IHDR", "00000001000000010803000000"),  # width, height; 8 bits, a palette
            chunk(b"pHYs", "00000f6100000f6101"),  # 3,937 pixels a metre
            chunk(b"PLTE", "000000"),
            chunk(b"IDAT", "78016362000000060003"),  # filter "up", colour 0
            b"\x00\x00\x00\x00IEND\xae\x42\x60\x82",
        ]
    )


levels = st.integers(0, 63).map(lambda level: (level * 255 + 31) // 63)


@given(arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 20), st.just(3)), elements=levels))
def test_png_keeps_up_to_256_colours(pixels):
    np.testing.assert_array_equal(pixels_of(png_bytes(pixels, 100)), pixels)


@given(arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 20), st.just(3))))
def test_png_rounds_a_colour_to_64_levels(pixels):
    error = np.abs(pixels_of(png_bytes(pixels, 100)).astype(int) - pixels)
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


@pytest.mark.parametrize(
    ("neurons", "height", "width"), [(1, 28, 28), (10, 28, 28), (50, 28, 28), (50, 28, 14), (50, 14, 28)]
)
def test_weights_have_square_pixels(neurons, height, width):
    figure = draw_weights(np.ones((height * width, neurons)), (height, width))
    picture(figure, 100)
    axes = figure.axes[0]
    (image,) = axes.images
    rows, columns, _ = image.get_array().shape
    wide, high = image.get_window_extent().size
    assert (high / rows) / (wide / columns) == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize(("neurons", "height", "width"), [(1, 28, 28), (2, 28, 28), (50, 28, 28)])
def test_weights_fill_most_of_the_figure(neurons, height, width):
    figure = draw_weights(np.ones((height * width, neurons)), (height, width))
    picture(figure, 100)
    assert (figure.axes[0].images[0].get_window_extent().size > 0.7 * figure.bbox.size).all()


def test_weights_that_are_all_zero_have_a_scale():
    bar = draw_weights(np.zeros((20, 3)), (4, 5)).axes[1]
    assert [label.get_text() for label in bar.get_yticklabels()] == ["≤ −1", "−0.5", "0", "0.5", "≥ 1"]


# Places and pixels


def test_epochs_are_whole_numbers_on_the_axis():
    axes = draw_loss(history_of([(1.0, 0.5, 1.0, 0.5)] * 3)).axes[0]
    assert all(float(tick).is_integer() for tick in axes.get_xticks())


@pytest.mark.parametrize(("classes", "size"), [(12, 9), (13, 6), (25, 6), (26, 5)])
def test_many_classes_have_smaller_counts(classes, size):
    (text, *_) = draw_confusion(np.eye(classes, dtype=int), ["a"] * classes).axes[0].texts
    assert text.get_fontsize() == size


def test_the_most_classes_fit_into_one_picture():
    figure = draw_confusion(np.eye(256, dtype=int), [f"class {number}" for number in range(256)])
    assert max(figure.get_size_inches()) < 21
    axes = figure.axes[0]
    assert not axes.texts  # no count would fit into a cell
    picture(figure, 120)
    first, second, *others = (label.get_window_extent() for label in axes.get_yticklabels())
    assert not first.overlaps(second)
    assert len(others) == 254


def test_few_epochs_and_few_classes_fill_most_of_the_figure():
    curves = draw_loss(history_of([(1.0, 0.5, 1.0, 0.5)]))
    assert curves.axes[0].get_xlim() == (0, 1.2)
    matrix = draw_confusion(np.eye(2, dtype=int), "ab")
    picture(matrix, 100)
    assert matrix.axes[0].get_window_extent().size == pytest.approx([350, 350], abs=50)


@pytest.mark.parametrize("dpi", [50, 73, 120, 300])
def test_axes_of_the_data_are_on_whole_pixels(dpi):
    """So the last bits of the layout's arithmetic do not move a pixel."""
    figures = [draw_weights(np.ones((20, 3)), (4, 5)), draw_misclassified(mistakes_of(3, 4, 5), 25)]
    figures.append(draw_confusion(np.eye(3, dtype=int), "abc"))
    for figure in figures:
        picture(figure, dpi)
        corners = figure.axes[0].get_position().get_points() * figure.get_size_inches() * dpi
        np.testing.assert_allclose(corners, np.rint(corners), atol=1e-6)


# The committed figures


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="another compiler may round coordinates differently",
)
def test_committed_figures_are_those_of_the_committed_tables():
    """Every line, colour and place on them: they change only together with what they show."""
    metrics = ROOT / "metrics"
    dpi = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["plot"]["dpi"]
    history = read_history(metrics / "history.csv")
    classes = [entry["class"] for entry in json.loads((metrics / "classes.json").read_text(encoding="utf-8"))]
    counts = confusion_matrix(*read_confusion(metrics / "confusion.csv", classes), len(classes))
    drawn = {
        "accuracy": draw_accuracy(history),
        "loss": draw_loss(history),
        "confusion": draw_confusion(counts, classes),
    }
    for name, figure in drawn.items():
        assert picture(figure, dpi) == (metrics / "figures" / f"{name}.png").read_bytes(), name
