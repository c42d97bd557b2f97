"""Settings compared seed by seed: the differences, and Student's confidence interval of their mean."""

import math
from bisect import bisect
from statistics import fmean, stdev

import typer

from tools.compare.experiments import METRICS, Settings

CONFIDENCE = 0.95
METHOD = "Student's t of the paired differences, pairs - 1 degrees of freedom"


Minus = dict[str, dict[str, list[float]]]  # by setting and metric; one difference for each pair


def minus_baseline(settings: Settings, baseline: str) -> Minus:
    """Return each other setting's metrics minus the baseline's, in pairs of runs with the same seeds.

    A setting that has fewer than two pairs is left out, with a sentence.
    """
    minus: Minus = {}
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

    With t = √df · tan θ the probability is a finite sum of powers of cos θ (Abramowitz and Stegun, 26.7.3 and 26.7.4).
    """
    steps = 10**9  # of a right angle: θ is one of them

    def probability(step: int) -> float:
        angle = math.pi / 2 * step / steps
        total, term = 0.0, 1.0
        for power in range(1 + df % 2, df, 2):
            total += term
            term *= math.cos(angle) ** 2 * power / (power + 1)
        even = math.sin(angle) * total
        return 2 / math.pi * (angle + math.cos(angle) * even) if df % 2 else even

    return math.sqrt(df) * math.tan(math.pi / 2 * bisect(range(steps), CONFIDENCE, key=probability) / steps)
