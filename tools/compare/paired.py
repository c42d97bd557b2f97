"""Settings compared seed by seed: the differences, and Student's confidence interval of their mean."""

import math
from statistics import fmean, stdev

import typer

from tools.compare.experiments import METRICS, Settings, Values

CONFIDENCE = 0.95
METHOD = "Student's t of the paired differences, pairs - 1 degrees of freedom"


def minus_baseline(settings: Settings, baseline: str) -> Values:
    """Return each other setting's metrics minus the baseline's, in pairs of runs with the same seeds.

    A setting that has fewer than two pairs is left out, with a sentence.
    """
    minus: Values = {}
    base = settings[baseline]
    for setting in (name for name in settings if name != baseline):
        pairs = [(run.metrics, base[seeds].metrics) for seeds, run in settings[setting].items() if seeds in base]
        if len(pairs) > 1:
            minus[setting] = {metric: [one[metric] - other[metric] for one, other in pairs] for metric in METRICS}
        else:
            typer.echo(f"Not compared: {setting} and {baseline} have fewer than two seeds in common.", err=True)
    return minus


def interval(values: list[float]) -> tuple[float, float]:
    """Return the ends of the confidence interval of the mean of `values`, at least two."""
    margin = t_quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - margin, fmean(values) + margin


def t_quantile(df: int) -> float:
    """Return t: Student's distribution with `df` degrees of freedom lies within ± t with probability CONFIDENCE.

    With t = √df · tan θ, the density of θ is proportional to (cos θ) ** (df - 1). The midpoint rule integrates it.
    """
    import numpy as np  # here, so that `--help` is quick

    angles = np.linspace(0, math.pi / 2, 100_001)
    probability = np.cumsum(np.cos((angles[1:] + angles[:-1]) / 2) ** (df - 1))
    return math.sqrt(df) * math.tan(np.interp(CONFIDENCE * probability[-1], probability, angles[1:]))
