"""Tell chance from merit: the mean and spread of the metrics over several seeds, from DVC's experiments.

dvc exp run --queue -n relu -S train.activation=sigmoid,relu -S train.seed=0,1,2,3,4
dvc exp run --run-all
python -m tools.compare 'relu-*'
"""

import fnmatch
import json
import math
import re
import subprocess
import sys
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.program.command import command
from pipeline.program.errors import UserError

if TYPE_CHECKING:  # imported where it is needed, so that `--help` is quick
    from rich.table import Table

METRICS = {  # as people read them, and where they stand
    "validation accuracy": ("metrics/validation.json", "accuracy"),
    "validation loss": ("metrics/validation.json", "loss"),
    "test accuracy": ("metrics/test.json", "accuracy"),
    "test loss": ("metrics/test.json", "loss"),
}
CONFIDENCE = 0.95

Params = tuple[str, ...]  # such as ("train.activation=relu", "train.batch_size=100")
Settings = dict[Params, dict[Params, tuple[float, ...]]]  # metrics by setting and seeds


@dataclass(frozen=True)
class Run:
    """An experiment that has ended well: its setting, its seeds and its metrics, in the order of METRICS."""

    name: str
    setting: Params
    seeds: Params
    metrics: tuple[float, ...]


@command
def compare(
    names: Annotated[
        list[str] | None, typer.Argument(help="Experiments by name; * and ? stand for anything.", show_default="all")
    ] = None,
) -> None:
    """Show mean ± standard deviation of the metrics over the seeds, for each setting among HEAD's experiments.

    A setting is everything in params.yaml but the keys called seed. Two settings are also compared seed by seed.
    """
    from rich.console import Console

    runs = finished_runs(_dvc_experiments(), names or ["*"])
    settings = by_setting(runs)
    console = Console(width=None if sys.stdout.isatty() else 120, markup=False, highlight=False)
    console.print(summary(settings))
    if len(settings) == 2:
        first, second = settings
        title = f"{', '.join(second)}  minus  {', '.join(first)}, seed by seed"
        console.print(paired(settings[first], settings[second], title))


def _dvc_experiments() -> list[dict[str, Any]]:
    """Return what DVC knows of HEAD's experiments."""
    command = [sys.executable, "-m", "dvc", "exp", "show", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    if result.returncode:
        reason = (result.stderr.strip() or "it gave no reason").splitlines()[-1].removeprefix("ERROR: ")
        raise UserError(f"`dvc exp show` failed: {reason}")
    baselines = json.loads(result.stdout)
    return [experiment for baseline in baselines for experiment in baseline["experiments"] or []]


def finished_runs(experiments: list[dict[str, Any]], names: list[str]) -> list[Run]:
    """Read those experiments that have one of the names and have ended well, in the order of their names.

    Raises:
        UserError: there are none, or one has no metrics.
    """
    chosen = [one for one in experiments if any(fnmatch.fnmatchcase(one["name"] or "", name) for name in names)]
    # To queued and failed ones, DVC gives the metrics of the commit they began from
    ended = [one for one in chosen if one["revs"] and (one["executor"] or {}).get("state", "success") == "success"]
    left_out = len(chosen) - len(ended)
    if not ended:
        why = f"; {left_out} queued, running or failed: see `dvc queue status`" if left_out else ""
        raise UserError(f"no finished experiment of this commit is called {' or '.join(names)}{why}.")
    if left_out:
        typer.echo(f"Left out: {left_out} queued, running or failed.", err=True)
    return sorted(map(_run, ended), key=lambda run: [int(part) if part.isdigit() else part for part in _parts(run)])


def _parts(run: Run) -> list[str]:
    return re.split(r"([0-9]+)", run.name)  # activation-10 comes after activation-9


def _run(experiment: dict[str, Any]) -> Run:
    name, data = experiment["name"], experiment["revs"][0]["data"] or {}
    try:
        sections = data["params"]["params.yaml"]["data"]
        metrics = tuple(float(data["metrics"][file]["data"][metric]) for file, metric in METRICS.values())
    except (KeyError, TypeError):
        raise UserError(f"the experiment {name} lacks metrics; remove it or run it again.") from None
    params = [(f"{section}.{key}", value) for section, keys in sections.items() for key, value in keys.items()]
    setting = tuple(f"{key}={value}" for key, value in params if not key.endswith(".seed"))
    return Run(name, setting, tuple(f"{key}={value}" for key, value in params if key.endswith(".seed")), metrics)


def by_setting(runs: list[Run]) -> Settings:
    """Return the metrics by setting and seeds; of the settings, only the parameters in which they differ.

    Raises:
        UserError: two runs have the same parameters and different metrics.
    """
    common = set.intersection(*(set(run.setting) for run in runs))
    settings: Settings = {}
    for run in runs:
        differing = tuple(param for param in run.setting if param not in common)
        metrics = settings.setdefault(differing, {})
        if metrics.setdefault(run.seeds, run.metrics) != run.metrics:
            raise UserError(
                f"{run.name} has other metrics than another with its parameters: their code or data differ."
            )
    return settings


def summary(settings: Settings) -> "Table":
    """Return a table with a line for each setting."""
    table = _table("Mean ± standard deviation over the seeds", "setting", "seeds", *METRICS)
    for setting, metrics in settings.items():
        columns = zip(*metrics.values(), strict=True)
        table.add_row("\n".join(setting) or "all", str(len(metrics)), *(_mean_and_spread(column) for column in columns))
    return table


def paired(first: dict[Params, tuple[float, ...]], second: dict[Params, tuple[float, ...]], title: str) -> "Table":
    """Return a table with a line for each metric: how the second setting differs from the first with the same seeds.

    Raises:
        UserError: they did not run with the same seeds, or with one only.
    """
    if first.keys() != second.keys():
        alone = "; ".join(", ".join(seeds) for seeds in sorted(first.keys() ^ second.keys()))
        raise UserError(f"the two settings have not run with the same seeds; only one has run with {alone}.")
    if len(first) < 2:
        raise UserError("with one seed there is no spread to compare with; run several.")
    table = _table(title, "metric", "pairs", "mean ± sd", f"{CONFIDENCE:.0%} confidence interval of the mean")
    for place, name in enumerate(METRICS):
        differences = [second[seeds][place] - first[seeds][place] for seeds in first]
        mean, sd = fmean(differences), stdev(differences)
        margin = t_quantile(len(differences) - 1) * sd / math.sqrt(len(differences))
        interval = f"{_signed(mean - margin)} to {_signed(mean + margin)}"
        table.add_row(name, str(len(differences)), f"{_signed(mean)} ± {sd:.4f}", interval)
    return table


def t_quantile(df: int, confidence: float = CONFIDENCE) -> float:
    """Return the t that Student's distribution with `df` degrees of freedom stays within, ± t, with this probability.

    With t = √df · tan θ the probability is a finite sum of powers of cos θ (Abramowitz and Stegun, 26.7.3 and 26.7.4);
    the angle is found by bisection.
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


def _table(title: str, *columns: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def _mean_and_spread(values: tuple[float, ...]) -> str:
    return f"{fmean(values):.4f} ± {stdev(values):.4f}" if len(values) > 1 else f"{values[0]:.4f}"


def _signed(value: float) -> str:
    return f"{value:+.4f}"


if __name__ == "__main__":
    compare()
