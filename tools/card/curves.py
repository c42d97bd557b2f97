"""A picture of a training: accuracy and loss, epoch by epoch, side by side."""

import csv
import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from pipeline.drawing.figures import BLUE, VERMILLION, use_own_settings


def read_history(path: Path) -> dict[str, np.ndarray]:
    """Return the columns of a history that the train stage wrote, but for the states."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {column: np.array([float(row[column]) for row in rows]) for column in rows[0] if column != "state"}


def draw_curves(history: dict[str, np.ndarray]) -> Figure:
    """Draw the accuracy at the left, the loss at the right. The legend has the numbers of the network that is kept."""
    use_own_settings()
    figure = Figure(figsize=(10, 3.6), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    accuracy, loss = figure.subplots(1, 2)
    _draw(accuracy, history, "Accuracy after each epoch", "train_accuracy", "validation_accuracy")
    lowest = min(history["train_accuracy"].min(), history["validation_accuracy"].min())
    accuracy.set_ylim(min(math.floor(10 * lowest) / 10, 0.9), 1)
    accuracy.set_ylabel("share of images classified correctly")
    _draw(loss, history, "Loss of each epoch", "loss", "validation_loss")
    loss.set_ylim(0, 1.05 * max(history["loss"].max(), history["validation_loss"].max()) or 1)
    loss.set_ylabel("mean cross-entropy (nats per image)")
    return figure


def _draw(axes: Axes, history: dict[str, np.ndarray], title: str, training: str, validation: str) -> None:
    epochs = history["epoch"]
    kept = int(history["kept"].argmax())
    marker = "s" if len(epochs) <= 15 else ""  # a line alone would not show a single epoch
    for column, name, style, colour in (
        (training, "training", "-", BLUE),
        (validation, "validation", (0, (4, 2)), VERMILLION),
    ):
        label = f"{name} images: {history[column][kept]:#.4g}"
        axes.plot(epochs, history[column], ls=style, color=colour, marker=marker, ms=4, label=label, clip_on=False)
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.set_xlim(min(epochs[0], 1) - 1, epochs[-1] + 0.02 * max(epochs[-1], 10))
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.grid(color="#E5E5E5")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="best")
