"""Settings compared seed by seed: the mean of the differences, with Student's confidence interval."""

import math
from dataclasses import dataclass
from statistics import fmean, stdev

from pipeline.program.errors import UserError
from tools.experiments import METRICS, Params, Settings

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """A metric of a setting minus the baseline's, seed by seed.

    Attributes:
        pairs: number of seeds.
        mean: mean of the differences.
        sd: standard deviation of the differences.
        low: lower end of the mean's confidence interval.
        high: upper end of the mean's confidence interval.
    """

    pairs: int
    mean: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """All settings compared with one of them.

    Attributes:
        baseline: the setting that the others are compared with.
        differences: for each other setting, the difference of each metric.
    """

    baseline: Params
    differences: dict[Params, dict[str, Difference]]


def compared_with(settings: Settings, baseline: Params) -> Comparison:
    """Compare all other settings with the setting `baseline`.

    Raises:
        UserError: the settings did not run with the same seeds, or ran with only one.
    """
    first, differences = settings[baseline], {}
    for setting, runs in settings.items():
        if setting == baseline:
            continue
        if runs.keys() != first.keys():
            alone = "; ".join(", ".join(seeds) for seeds in sorted(runs.keys() ^ first.keys()))
            both = f"{', '.join(setting)} and {', '.join(baseline)}"
            raise UserError(f"{both} have not run with the same seeds; only one has run with {alone}.")
        if len(runs) < 2:
            raise UserError("with one seed there is no spread to compare with; run several.")
        differences[setting] = {
            metric: difference([runs[seeds].metrics[metric] - first[seeds].metrics[metric] for seeds in first])
            for metric in METRICS
        }
    return Comparison(baseline, differences)


def difference(values: list[float]) -> Difference:
    """Return the mean and spread of the differences, one for each seed, at least two."""
    pairs, mean, sd = len(values), fmean(values), stdev(values)
    margin = t_quantile(pairs - 1) * sd / math.sqrt(pairs)
    return Difference(pairs, mean, sd, mean - margin, mean + margin)


def t_quantile(df: int, confidence: float = CONFIDENCE) -> float:
    """Return t: Student's distribution with `df` degrees of freedom lies within ± t with probability `confidence`.

    With t = √df · tan θ the probability is a finite sum of powers of cos θ (Abramowitz and Stegun, 26.7.3 and 26.7.4).
    Bisection finds the angle θ.
    """

    def within(theta: float) -> float:
        odd = df % 2
        term = 2 / math.pi * math.cos(theta) * math.sin(theta) if odd else math.sin(theta)
        total = 2 / math.pi * theta if odd else 0.0
        for power in range(1 + odd, df, 2):
            total += term
            term *= math.cos(theta) ** 2 * power / (power + 1)
        return total

    low, high = 0.0, math.pi / 2
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if within(middle) < confidence else (low, middle)
    return math.sqrt(df) * math.tan(low)
