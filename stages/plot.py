"""Draw what training and evaluation left behind, as figures for people."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from pipeline.errors import UserError, one_sentence_errors
from pipeline.files import load_arrays, written_whole

if TYPE_CHECKING:  # Matplotlib takes longer to import than `--help` may
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HISTORY_COLUMNS = ["epoch", "iteration", "loss", "train_accuracy", "validation_loss", "validation_accuracy"]
CONFUSION_COLUMNS = ["actual", "predicted"]

# Okabe and Ito's colours: told apart with every kind of colour vision, and in grey.
BLUE, VERMILLION = "#0072B2", "#D55E00"
MOST_NEURONS = 50  # of weights.png, which stands in Git: more would be more than people look at

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
@one_sentence_errors
def main(
    history_path: Annotated[Path, typer.Argument(help="History of training, CSV.")] = Path("metrics/history.csv"),
    confusion_path: Annotated[Path, typer.Argument(help="Actual and predicted class of each test image, CSV.")] = Path(
        "metrics/confusion.csv"
    ),
    model_path: Annotated[Path, typer.Argument(help="The trained model.")] = Path("models/mlp.npz"),
    misclassified_path: Annotated[
        Path, typer.Argument(help="The misclassified test images, most confident first.")
    ] = Path("data/misclassified.npz"),
    figures_folder: Annotated[
        Path,
        typer.Argument(help="Folder for accuracy.png, loss.png, confusion.png, misclassified.png and weights.png."),
    ] = Path("metrics/figures"),
    params_path: Annotated[Path, typer.Option("--params", help="The parameters; plot is read.")] = Path("params.yaml"),
) -> None:
    """Draw the figures: accuracy, loss, confusion matrix, misclassified images, first layer's weights."""
    from pipeline.params import load_params

    params = load_params(params_path).plot
    history = read_history(history_path)
    model = read_model(model_path)
    counts = read_confusion(confusion_path, [str(name) for name in model["classes"]])
    mistakes = read_misclassified(misclassified_path)

    use_own_settings()
    figures = {
        "accuracy.png": draw_accuracy(history),
        "loss.png": draw_loss(history),
        "confusion.png": draw_confusion(counts, [str(name) for name in model["classes"]]),
        "misclassified.png": draw_misclassified(mistakes, params.misclassified),
        "weights.png": draw_weights(model["weights_1"], model["image_shape"]),
    }
    pictures = {name: picture(figure, params.dpi) for name, figure in figures.items()}
    for name, content in pictures.items():
        with written_whole(figures_folder / name) as file:
            file.write(content)


# Reading: each input is checked here, so that drawing can rely on it.


def read_history(path: Path) -> dict[str, np.ndarray]:
    """Read the history of training into one array a column."""
    columns = list(zip(*_read_csv(path, HISTORY_COLUMNS), strict=True))
    try:
        history = {name: np.array(column, float) for name, column in zip(HISTORY_COLUMNS, columns, strict=True)}
    except ValueError as error:
        raise _unusable(path, str(error)) from None
    if not all(np.isfinite(column).all() for column in history.values()):
        raise _unusable(path, "not all its numbers are finite")
    return history


def read_confusion(path: Path, classes: Sequence[str]) -> np.ndarray:
    """Count the test images by (actual, predicted) class."""
    place = {name: index for index, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), np.int64)
    for row in _read_csv(path, CONFUSION_COLUMNS):
        if unknown := [name for name in row if name not in place]:
            raise _unusable(path, f"the model knows no class {unknown[0]!r}")
        actual, predicted = row
        counts[place[actual], place[predicted]] += 1
    return counts


def read_model(path: Path) -> dict[str, np.ndarray]:
    """Read the parts of the model that are drawn: the first layer's weights, image shape and classes' names."""
    model = _read_arrays(path, {"weights_1": (2, "f"), "image_shape": (1, "i"), "classes": (1, "U")})
    if len(model["weights_1"]) != model["image_shape"].prod() or model["weights_1"].size == 0:
        raise _unusable(path, "weights_1 and image_shape do not belong together")
    if not np.isfinite(model["weights_1"]).all():
        raise _unusable(path, "not all its weights are finite")
    return model


