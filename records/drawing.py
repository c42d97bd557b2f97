"""The figure of the ledger."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, NullLocator

from pipeline.drawing.figures import BLUE, VERMILLION

if TYPE_CHECKING:
    from records.ledger import Row

TICKS = [0.3, 0.4, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20]


def draw_ledger(rows: Sequence["Row"]) -> Figure:
    """Draw each record's published error, each seed's error, and their mean, on a logarithmic axis."""
    shown = [row for row in rows if row.percent]
    figure = Figure(figsize=(7.5, 0.42 * len(shown) + 1.6), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    axes = figure.add_subplot()
    heights = range(len(shown), 0, -1)
    lines = list(zip(shown, heights, strict=True))
    published = [row.published.published for row in shown]
    means = [(row.mean, height) for row, height in lines if row.complete]
    for row, height in lines:
        axes.plot([row.published.published, *row.percent], [height] * (1 + len(row.percent)), color="#BBBBBB", lw=1)
    hollow: dict[str, Any] = {"markerfacecolor": "none", "mew": 1.8, "zorder": 3}  # the seeds can lie under it
    axes.plot(published, heights, "D", color=VERMILLION, ms=8, label="published", ls="", clip_on=False, **hollow)
    columns = np.array(means).reshape(-1, 2).T  # two, even if no row is complete
    axes.plot(*columns, "|", color=BLUE, ms=16, mew=2.5, ls="", label="here, mean", clip_on=False)
    points = [(error, height) for row, height in lines for error in row.percent]
    columns = np.array(points).reshape(-1, 2).T
    axes.plot(*columns, "s", color=BLUE, ms=3.5, alpha=0.6, ls="", label="here, each seed")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    axes.set_yticks(heights, [row.name for row in shown])
    percents = [*published, *(x for x, _ in points)] or [min(TICKS), max(TICKS)]
    axes.set_xlim(0.85 * min(percents), 1.2 * max(percents))
    axes.set_ylim(0.4, len(shown) + 0.6)
    axes.set_xlabel("test error (% of 10,000 images)")
    axes.grid(axis="x", color="#E5E5E5")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper center", ncols=3)
    return figure
