"""DVC's finished experiments; the settings among them, whose runs differ in their seeds alone;
pairs with one seed.
"""

import csv
import json
import math
from fnmatch import fnmatchcase
from statistics import fmean, stdev
from typing import Any, NamedTuple

import typer

from pipeline.program.errors import UserError
from tools.lock import git, output

METRICS = {  # a name for people; the file and the key
    "validation accuracy": ("metrics/validation.json", "accuracy"),
    "validation loss": ("metrics/validation.json", "loss"),
    "test accuracy": ("metrics/test.json", "accuracy"),
    "test loss": ("metrics/test.json", "loss"),
    "test macro F1": ("metrics/test.json", "macro_f1"),
}
HISTORY = "metrics/history.csv"
CONFIDENCE = 0.95
METHOD = "Student's t of the paired differences, pairs - 1 degrees of freedom"


class Run(NamedTuple):
    """A finished experiment."""

    experiment: str  # its name in DVC
    commit: str  # its own commit in Git
    parent: str  # the commit it was run from
    parameters: dict[str, Any]  # all of them, seeds included, by "section.key"
    metrics: dict[str, float]  # by the names in METRICS


# By the parameters that tell a setting from the others ("train.momentum=0.9"), then by a run's
# seeds ("train.seed=0")
Settings = dict[str, dict[str, Run]]
Values = dict[str, dict[str, list[float]]]  # by setting and metric, one for each seed


def finished_runs(names: list[str]) -> list[Run]:
    """Read HEAD's finished experiments with one of the names, in which * and ? stand for anything.

    Raises:
        UserError: a name matches no finished experiment, an experiment has no metrics, or DVC
            fails.
    """
    commits = json.loads(output("dvc", "exp", "show", "--json"))
    experiments = [
        (commit["rev"], one) for commit in commits for one in commit["experiments"] or []
    ]
    named = [
        (rev, one)
        for rev, one in experiments
        if any(fnmatchcase(one["name"] or "", name) for name in names)
    ]
    # DVC gives queued and failed experiments the metrics of their commit
    finished = [
        (rev, one)
        for rev, one in named
        if (one["executor"] or {}).get("state", "success") == "success"
    ]
    runs = [_run(rev, one) for rev, one in finished if one["revs"]]
    for name in names:
        if not any(fnmatchcase(run.experiment, name) for run in runs):
            called = "" if name == "*" else f" called {name}"
            raise UserError(f"this commit has no finished experiment{called}; see `dvc exp show`.")
    if left_out := len(named) - len(runs):
        typer.echo(f"Left out: {left_out} queued, running or failed.", err=True)
    return runs


def _run(parent: str, experiment: dict[str, Any]) -> Run:
    name, commit = experiment["name"], experiment["revs"][0]
    try:
        sections = commit["data"]["params"]["params.yaml"]["data"]
        parameters = {
            f"{section}.{key}": value
            for section, keys in sections.items()
            for key, value in keys.items()
        }
        files = commit["data"]["metrics"]
        metrics = {
            metric: float(files[file]["data"][key]) for metric, (file, key) in METRICS.items()
        }
    except (AttributeError, KeyError, TypeError):
        raise UserError(
            f"the experiment {name} lacks metrics or parameters; remove it or run it again."
        ) from None
    return Run(name, commit["rev"], parent, parameters, metrics)


def history_of(run: Run) -> list[dict[str, str]]:
    """Read the rows of the run's history from its commit; none, if the file is missing."""
    return list(csv.DictReader(git("show", f"{run.commit}:./{HISTORY}").splitlines()))


def same_until(one: Run, other: Run) -> str:
    """Return the last epoch after which two trainings were in the same state, in words; "" if that
    is not known.
    """
    states = [
        {row["epoch"]: row["state"] for row in history_of(run) if row.get("state")}
        for run in (one, other)
    ]
    both = [epoch for epoch in states[0] if epoch in states[1]]
    if not both:
        return ""
    same = [epoch for epoch in both if states[0][epoch] == states[1][epoch]]
    until = f"are the same until epoch {same[-1]}" if same else f"differ from epoch {both[0]}"
    return f"{one.experiment} and {other.experiment} {until} of {both[-1]}."


