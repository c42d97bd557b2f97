"""A figure of settings over the epochs: mean and spread of the validation accuracy."""

import textwrap
from collections.abc import Collection

import numpy as np
from matplotlib.figure import Figure

from pipeline.drawing.figures import BLUE, VERMILLION, use_own_settings
from pipeline.program.errors import UserError
from tools.compare.experiments import HISTORY, Run, Settings, history_of

# Okabe and Ito's colours without yellow, which is too bright for a line
COLOURS = (BLUE, VERMILLION, "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
LOOKS = [(colour, dashes) for dashes in ("-", "--") for colour in COLOURS]


def draw_curves(settings: Settings) -> Figure:
    """Draw a curve for each setting, with a band of ± one standard deviation around it.

    Raises:
        UserError: there are more settings than LOOKS, or the runs of one have no epoch in common.
    """
    if len(settings) > len(LOOKS):
        found = f"{len(settings)}; name fewer experiments"
        raise UserError(f"a figure shows at most {len(LOOKS)} settings, not {found}.")
    use_own_settings()
    texts = [f"{setting} (seeds: {len(runs)})" for setting, runs in settings.items()]
    labels = [textwrap.fill(text, 80) for text in texts]
    height = 4.5 + 0.2 * sum(label.count("\n") + 1 for label in labels)
    figure = Figure(figsize=(7.5, height), layout="constrained")
    axes = figure.add_subplot(ymargin=0)
    bottom = 1.0
    for label, runs, (colour, dashes) in zip(labels, settings.values(), LOOKS, strict=False):
        epochs, mean, sd = curve_of(runs.values())
        marker = "s" if len(epochs) == 1 else ""  # a line alone would not show a single epoch
        axes.plot(epochs, mean, ls=dashes, color=colour, marker=marker, label=label)
        axes.fill_between(epochs, mean - sd, mean + sd, color=colour, alpha=0.15, lw=0)
        bottom = min(bottom, (mean - sd)[epochs > epochs[-1] / 4].min())
    # Above the steep beginning, or the later differences would be too small to see
    axes.set_ylim(bottom=bottom)
    axes.set(xlabel="epoch", ylabel="accuracy (share of images classified correctly)")
    axes.locator_params(axis="x", integer=True)
    axes.grid(color="#E5E5E5")
    title = "Validation accuracy after each epoch: mean over the seeds, band ± standard deviation"
    # Above the plot: there it covers no curve
    figure.legend(title=title, loc="outside upper center")
    return figure


def curve_of(runs: Collection[Run]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the epochs that all runs have; for each, validation accuracy's mean and deviation.

    Raises:
        UserError: there is no such epoch.
    """

    def accuracies(run: Run) -> dict[int, float]:
        return {int(row["epoch"]): float(row["validation_accuracy"]) for row in history_of(run)}

    try:
        histories = [accuracies(run) for run in runs]
        if not all(np.isfinite([*history.values()]).all() for history in histories):
            raise ValueError
    except (KeyError, TypeError, ValueError):  # a damaged file
        histories = [{}]
    epochs = sorted(set.intersection(*map(set, histories)))
    if not epochs:
        names = ", ".join(run.experiment for run in runs)
        what = f"no epoch is in every experiment's {HISTORY}"
        raise UserError(f"{names}: {what}; remove them or run them again.")
    # (runs, epochs)
    accuracy = np.array([[history[epoch] for epoch in epochs] for history in histories])
    sd = accuracy.std(axis=0, ddof=1) if len(runs) > 1 else np.zeros(len(epochs))
    return np.array(epochs), accuracy.mean(axis=0), sd
