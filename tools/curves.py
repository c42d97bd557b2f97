"""Draw the training in metrics/history.csv, as in README.md: `python -m tools.curves`."""

import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.program.command import command
from pipeline.program.errors import UserError

if TYPE_CHECKING:  # imported inside functions, so that `--help` is quick
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES = Path("docs/curves.png")
HISTORY = Path("metrics/history.csv")
COLUMNS = ("epoch", "loss", "train_accuracy", "validation_loss", "validation_accuracy", "kept")
History = dict[str, list[float]]  # by column, one number for each epoch


@command
def main() -> None:
    """Draw accuracy and loss of metrics/history.csv as docs/curves.png."""
    from pipeline.drawing.figures import picture, use_own_settings
    from pipeline.program.files import write_bytes
    from pipeline.settings.params import load_params

    try:
        with HISTORY.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        history = {column: [float(row[column]) for row in rows] for column in COLUMNS}
        history["kept"].index(1)
        if not all(math.isfinite(number) for column in history.values() for number in column):
            raise ValueError
    except (KeyError, TypeError, ValueError, csv.Error):
        what = "no epoch is kept yet, because training runs or broke off"
        raise UserError(f"{HISTORY}: {what}; `dvc repro` ends it.") from None
    use_own_settings()
    measured = load_params(Path("params.yaml")).preprocess.validation_size
    figure = draw_curves(history, measured)
    write_bytes(CURVES, picture(figure, 120))
    print(f"{CURVES}: written.")


def draw_curves(history: History, measured: int) -> "Figure":
    """Draw the accuracy at the left, the loss at the right.

    The legend has the numbers of the network that is kept. After each epoch, so many images of each
    kind are `measured`; the loss of the training images is that of their steps.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(10, 3.6), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    accuracy, loss = figure.subplots(1, 2)
    names = f"{measured:,} training images", f"{measured:,} validation images"
    columns = "train_accuracy", "validation_accuracy"
    _draw(accuracy, history, "Accuracy after each epoch", dict(zip(names, columns, strict=True)))
    lowest = min(history["train_accuracy"] + history["validation_accuracy"])
    accuracy.set(ylabel="share of images classified correctly")
    accuracy.set(ylim=(min(math.floor(10 * lowest) / 10, 0.9), 1))
    names = "training images, while training", names[1]
    columns = "loss", "validation_loss"
    _draw(loss, history, "Loss of each epoch", dict(zip(names, columns, strict=True)))
    highest = max(history["loss"] + history["validation_loss"])
    loss.set(ylim=(0, 1.05 * highest or 1), ylabel="mean cross-entropy (nats per image)")
    return figure


def _draw(axes: "Axes", history: History, title: str, columns: dict[str, str]) -> None:
    from matplotlib.ticker import MaxNLocator

    from pipeline.drawing.figures import BLUE, VERMILLION

    epochs = history["epoch"]
    kept = history["kept"].index(1)
    marker = "s" if len(epochs) <= 15 else ""  # a line alone would not show a single epoch
    looks = [("-", BLUE), ((0, (4, 2)), VERMILLION)]
    for (name, column), (style, colour) in zip(columns.items(), looks, strict=True):
        label = f"{name}: {history[column][kept]:#.4g}"
        (line,) = axes.plot(epochs, history[column], ls=style, color=colour, label=label)
        line.set(marker=marker, ms=4, clip_on=False)
    right = epochs[-1] + 0.02 * max(epochs[-1], 10)
    axes.set(title=title, xlabel="epoch", xlim=(min(epochs[0], 1) - 1, right))
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.grid(color="#E5E5E5")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="best")


if __name__ == "__main__":
    main()
