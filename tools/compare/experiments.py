"""DVC's finished experiments, and their settings: a setting's runs differ only in their seeds."""

import csv
import json
import math
from fnmatch import fnmatchcase
from statistics import fmean, stdev
from typing import Any, NamedTuple

from pipeline.program.errors import UserError
from tools.lock import git, output
from tools.tables import show

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


# By a setting's own parameters ("train.momentum=0.9"), then by a run's seeds ("train.seed=0")
Settings = dict[str, dict[str, Run]]
Values = dict[str, dict[str, list[float]]]  # by setting and metric, one for each seed


def finished_runs(names: list[str]) -> list[Run]:
    """Read HEAD's finished experiments with one of the names, in which * and ? stand for anything.

    Raises:
        UserError: a name has no finished experiment, metrics are missing, or DVC fails.
    """

    def is_named(one: dict[str, Any]) -> bool:
        return any(fnmatchcase(one["name"] or "", name) for name in names)

    def is_finished(one: dict[str, Any]) -> bool:
        # DVC gives queued and failed experiments the metrics of their commit
        state = (one["executor"] or {}).get("state", "success")
        return state == "success" and bool(one["revs"])

    commits = json.loads(output("dvc", "exp", "show", "--json"))
    all_of = [(commit["rev"], one) for commit in commits for one in commit["experiments"] or []]
    named = [(rev, one) for rev, one in all_of if is_named(one)]
    runs = [_run(rev, one) for rev, one in named if is_finished(one)]
    for name in names:
        if not any(fnmatchcase(run.experiment, name) for run in runs):
            called = "" if name == "*" else f" called {name}"
            raise UserError(f"this commit has no finished experiment{called}; see `dvc exp show`.")
    if left_out := len(named) - len(runs):
        show(f"Left out: {left_out} queued, running or failed.", err=True)
    return runs


def _run(parent: str, experiment: dict[str, Any]) -> Run:
    commit = experiment["revs"][0]
    try:
        sections = commit["data"]["params"]["params.yaml"]["data"]
        parameters = {
            f"{section}.{key}": value
            for section, keys in sections.items()
            for key, value in keys.items()
        }
        files = commit["data"]["metrics"]
        metrics = {name: float(files[file]["data"][key]) for name, (file, key) in METRICS.items()}
        if not all(map(math.isfinite, metrics.values())):
            raise ValueError
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        what = "lacks parameters, or finite metrics; remove it or run it again"
        raise UserError(f"the experiment {experiment['name']} {what}.") from None
    return Run(experiment["name"], commit["rev"], parent, parameters, metrics)


def history_of(run: Run) -> list[dict[str, str]]:
    """Read the rows of the run's history from its commit; none, if it is missing or no table."""
    try:
        return list(csv.DictReader(git("show", f"{run.commit}:./{HISTORY}").splitlines()))
    except csv.Error:
        return []


def same_until(one: Run, other: Run) -> str:
    """Return until which epoch two trainings are the same, in a sentence; "" if not known."""
    states = [
        {row.get("epoch"): row["state"] for row in history_of(run) if row.get("state")}
        for run in (one, other)
    ]
    both = [epoch for epoch in states[0] if epoch in states[1]]
    if not both:
        return ""
    same = [epoch for epoch in both if states[0][epoch] == states[1][epoch]]
    until = f"are the same until epoch {same[-1]}" if same else f"differ from epoch {both[0]}"
    return f"{one.experiment} and {other.experiment} {until} of {both[-1]}."


def by_setting(runs: list[Run]) -> Settings:
    """Return the settings, sorted by their parameters in the order of params.yaml.

    Raises:
        UserError: two runs have the same parameters and different metrics.
    """
    keys = dict.fromkeys(key for run in runs for key in run.parameters)
    differing = [key for key in keys if len({as_text(run.parameters.get(key)) for run in runs}) > 1]
    seeds = [key for key in differing if key.endswith(".seed")]
    others = [key for key in differing if key not in seeds]

    def order(run: Run) -> list[Any]:
        return [_order(run.parameters.get(key)) for key in others + seeds]

    def named(run: Run, keys: list[str]) -> str:
        return ", ".join(f"{key}={as_text(run.parameters.get(key))}" for key in keys)

    settings: Settings = {}
    for run in sorted(runs, key=order):
        setting, seed = named(run, others), named(run, seeds)
        same = settings.setdefault(setting or "all", {}).setdefault(seed, run)
        if same.metrics != run.metrics:
            what = "have the same parameters and different metrics: their code or data differ"
            both = f"{run.experiment} and {same.experiment}"
            raise UserError(f"{both} {what}. {same_until(run, same)}")
    return settings


def as_text(value: Any) -> str:
    """Return a parameter's value as `-S` takes it."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _order(value: Any) -> tuple[int, Any]:
    """Return a key to sort parameters by: numbers, then texts, then lists by their items."""
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
        what = f"{len(found)} settings have {', '.join(params)}, not one"
        raise UserError(f"{what}; choose from {'; '.join(found or settings)}.")
    return found[0]


def minus_baseline(settings: Settings, baseline: str) -> Values:
    """Return each other setting's metrics minus the baseline's, seed by seed.

    A setting that shares fewer than two seeds is left out, with a sentence.
    """
    minus: Values = {}
    base = settings[baseline]
    for setting, runs in settings.items():
        both = [seeds for seeds in runs if seeds in base]
        if setting == baseline:
            continue
        if len(both) < 2:
            what = f"{setting} and {baseline} have fewer than two seeds in common"
            show(f"Not compared: {what}.", err=True)
            continue
        minus[setting] = {
            metric: [runs[seeds].metrics[metric] - base[seeds].metrics[metric] for seeds in both]
            for metric in METRICS
        }
    return minus


def interval(values: list[float]) -> tuple[float, float]:
    """Return the ends of the confidence interval of the mean of `values`, at least two."""
    margin = t_quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - margin, fmean(values) + margin


def t_quantile(df: int) -> float:
    """Return t: Student's t with `df` degrees of freedom lies within ± t with CONFIDENCE.

    With t = √df · tan θ, θ's density is proportional to (cos θ) ** (df - 1); the midpoint rule
    integrates it.
    """
    import numpy as np  # here, so that `--help` is quick

    angles = np.linspace(0, math.pi / 2, 100_001)
    probability = np.cumsum(np.cos((angles[1:] + angles[:-1]) / 2) ** (df - 1))
    angle = np.interp(CONFIDENCE * probability[-1], probability, angles[1:])
    return math.sqrt(df) * math.tan(angle)