def by_setting(runs: list[Run]) -> Settings:
    """Return the settings, sorted by their parameters in the order of params.yaml, and the runs of
    each by its seeds.

    Raises:
        UserError: two runs have the same parameters and different metrics.
    """
    keys = dict.fromkeys(key for run in runs for key in run.parameters)
    differing = [key for key in keys if len({as_text(run.parameters.get(key)) for run in runs}) > 1]
    seeds = [key for key in differing if key.endswith(".seed")]
    others = [key for key in differing if key not in seeds]
    settings: Settings = {}
    for run in sorted(
        runs, key=lambda run: [_order(run.parameters.get(key)) for key in others + seeds]
    ):
        setting, seed = (
            ", ".join(f"{k}={as_text(run.parameters.get(k))}" for k in part)
            for part in (others, seeds)
        )
        same = settings.setdefault(setting or "all", {}).setdefault(seed, run)
        if same.metrics != run.metrics:
            what = "have the same parameters and different metrics: their code or data differ"
            raise UserError(
                f"{run.experiment} and {same.experiment} {what}. {same_until(run, same)}"
            )
    return settings


def as_text(value: Any) -> str:
    """Return a parameter's value as `-S` takes it."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _order(value: Any) -> tuple[int, Any]:
    """Return a key to sort parameters by: numbers by size, then texts, then lists by their
    items.
    """
    if isinstance(value, list):
        return 2, [_order(item) for item in value]
    return (0, value) if isinstance(value, int | float) else (1, str(value))


def find_setting(settings: Settings, params: list[str]) -> str:
    """Return the only setting that has all these parameters, such as "train.hidden_sizes=[50]".

    Raises:
        UserError: no setting has them, or several have.
    """
    wanted = {param.replace(" ", "") for param in params}
    found = [setting for setting in settings if wanted <= set(setting.split(", "))]
    if len(found) != 1:
        choice = "; ".join(found or settings)
        raise UserError(
            f"{len(found)} settings have {', '.join(params)}, not one; choose from {choice}."
        )
    return found[0]


def minus_baseline(settings: Settings, baseline: str) -> Values:
    """Return each other setting's metrics minus the baseline's, in pairs of runs with the same
    seeds.

    A setting that has fewer than two pairs is left out, with a sentence.
    """
    minus: Values = {}
    base = settings[baseline]
    for setting in (name for name in settings if name != baseline):
        pairs = [
            (run.metrics, base[seeds].metrics)
            for seeds, run in settings[setting].items()
            if seeds in base
        ]
        if len(pairs) > 1:
            minus[setting] = {
                metric: [one[metric] - other[metric] for one, other in pairs] for metric in METRICS
            }
        else:
            typer.echo(
                f"Not compared: {setting} and {baseline} have fewer than two seeds in common.",
                err=True,
            )
    return minus


def interval(values: list[float]) -> tuple[float, float]:
    """Return the ends of the confidence interval of the mean of `values`, at least two."""
    margin = t_quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - margin, fmean(values) + margin


def t_quantile(df: int) -> float:
    """Return t: Student's distribution with `df` degrees of freedom lies within ± t with
    probability CONFIDENCE.

    With t = √df · tan θ, the density of θ is proportional to (cos θ) ** (df - 1). The midpoint rule
    integrates it.
    """
    import numpy as np  # here, so that `--help` is quick

    angles = np.linspace(0, math.pi / 2, 100_001)
    probability = np.cumsum(np.cos((angles[1:] + angles[:-1]) / 2) ** (df - 1))
    return math.sqrt(df) * math.tan(
        np.interp(CONFIDENCE * probability[-1], probability, angles[1:])
    )