def read_misclassified(path: Path) -> dict[str, np.ndarray]:
    """Read the misclassified images and what the model took them for."""
    numbers = {"actual": (1, "i"), "predicted": (1, "i"), "probability": (1, "f")}
    mistakes = _read_arrays(path, {"images": (2, "u"), **numbers, "image_shape": (1, "i"), "classes": (1, "U")})
    images, classes = mistakes["images"], len(mistakes["classes"])
    fits = images.dtype == np.uint8 and images.shape[1] == mistakes["image_shape"].prod()
    fits &= all(len(mistakes[name]) == len(images) for name in numbers)
    fits &= all(((mistakes[name] >= 0) & (mistakes[name] < classes)).all() for name in ("actual", "predicted"))
    if not fits:
        raise _unusable(path, "its arrays do not belong together")
    return mistakes


def _read_arrays(path: Path, expected: dict[str, tuple[int, str]]) -> dict[str, np.ndarray]:
    """Read the `expected` arrays, given as name: (dimensions, kind of dtype)."""
    arrays = load_arrays(path)
    for name, (dimensions, kind) in expected.items():
        if name not in arrays:
            raise _unusable(path, f"it has no array {name}")
        if arrays[name].ndim != dimensions or arrays[name].dtype.kind != kind:
            raise _unusable(path, f"its array {name} has shape {arrays[name].shape} and type {arrays[name].dtype}")
    shape = arrays["image_shape"]
    if len(shape) != 2 or (shape < 1).any():
        raise _unusable(path, f"image_shape is {shape.tolist()}, not a height and a width")
    return {name: arrays[name] for name in expected}


