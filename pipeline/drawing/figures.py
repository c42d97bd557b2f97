"""The figures: misclassified images, training images, weights. Same data give the same bytes."""

import math
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from mlp.protocol import Split
from pipeline.drawing.png import png_bytes
from pipeline.program.files import write_bytes
from pipeline.store.artifacts import Misclassified

# Two of Okabe and Ito's colours: people with any colour vision can tell them apart. Here and on the
# drawing page, blue is above 0 and right, orange is below 0 and wrong.
BLUE, VERMILLION = "#0072B2", "#D55E00"
MOST_NEURONS = 50  # in weights.png: Git keeps that file, so it stays small
Shape = tuple[int, int]  # rows and columns of an image
Box = tuple[float, float, float, float]  # left, right, bottom and top of an image in a figure


def draw_misclassified(mistakes: Misclassified, most: int) -> Figure:
    """Draw the first `most` images of `mistakes` below their predicted and true classes."""
    images = mistakes.images
    shown = min(len(images), most)
    columns = max(math.ceil(math.sqrt(shown)), 4)
    rows = max(math.ceil(shown / columns), 1)
    # The unit is an inch. An image is 1 wide or 1 high. Its place is 1.3 wide and 1.5 high: the
    # text needs the rest.
    figure, axes = _blank(1.3 * columns + 0.2, 1.5 * rows + 0.6)
    if not shown:
        axes.set_title("Misclassified images")
        axes.text(0.5, 0.5, "Not one test image was misclassified.", ha="center", va="center")
        return figure

    if shown < len(images):
        which = f"The {f'{shown} ' if shown > 1 else ''}most confident of {len(images):,} mistakes"
    else:
        which = f"All {shown} mistakes, the most confident first"
        which = which if shown > 1 else "The only mistake"
    colours = "orange: predicted class and its probability; black: true class"
    axes.set_title(f"{which}\n{colours}", size=10)
    high, wide = _sides(mistakes.image_shape)
    name = [_short(name) for name in mistakes.classes]
    for place in range(shown):
        row, column = divmod(place, columns)
        middle, top = 1.3 * column + 0.5, 1.5 * row
        left, right, bottom = middle - wide / 2, middle + wide / 2, top + high
        _show(axes, images[place], mistakes.image_shape, (left, right, bottom, top))
        x, y = [left, right, right, left, left], [top, top, bottom, bottom, top]
        axes.plot(x, y, color="#CCCCCC", lw=0.8)
        predicted, actual = name[mistakes.predicted[place]], name[mistakes.actual[place]]
        guess = f"{predicted}, {math.floor(100 * mistakes.probability[place])}%"
        axes.text(middle, top - 0.2, guess, color=VERMILLION, size=9, ha="center")
        axes.text(middle, top - 0.05, f"is {actual}", color="black", size=9, ha="center")
    axes.set_xlim(-0.15, 1.3 * columns - 0.15)
    axes.set_ylim(1.5 * rows - 0.45, -0.4)
    return figure


