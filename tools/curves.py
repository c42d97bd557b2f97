"""A figure of settings over the epochs: the mean of the validation accuracy, and its spread over the seeds."""

import math
import subprocess
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from pipeline.drawing.figures import BLUE, VERMILLION
from pipeline.program.errors import UserError
from pipeline.store.tables import read_history
from tools.experiments import Params, Run

HISTORY = "metrics/history.csv"

# Okabe and Ito's colours without yellow, which is too bright for a line
COLOURS = (BLUE, VERMILLION, "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
DASHES = ("-", (0, (4, 2)))
MOST_CURVES = len(COLOURS) * len(DASHES)  # 7 and 2 have no common factor, so no two of these look the same


@dataclass(frozen=True)
class Curve:
    """The validation accuracy of one setting over the epochs.

    Attributes:
        runs: number of runs.
        epochs: numbers of the epochs that every run has.
        mean: mean over the runs, for each of these epochs.
        sd: standard deviation over the runs, for each of these epochs; 0 for a single run.
    """

    runs: int
    epochs: np.ndarray
    mean: np.ndarray
    sd: np.ndarray


def read_curve(runs: Sequence[Run]) -> Curve:
    """Read the histories of a setting's runs, and average them.

    Raises:
        UserError: the commit of a run has no usable history, or the runs have no epoch in common.
    """
    accuracies = [_accuracy_by_epoch(run) for run in runs]
    epochs = sorted(set.intersection(*map(set, accuracies)))
    if not epochs:
        names = ", ".join(run.name for run in runs)
        raise UserError(f"the experiments {names} have no epoch in common, so they have no mean; name others.")
    values = [[accuracy[epoch] for accuracy in accuracies] for epoch in epochs]
    # fmean and stdev sum exactly, so the figure has the same bytes on every machine; NumPy's mean and std do not
    mean = np.array([fmean(at_epoch) for at_epoch in values])
    sd = np.array([stdev(at_epoch) if len(runs) > 1 else 0.0 for at_epoch in values])
    return Curve(len(runs), np.array(epochs), mean, sd)


def _accuracy_by_epoch(run: Run) -> dict[float, float]:
    """Read the validation accuracy after each epoch from the run's commit."""
    shown = subprocess.run(["git", "show", f"{run.revision}:./{HISTORY}"], capture_output=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "history.csv")
        path.write_bytes(shown.stdout)  # nothing, if the commit has no such file
        try:
            history = read_history(path)
        except UserError:
            raise UserError(f"the experiment {run.name} lacks a usable {HISTORY}; remove it or run it again.") from None
    return dict(zip(history["epoch"].tolist(), history["validation_accuracy"].tolist(), strict=True))


def draw_curves(curves: Mapping[Params, Curve]) -> Figure:
    """Draw a curve for each setting. If it has several runs, draw a band of ± one standard deviation around it.

    The axis of the accuracy shows the last three quarters of each curve whole. With the steep beginning, the later
    differences would be too small to see.

    Raises:
        UserError: there are more than MOST_CURVES settings.
    """
    if len(curves) > MOST_CURVES:
        raise UserError(f"a figure shows at most {MOST_CURVES} settings, not {len(curves)}; name fewer experiments.")
    labels = [
        textwrap.fill(f"{', '.join(setting) or 'all'} ({curve.runs} seed{'s' if curve.runs > 1 else ''})", 80)
        for setting, curve in curves.items()
    ]
    columns = 2 if len(labels) > 3 and max(map(len, labels)) <= 42 else 1
    lines = sum(label.count("\n") + 1 for label in labels)
    height = 4.5 + 0.2 * math.ceil(lines / columns)
    figure = Figure(figsize=(7.5, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    axes = figure.add_subplot()
    lowest, highest, last = 1.0, 0.0, 1.0
    for place, (label, curve) in enumerate(zip(labels, curves.values(), strict=True)):
        colour, dashes = COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)]
        marker = "s" if len(curve.epochs) == 1 else ""  # a line alone would not show a single epoch
        axes.plot(curve.epochs, curve.mean, ls=dashes, color=colour, marker=marker, markersize=4, label=label)
        low, high = curve.mean - curve.sd, curve.mean + curve.sd
        if curve.runs > 1:
            axes.fill_between(curve.epochs, low, high, color=colour, alpha=0.15, lw=0)
        late = curve.epochs > curve.epochs[-1] / 4
        lowest, highest = min(lowest, low[late].min()), max(highest, high.max())
        last = max(last, curve.epochs[-1])
    title = "Validation accuracy after each epoch: mean over the seeds, band ± standard deviation"
    figure.legend(title=title, loc="outside upper center", ncols=columns)  # above the plot: there it covers no curve
    axes.set(xlabel="epoch", ylabel="accuracy (share of images classified correctly)")
    axes.set_xlim(0, last + 0.02 * max(last, 10))
    margin = 0.05 * (highest - lowest) or 0.05
    axes.set_ylim(lowest - margin, highest + margin)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.set_axisbelow(True)
    axes.grid(color="#E5E5E5")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
