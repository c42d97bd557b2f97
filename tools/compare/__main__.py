"""Compare settings: the mean and spread of the metrics over several seeds, from DVC's experiments.

dvc exp run --queue -n act -S train.activation=sigmoid,tanh,relu -S train.seed=0,1,2,3,4
dvc exp run --run-all
python -m tools.compare 'act-*' --baseline train.activation=sigmoid --figure act.png
"""

import csv
import json
import sys
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from pipeline.program.command import command
from pipeline.program.errors import UserError
from tools.compare.experiments import METRICS, Settings, as_text, by_setting, find_setting, finished_runs
from tools.compare.paired import CONFIDENCE, METHOD, Minus, interval, minus_baseline
from tools.tables import mean_and_deviation, plain_console


@command
def main(
    names: Annotated[
        list[str] | None, typer.Argument(help="Experiments by name; * and ? stand for anything.", show_default="all")
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SECTION.KEY=VALUE",
            help="Compare each setting with the one that has this parameter. If several have it, repeat the option.",
            show_default="with two settings, the first",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON document instead of tables.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of tables, one row for each run.")] = False,
    figure: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Also draw the validation accuracy over the epochs, with its spread."),
    ] = None,
) -> None:
    """Show mean ± standard deviation of the metrics over the seeds, for each setting among HEAD's experiments.

    A setting is every parameter in params.yaml except those called seed. Two settings are also compared seed by seed.
    JSON and CSV have each run's commit, the commit it was run from (parent), and all parameters.
    """
    if as_csv and (as_json or baseline):
        raise UserError("--csv prints the runs alone; leave out --json and --baseline.")
    if figure and figure.suffix.lower() != ".png":
        raise UserError(f"{figure}: the figure is a PNG file; give a name that ends in .png.", path=figure)
    settings = by_setting(finished_runs(names or ["*"]))
    first = find_setting(settings, baseline) if baseline else next(iter(settings))
    minus = minus_baseline(settings, first) if baseline or (len(settings) == 2 and not as_csv) else {}
    if figure:
        from tools.compare.curves import write_figure  # here, so that `--help` is quick

        write_figure(figure, settings)
    if as_csv:
        print_csv(settings)
    elif as_json:
        print(json.dumps(document(settings, minus, first), indent=2))
    else:
        print_tables(settings, minus, first)


def print_tables(settings: Settings, minus: Minus, baseline: str) -> None:
    """Print the summary, and a table for each setting that was compared with the baseline."""
    console = plain_console()
    table = _table("Mean ± standard deviation over the seeds", "metric", "setting", "seeds", "mean ± sd")
    for metric in METRICS:
        for place, (setting, runs) in enumerate(settings.items()):
            mean = mean_and_deviation([run.metrics[metric] for run in runs.values()])
            table.add_row("" if place else metric, setting, str(len(runs)), mean)
        table.add_section()
    console.print(table)
    for setting, metrics in minus.items():
        title = f"{setting}  minus  {baseline}, seed by seed"
        table = _table(title, "metric", "pairs", "mean ± sd", f"{CONFIDENCE:.0%} confidence interval of the mean")
        table.caption = f"Interval: {METHOD}."
        for metric, values in metrics.items():
            low, high = interval(values)
            mean = mean_and_deviation(values, sign="+")
            table.add_row(metric, str(len(values)), mean, f"{low:+.4f} to {high:+.4f}")
        console.print(table)


def _table(title: str, *columns: str) -> Table:
    """Return an empty table with these columns; a narrow terminal folds their text and never cuts it."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", caption_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column in ("metric", "setting") else "right", overflow="fold")
    return table


def document(settings: Settings, minus: Minus, baseline: str) -> dict[str, Any]:
    """Return each run and all numbers of the tables, for JSON. One run has no standard deviation: null."""

    def numbers(values: list[float]) -> dict[str, Any]:
        return {"mean": fmean(values), "sd": stdev(values) if len(values) > 1 else None}

    return {
        "baseline": baseline if minus else None,
        "interval": {"method": METHOD, "confidence": CONFIDENCE},
        "settings": [
            {
                "setting": setting,
                "runs": [run._asdict() for run in runs.values()],
                "metrics": {metric: numbers([run.metrics[metric] for run in runs.values()]) for metric in METRICS},
                "minus_baseline": {
                    metric: numbers(values) | {"degrees_of_freedom": len(values) - 1, "interval": interval(values)}
                    for metric, values in minus.get(setting, {}).items()
                },
            }
            for setting, runs in settings.items()
        ],
    }


def print_csv(settings: Settings) -> None:
    """Print CSV with a row for each run: its name, commit and parent, all parameters, the metrics."""
    rows = []
    for run in (run for runs in settings.values() for run in runs.values()):
        names = {"experiment": run.experiment, "commit": run.commit, "parent": run.parent}
        rows.append(names | {key: as_text(value) for key, value in run.parameters.items()} | run.metrics)
    writer = csv.DictWriter(sys.stdout, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


if __name__ == "__main__":
    main()
