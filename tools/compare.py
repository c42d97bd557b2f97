"""Compare settings: the mean and spread of the metrics over several seeds, from DVC's experiments.

dvc exp run --queue -n act -S train.activation=sigmoid,tanh,relu -S train.seed=0,1,2,3,4
dvc exp run --run-all
python -m tools.compare 'act-*'
python -m tools.compare 'act-*' --baseline train.activation=sigmoid --figure act.png
python -m tools.compare 'act-*' --json > act.json
"""

import csv
import io
import json
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.program.command import command
from pipeline.program.errors import UserError
from tools.experiments import (
    METRICS,
    BySeeds,
    Params,
    Settings,
    by_setting,
    dvc_experiments,
    find_setting,
    finished_runs,
)
from tools.paired import CONFIDENCE, Comparison, Difference, compared_with
from tools.tables import mean_and_deviation

if TYPE_CHECKING:  # imported inside functions, so that `--help` is quick
    from rich.table import Table

SUMMARY = "Mean ± standard deviation over the seeds"
DPI = 120  # of the figure


@command
def compare(
    names: Annotated[
        list[str] | None, typer.Argument(help="Experiments by name; * and ? stand for anything.", show_default="all")
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SECTION.KEY=VALUE",
            help="Compare every other setting, seed by seed, with the one that has this parameter. If several have "
            "it, add another --baseline.",
            show_default="with two settings, the first",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON document instead of tables.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of tables, one row for each run.")] = False,
    figure: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png",
            help="Also draw each setting's validation accuracy over the epochs, mean ± standard deviation.",
        ),
    ] = None,
) -> None:
    """Show mean ± standard deviation of the metrics over the seeds, for each setting among HEAD's experiments.

    A setting is every parameter in params.yaml except those called seed. Two settings are also compared seed by seed.
    """
    if as_json and as_csv:
        raise UserError("--json and --csv exclude each other; give one of them.")
    if as_csv and baseline:
        raise UserError("--csv prints the runs and no differences; leave out --baseline, or use --json.")
    if figure and figure.suffix.lower() != ".png":
        raise UserError(f"{figure}: the figure is a PNG file; give a name that ends in .png.", path=figure)
    settings = by_setting(finished_runs(dvc_experiments(), names or ["*"]))
    comparison = None if as_csv else compared(settings, baseline)
    if figure:
        write_figure(figure, settings)
    if as_csv:
        typer.echo(csv_text(settings), nl=False)
    elif as_json:
        typer.echo(json.dumps(document(settings, comparison), indent=2))
    else:
        print_tables(settings, comparison)


def compared(settings: Settings, baseline: list[str] | None) -> Comparison | None:
    """Compare all settings with the one that has the parameters `baseline`; without it, two settings if possible.

    Raises:
        UserError: not one setting has these parameters; or the settings did not run with the same seeds, or with one.
    """
    if baseline:
        return compared_with(settings, find_setting(settings, baseline))
    if len(settings) == 2:
        try:
            return compared_with(settings, next(iter(settings)))
        except UserError as error:
            typer.echo(f"Not compared seed by seed: {error}", err=True)
    return None


def print_tables(settings: Settings, comparison: Comparison | None) -> None:
    """Print the summary, and a table for each setting that was compared with the baseline."""
    from tools.tables import fits, plain_console

    console = plain_console()
    table = summary(settings)
    console.print(table if fits(console, table) else tall_summary(settings))
    if comparison:
        for setting, differences in comparison.differences.items():
            title = f"{', '.join(setting)}  minus  {', '.join(comparison.baseline)}, seed by seed"
            console.print(paired(differences, title))


def summary(settings: Settings) -> "Table":
    """Return a table with a row for each setting and a column for each metric."""
    table = _table(SUMMARY, "setting", "seeds", *METRICS)
    for setting, runs in settings.items():
        table.add_row(_name(setting), str(len(runs)), *map(mean_and_deviation, _values(runs).values()))
    return table


def tall_summary(settings: Settings) -> "Table":
    """Return the same table for narrow terminals, with a line for each metric instead of a column."""
    table = _table(SUMMARY, "setting", "seeds", "metric", "mean ± sd")
    for setting, runs in settings.items():
        values = map(mean_and_deviation, _values(runs).values())
        for row in zip_longest(_name(setting).split("\n"), [str(len(runs))], METRICS, values, fillvalue=""):
            table.add_row(*row)  # each metric beside its value, also where they are folded
        table.add_section()
    return table


def paired(differences: dict[str, Difference], title: str) -> "Table":
    """Return a table with a row for each metric: a setting minus the baseline, with the same seeds."""
    table = _table(title, "metric", "pairs", "mean ± sd", f"{CONFIDENCE:.0%} confidence interval of the mean")
    for metric, one in differences.items():
        bounds = f"{one.low:+.4f} to {one.high:+.4f}"
        table.add_row(metric, str(one.pairs), f"{one.mean:+.4f} ± {one.sd:.4f}", bounds)
    return table


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


def _values(runs: BySeeds) -> dict[str, list[float]]:
    """Return the values of each metric, one for each run."""
    return {metric: [run.metrics[metric] for run in runs.values()] for metric in METRICS}


def document(settings: Settings, comparison: Comparison | None) -> dict[str, Any]:
    """Return each run and all numbers of the tables, for JSON. One run has no standard deviation: null."""
    parameters = {setting: _parameters(setting, runs) for setting, runs in settings.items()}
    differences = comparison.differences if comparison else {}
    return {
        "baseline": parameters[comparison.baseline] if comparison else None,
        "confidence": CONFIDENCE,
        "settings": [
            {
                "parameters": parameters[setting],
                "runs": [{"experiment": run.name, "seeds": run.seeds, "metrics": run.metrics} for run in runs.values()],
                "mean": {metric: fmean(values) for metric, values in _values(runs).items()},
                "sd": {metric: stdev(v) if len(v) > 1 else None for metric, v in _values(runs).items()},
                "minus_baseline": {metric: asdict(one) for metric, one in differences.get(setting, {}).items()} or None,
            }
            for setting, runs in settings.items()
        ],
    }


def csv_text(settings: Settings) -> str:
    """Return a CSV table with a row for each run: its name, the parameters that differ, the seeds, the metrics."""
    rows: list[dict[str, Any]] = [
        {"experiment": run.name} | _parameters(setting, runs) | run.seeds | run.metrics
        for setting, runs in settings.items()
        for run in runs.values()
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _parameters(setting: Params, runs: BySeeds) -> dict[str, Any]:
    """Return the parameters of a setting, as params.yaml has them."""
    run = next(iter(runs.values()))
    return {key: run.parameters[key] for key in (param.partition("=")[0] for param in setting)}


def write_figure(path: Path, settings: Settings) -> None:
    """Draw the validation accuracy over the epochs into a PNG file."""
    from pipeline.drawing.figures import picture, use_own_settings
    from pipeline.program.files import write_bytes
    from tools.curves import draw_curves, read_curve

    use_own_settings()
    curves = {setting: read_curve(list(runs.values())) for setting, runs in settings.items()}
    write_bytes(path, picture(draw_curves(curves), DPI))


if __name__ == "__main__":
    compare()
