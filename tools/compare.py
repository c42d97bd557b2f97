"""Compare settings: the mean and spread of the metrics over several seeds, from DVC's experiments.

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

if TYPE_CHECKING:  # imported inside functions, so that `--help` is quick
    from rich.table import Table

METRICS = {  # a name for people; the file and the key
    "validation accuracy": ("metrics/validation.json", "accuracy"),
    "validation loss": ("metrics/validation.json", "loss"),
    "test accuracy": ("metrics/test.json", "accuracy"),
    "test loss": ("metrics/test.json", "loss"),
    "test macro F1": ("metrics/test.json", "macro_f1"),
}
CONFIDENCE = 0.95
SUMMARY = "Mean ± standard deviation over the seeds"

Params = tuple[str, ...]  # such as ("train.activation=relu", "train.batch_size=100")
BySeeds = dict[Params, tuple[float, ...]]  # the metrics of each run of one setting
Settings = dict[Params, BySeeds]


@dataclass(frozen=True)
class Run:
    """A finished experiment.

    Attributes:
        name: its name in DVC.
        setting: its parameters without the seeds.
        seeds: its seeds.
        metrics: its metrics, in the order of METRICS.
    """

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

    A setting is every parameter in params.yaml except those called seed. Two settings are also compared seed by seed.
    """
    from tools.terminal import fits, plain_console

    settings = by_setting(finished_runs(_dvc_experiments(), names or ["*"]))
    console = plain_console()
    table = summary(settings)
    console.print(table if fits(console, table) else tall_summary(settings))
    if len(settings) == 2:
        first, second = settings
        title = f"{', '.join(second)}  minus  {', '.join(first)}, seed by seed"
        console.print(paired(settings[first], settings[second], title))


def _dvc_experiments() -> list[dict[str, Any]]:
    """Return HEAD's experiments as DVC describes them."""
    show = [sys.executable, "-m", "dvc", "exp", "show", "--json"]
    result = subprocess.run(show, capture_output=True, text=True, encoding="utf-8")
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["it gave no reason"]
        reason = next((line for line in lines if line.startswith("ERROR: ")), lines[-1]).removeprefix("ERROR: ")
        raise UserError(f"`dvc exp show` failed: {reason.rstrip('.')}.")
    baselines = json.loads(result.stdout)
    return [experiment for baseline in baselines for experiment in baseline["experiments"] or []]


def finished_runs(experiments: list[dict[str, Any]], names: list[str]) -> list[Run]:
    """Read the finished experiments with one of the names, sorted by name.

    Raises:
        UserError: a name matches no finished experiment, or an experiment has no metrics.
    """
    # DVC gives queued and failed experiments the metrics of their commit
    finished = [
        one for one in experiments if one["revs"] and (one["executor"] or {}).get("state", "success") == "success"
    ]
    for name in names:
        if not _called([name], finished):
            unfinished = len(_called([name], experiments))
            why = f"; {unfinished} queued, running or failed: see `dvc queue status`" if unfinished else ""
            called = "" if name == "*" else f" called {name}"
            raise UserError(f"this commit has no finished experiment{called}{why}.")
    chosen = _called(names, finished)
    if left_out := len(_called(names, experiments)) - len(chosen):
        typer.echo(f"Left out: {left_out} queued, running or failed.", err=True)
    return sorted(map(_run, chosen), key=lambda run: _with_numbers(run.name))


def _called(names: list[str], experiments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in experiments if any(fnmatch.fnmatchcase(one["name"] or "", name) for name in names)]


def _with_numbers(name: str) -> list[str | int]:
    """Split a name into text and numbers, to sort activation-10 after activation-9."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"([0-9]+)", name))]


def _run(experiment: dict[str, Any]) -> Run:
    name, data = experiment["name"], experiment["revs"][0]["data"] or {}
    try:
        sections = data["params"]["params.yaml"]["data"]
        params = [(f"{section}.{key}", value) for section, keys in sections.items() for key, value in keys.items()]
        metrics = tuple(float(data["metrics"][file]["data"][metric]) for file, metric in METRICS.values())
    except (AttributeError, KeyError, TypeError):
        raise UserError(f"the experiment {name} lacks metrics or parameters; remove it or run it again.") from None
    setting = tuple(f"{key}={value}" for key, value in params if not key.endswith(".seed"))
    return Run(name, setting, tuple(f"{key}={value}" for key, value in params if key.endswith(".seed")), metrics)


def by_setting(runs: list[Run]) -> Settings:
    """Return the metrics by setting and seeds. A setting keeps only the parameters that differ between the runs.

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
                f"{run.name} has other metrics than an experiment with the same parameters: their code or data differ."
            )
    return settings


def summary(settings: Settings) -> "Table":
    """Return a table with a row for each setting and a column for each metric."""
    table = _table(SUMMARY, "setting", "seeds", *METRICS)
    for setting, runs in settings.items():
        columns = zip(*runs.values(), strict=True)
        table.add_row(_name(setting), str(len(runs)), *map(_mean_and_spread, columns))
    return table


def tall_summary(settings: Settings) -> "Table":
    """Return the same table for narrow terminals, with a line for each metric instead of a column."""
    table = _table(SUMMARY, "setting", "seeds", "metric", "mean ± sd")
    for setting, runs in settings.items():
        values = "\n".join(map(_mean_and_spread, zip(*runs.values(), strict=True)))
        table.add_row(_name(setting), str(len(runs)), "\n".join(METRICS), values, end_section=True)
    return table


def paired(first: BySeeds, second: BySeeds, title: str) -> "Table":
    """Return a table with a row for each metric: the second setting minus the first, with the same seeds.

    Raises:
        UserError: the settings did not run with the same seeds, or ran with only one.
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
        bounds = f"{mean - margin:+.4f} to {mean + margin:+.4f}"
        table.add_row(name, str(len(differences)), f"{mean:+.4f} ± {sd:.4f}", bounds)
    return table


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


def _table(title: str, *columns: str) -> "Table":
    """Return an empty table with these columns; a narrow terminal folds their text and never cuts it."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, justify="left" if column in ("setting", "metric") else "right", overflow="fold")
    return table


def _name(setting: Params) -> str:
    return "\n".join(setting) or "all"


def _mean_and_spread(values: tuple[float, ...]) -> str:
    return f"{fmean(values):.4f} ± {stdev(values):.4f}" if len(values) > 1 else f"{values[0]:.4f}"


if __name__ == "__main__":
    compare()