def _read_csv(path: Path, columns: list[str]) -> list[list[str]]:
    """Read the rows below the header, which is to be `columns`; at least one."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file, strict=True))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run `dvc repro` to make it.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise _unusable(path, str(error)) from None
    if lines[:1] != [columns]:
        raise _unusable(path, f"expected the columns {', '.join(columns)}")
    rows = lines[1:]
    if not rows:
        raise _unusable(path, "it has no rows")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(columns):
            raise _unusable(path, f"line {number} has {len(row)} values, not {len(columns)}")
    return rows


def _unusable(path: Path, reason: str) -> UserError:
    return UserError(f"{path}: {reason}; run `dvc repro` to make it again.")


# Drawing: one function a figure.


def draw_accuracy(history: dict[str, np.ndarray]) -> "Figure":
    """Draw the accuracy on training and validation images after each epoch."""
    figure, axes = _chart("Accuracy after each epoch", "accuracy (share of images classified correctly)")
    _draw_curves(axes, history, "train_accuracy", "validation_accuracy")
    axes.set_ylim(0, 1)
    axes.set_yticks(np.arange(11) / 10)
    axes.legend(loc="lower right")
    return figure


def draw_loss(history: dict[str, np.ndarray]) -> "Figure":
    """Draw the loss on training and validation images of each epoch."""
    figure, axes = _chart("Loss of each epoch", "mean cross-entropy (nats per image)")
    _draw_curves(axes, history, "loss", "validation_loss")
    axes.set_ylim(0, 1.05 * max(history["loss"].max(), history["validation_loss"].max()) or 1)
    axes.legend(loc="upper right")
    return figure


def _chart(title: str, y_label: str) -> tuple["Figure", "Axes"]:
    from matplotlib.ticker import MaxNLocator

    figure = _figure(7.5, 4.5)
    axes = figure.add_subplot()
    axes.set(title=title, xlabel="epoch", ylabel=y_label)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.grid(color="#E5E5E5")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _draw_curves(axes: "Axes", history: dict[str, np.ndarray], training: str, validation: str) -> None:
    epochs = history["epoch"]
    marker = "s" if len(epochs) <= 15 else ""  # a line alone would not show a single epoch
    for name, column, style, colour in (
        ("training", training, "-", BLUE),
        ("validation", validation, (0, (4, 2)), VERMILLION),
    ):
        values = history[column]
        label = f"{name}, {values[-1]:.4f} at the end"
        axes.plot(epochs, values, linestyle=style, color=colour, marker=marker, markersize=4, label=label)
    axes.set_xlim(min(epochs[0], 1) - 1, epochs[-1] + 0.02 * max(epochs[-1], 10))


def draw_confusion(counts: np.ndarray, classes: Sequence[str]) -> "Figure":
    """Draw how many test images of each class were taken for each class, coloured by their share of the row."""
    from matplotlib import colormaps

    totals = counts.sum(axis=1, keepdims=True)
    # By the square root of the share: one image in a hundred is to be told from none.
    strength = np.sqrt(counts / np.maximum(totals, 1))
    colours = colormaps["Blues"].resampled(33)
    number = len(classes)
    names = [_shortened(name, 20) for name in classes]
    cell = 0.5 if number <= 12 else 0.36 if number <= 25 else 0.26
    longest = max(map(len, names))
    size = max(number * cell, 3.5) + 1.2 + 0.08 * longest
    figure = _figure(size + 1, size)
    axes = figure.add_subplot()
    axes.set_title(f"Confusion matrix: {counts.trace():,} of {counts.sum():,} test images right")
    axes.imshow(colours(strength, bytes=True), interpolation="nearest")
    axes.set(xlabel="predicted class", ylabel="actual class")
    axes.set_xticks(range(number), names, rotation=90 if longest > 3 else 0)
    axes.set_yticks(range(number), names)
    axes.set_xticks(np.arange(1, number) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, number) - 0.5, minor=True)
    axes.grid(which="minor", color="white")
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    for row, column in zip(*np.nonzero(counts), strict=True):
        axes.text(
            column,
            row,
            str(counts[row, column]),
            color="white" if strength[row, column] > 0.6 else "black",
            size=9 if number <= 12 else 6 if number <= 25 else 5,
            ha="center",
            va="center_baseline",
        )
    ticks = np.array([0, 0.01, 0.05, 0.1, 0.25, 0.5, 1])
    _draw_scale(axes, colours, np.sqrt(ticks), [f"{tick:.0%}" for tick in ticks], "share of the actual class")
    return figure


def draw_misclassified(mistakes: dict[str, np.ndarray], most: int) -> "Figure":
    """Draw the first `most` misclassified images, each with its predicted and its true class."""
    images = mistakes["images"]
    shown = min(len(images), most)
    columns = max(math.ceil(math.sqrt(shown)), 4)
    rows = max(math.ceil(shown / columns), 1)
    # In inches, and images an inch wide: each has a place 1.3 wide and 1.5 high, its two lines of text above it.
    figure = _figure(1.3 * columns + 0.2, 1.5 * rows + 0.6)
    axes = figure.add_subplot()
    axes.set_axis_off()
    if not shown:
        axes.set_title("Misclassified images")
        axes.text(0.5, 0.5, "Not one test image was misclassified.", ha="center", va="center")
        return figure

    which = f"The {shown} most confident" if shown > 1 else "The most confident"
    axes.set_title(
        f"{which} of {len(images):,} mistakes\norange: predicted class and its probability; black: true class", size=10
    )
    height, width = (int(side) for side in mistakes["image_shape"])
    wide, high = width / max(height, width), height / max(height, width)
    name = [_shortened(str(name), 12) for name in mistakes["classes"]]
    for place in range(shown):
        row, column = divmod(place, columns)
        middle, top = 1.3 * column + 0.5, 1.5 * row
        image = np.repeat(255 - images[place].reshape(height, width, 1), 3, axis=2)
        box = (middle - wide / 2, middle + wide / 2, top + high, top)
        axes.imshow(image, extent=box, interpolation="nearest")
        axes.plot([box[0], box[1], box[1], box[0], box[0]], [top, top, box[2], box[2], top], color="#CCCCCC", lw=0.8)
        predicted, actual = name[mistakes["predicted"][place]], name[mistakes["actual"][place]]
        share = math.floor(100 * mistakes["probability"][place])
        axes.text(middle, top - 0.2, f"{predicted}, {share}%", color=VERMILLION, size=9, ha="center")
        axes.text(middle, top - 0.05, f"is {actual}", color="black", size=9, ha="center")
    axes.set_xlim(-0.15, 1.3 * columns - 0.15)
    axes.set_ylim(1.5 * rows - 0.45, -0.4)
    return figure


def draw_weights(weights: np.ndarray, image_shape: np.ndarray) -> "Figure":
    """Draw the weights of each neuron of the first layer as an image, all on one scale."""
    from matplotlib import colormaps

    height, width = (int(side) for side in image_shape)
    neurons = weights.shape[1]
    shown = min(neurons, MOST_NEURONS)
    columns = math.ceil(math.sqrt(shown))
    rows = math.ceil(shown / columns)
    # A few weights are far larger than the rest: one in 200 has the darkest colour, so that the rest is seen too.
    magnitudes = np.sort(np.abs(weights[:, :shown]), axis=None)
    limit = float(magnitudes[int(0.995 * (len(magnitudes) - 1))]) or 1.0
    colours = colormaps["RdBu_r"].resampled(33)

    gap = max(1, height // 14)
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for neuron in range(shown):
        row, column = divmod(neuron, columns)
        image = weights[:, neuron].reshape(height, width)
        top, left = row * (height + gap), column * (width + gap)
        canvas[top : top + height, left : left + width] = colours((image / limit + 1) / 2, bytes=True)[..., :3]

    figure = _figure(7.5, min(max(6 * canvas.shape[0] / canvas.shape[1], 2), 12) + 0.5)
    axes = figure.add_subplot()
    axes.set_axis_off()
    which = (
        f"{neurons} neuron{'s' if neurons > 1 else ''}" if shown == neurons else f"first {shown} of {neurons:,} neurons"
    )
    axes.set_title(f"Weights of the first layer: {which}, {height} × {width} inputs each")
    axes.imshow(canvas, interpolation="nearest")
    ticks = np.arange(-2, 3) / 2
    labels = [f"{tick * limit:.2g}".replace("-", "−") for tick in ticks]
    labels[0], labels[-1] = f"≤ {labels[0]}", f"≥ {labels[-1]}"
    _draw_scale(axes, colours, (ticks + 1) / 2, labels, "weight")
    return figure


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
    return figure


def _draw_scale(axes: "Axes", colours: Any, places: np.ndarray, labels: list[str], title: str) -> None:
    """Draw the colours from 0 to 1 beside `axes`, with labels at the given places."""
    from matplotlib.cm import ScalarMappable

    bar = axes.figure.colorbar(ScalarMappable(cmap=colours), ax=axes, shrink=0.8, label=title)
    bar.set_ticks(places, labels=labels)
    bar.outline.set_visible(False)


def _shortened(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


# The same bytes on every machine. The data are. Drawing keeps away from what differs between machines: the user's own
# Matplotlib settings, the system's fonts, sines for round corners, zlib. FreeType works in whole numbers; what remains
# is plus, minus, times and divide in Matplotlib's C++ code, which a compiler may fuse for another processor. The last
# bit of a coordinate then differs, not a pixel: the renderer rounds coordinates to 1/256 pixel, and only one that lies
# exactly between two such steps would show it. Seen to hold on x86-64 and aarch64; not proved, as the arithmetic of
# the network is.


def use_own_settings() -> None:
    """Make Matplotlib draw as it comes, with its own fonts."""
    import matplotlib
    from matplotlib import font_manager

    matplotlib.rcdefaults()
    matplotlib.rcParams.update(
        {
            "axes.titlesize": 11,
            "legend.frameon": False,
            "lines.solid_capstyle": "butt",
            "lines.solid_joinstyle": "miter",
            "lines.dash_joinstyle": "miter",
            "path.simplify": False,
        }
    )
    own_folder = Path(matplotlib.get_data_path())
    manager = font_manager.fontManager
    manager.ttflist = [font for font in manager.ttflist if own_folder in Path(font.fname).parents]


def picture(figure: "Figure", dpi: int) -> bytes:
    """Render the figure into the bytes of a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from pipeline.png import png_bytes

    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()  # here the axes find their places
    figure.set_layout_engine("none")
    for axes in figure.axes:
        # On whole pixels, so that the last bits of the layout's arithmetic decide nothing.
        size = figure.get_size_inches() * dpi
        corners = np.rint(axes.get_position().get_points() * size) / size
        axes.set_aspect("auto")
        axes.set_position([*corners[0], *(corners[1] - corners[0])])
    canvas.draw()
    return png_bytes(np.asarray(canvas.buffer_rgba())[..., :3], dpi)


if __name__ == "__main__":
    app()