def first_of_each_class(split: Split) -> np.ndarray:
    """Return the places of the first images: ten in all, or one of each class, up to 30."""
    classes = min(split.labels.shape[1], 30)
    each = max(1, 10 // classes)
    return np.concatenate([np.flatnonzero(split.labels[:, k])[:each] for k in range(classes)])


def draw_training_images(
    images: np.ndarray, distorted: Sequence[np.ndarray], shape: Shape, names: Sequence[str]
) -> Figure:
    """Draw training images, (n, features) uint8, below the names of their classes.

    `distorted` has arrays like `images`, one for each row of images below, or none.
    """
    height, width = _sides(shape)
    block = len(distorted) + 1  # rows of images of one class
    columns = min(len(images), 10)
    rows = math.ceil(len(images) / columns)
    # The unit is the longer side of an image. A name stands above its images.
    step, pitch = 1.1 * height, 1.1 * block * height + 0.4
    size = min(7.5 / columns, 12 / (rows * pitch))  # in inches
    figure, axes = _blank(max(1.1 * size * columns, 5), size * rows * pitch + 0.5)
    epochs = f", and below them as {len(distorted)} epochs distort them" if distorted else ""
    axes.set_title(f"Training images{epochs}", size=11)
    for place, name in enumerate(names):
        row, column = divmod(place, columns)
        axes.text(1.1 * column + 0.5, row * pitch - 0.06, _short(name), size=11 * size, ha="center")
        for line, some in enumerate([images, *distorted]):
            top = row * pitch + line * step
            left = 1.1 * column + (1 - width) / 2
            _show(axes, some[place], shape, (left, left + width, top + height, top))
    axes.set_xlim(-0.05, 1.1 * columns - 0.05)
    axes.set_ylim(rows * pitch - 0.3, -0.4)
    return figure


def draw_weights(weights: np.ndarray, image_shape: Shape) -> Figure:
    """Draw the first layer, (inputs, neurons): an image per neuron, a pixel per weight."""
    height, width = image_shape
    neurons = weights.shape[1]
    shown = min(neurons, MOST_NEURONS)
    columns = math.ceil(math.sqrt(shown))
    rows = math.ceil(shown / columns)
    # A few weights are far larger than the rest. The largest 0.5% share the darkest colour, so
    # that the rest shows, too.
    magnitudes = np.sort(np.abs(weights[:, :shown]), axis=None)
    limit = float(magnitudes[int(0.995 * (len(magnitudes) - 1))]) or 1.0
    colours = LinearSegmentedColormap.from_list("weights", [VERMILLION, "#F4F4F4", BLUE], N=33)
    tiles = np.full((rows * columns, height, width, 3), 255, np.uint8)
    shares = weights[:, :shown].T.reshape(shown, height, width) / limit
    tiles[:shown] = colours((shares + 1) / 2, bytes=True)[..., :3]
    canvas = _mosaic(tiles.reshape(rows, columns, height, width, 3), max(1, height // 14))

    figure, axes = _blank(7.5, min(max(6 * canvas.shape[0] / canvas.shape[1], 2), 12) + 0.5)
    which = f"{neurons} neuron{'s' * (neurons > 1)}"
    if shown < neurons:
        which = f"first {shown} of {neurons:,} neurons"
    axes.set_title(f"Weights of the first layer: {which}, {height} × {width} inputs each")
    axes.imshow(canvas, interpolation="nearest")
    bar = figure.colorbar(ScalarMappable(cmap=colours), ax=axes, shrink=0.8)
    bar.ax.set_title("weight", size=10)
    ticks = np.arange(-2, 3) / 2
    first, *others, last = [f"{tick * limit:.2g}".replace("-", "−") for tick in ticks]
    labels = [f"≤ {first}", *others, f"≥ {last}"]
    bar.set_ticks(((ticks + 1) / 2).tolist(), labels=labels)
    bar.outline.set_visible(False)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= 12 else f"{name[:11]}…"


def _sides(shape: Shape) -> tuple[float, float]:
    """Return the height and the width of an image whose longer side is 1."""
    return shape[0] / max(shape), shape[1] / max(shape)


def _show(axes: Axes, image: np.ndarray, shape: Shape, box: Box) -> None:
    """Draw an image of bytes, (features,), black on white."""
    grey = np.repeat(255 - image.reshape(*shape, 1), 3, axis=2)
    axes.imshow(grey, extent=box, interpolation="nearest")


def _blank(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    axes = figure.add_subplot()
    axes.set_axis_off()
    return figure, axes


def _mosaic(tiles: np.ndarray, gap: int) -> np.ndarray:
    """Return tiles, (rows, columns, height, width, 3) uint8, as a picture with white gaps."""
    rows, columns, height, width, _ = tiles.shape
    canvas = np.full((rows, height + gap, columns, width + gap, 3), 255, np.uint8)
    canvas[:, :height, :, :width] = tiles.transpose(0, 2, 1, 3, 4)
    return canvas.reshape(rows * (height + gap), columns * (width + gap), 3)[:-gap, :-gap]


# The figures shall have the same bytes on every machine. The data have. Drawing avoids what differs
# between machines: the user's Matplotlib settings, the system's fonts, sines for round corners,
# zlib. FreeType uses whole numbers. Matplotlib's C++ code still uses + − × ÷, and a compiler may
# fuse them on another processor. Then the last bit of a coordinate differs. The renderer rounds
# coordinates to 1/256 pixel, so a pixel differs only if a coordinate lies exactly between two
# steps. We have never seen it, but there is no proof.


def save_figures(folder: Path, dpi: int, **figures: Figure) -> None:
    """Write each figure as a PNG file of its name, when all are drawn."""
    pictures = {name: picture(figure, dpi) for name, figure in figures.items()}
    for name, content in pictures.items():
        write_bytes(folder / f"{name}.png", content)


def use_own_settings() -> None:
    """Make Matplotlib ignore the user's settings and the system's fonts."""
    matplotlib.rcdefaults()
    matplotlib.rcParams.update(
        {
            "axes.titlesize": 11,
            "legend.title_fontsize": 11,
            "legend.frameon": False,
            "lines.solid_capstyle": "butt",
            "lines.solid_joinstyle": "miter",
            "lines.dash_joinstyle": "miter",
            "path.simplify": False,
            "text.parse_math": False,  # a class may be called $
        }
    )
    own_folder = Path(matplotlib.get_data_path())
    manager = font_manager.fontManager
    manager.ttflist = [font for font in manager.ttflist if own_folder in Path(font.fname).parents]


def picture(figure: Figure, dpi: int) -> bytes:
    """Render the figure at `dpi` dots per inch; return the bytes of a PNG file."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    # Matplotlib's C++ code turns Ctrl-C into other errors. So Ctrl-C waits till all is drawn
    if sys.platform != "win32":
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    figure.draw_without_rendering()  # the layout engine now places the axes
    figure.set_layout_engine("none")
    for axes in figure.axes:
        # The axes go to whole pixels: the last bits of the layout's numbers then have no effect.
        size = figure.get_size_inches() * dpi
        corners = np.rint(axes.get_position().get_points() * size) / size
        (left, bottom), (right, top) = corners.tolist()
        axes.set_aspect("auto")
        axes.set_position((left, bottom, right - left, top - bottom))
    canvas.draw()
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return png_bytes(np.asarray(canvas.buffer_rgba())[..., :3], dpi)
