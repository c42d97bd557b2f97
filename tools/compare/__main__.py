"""Compare settings: the mean and spread of the metrics over several seeds, from DVC's experiments.

python -m tools.compare 'act-*' --baseline train.activation=sigmoid --figure act.png
"""

import csv
import io
import json
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any

from rich import box
from rich.table import Table
from typer import Argument, Option

from pipeline.program.command import command
from pipeline.program.errors import UserError
from tools.compare import experiments
from tools.compare.experiments import CONFIDENCE, METHOD, METRICS, Settings, Values
from tools.tables import mean_and_deviation, show


@command
def main(
    names: Annotated[
        list[str] | None, Argument(help="Experiments; * and ? are wildcards.", show_default="all")
    ] = None,
    baseline: Annotated[
        list[str] | None, Option(metavar="KEY=VALUE", help="The setting to compare with.")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON instead of tables.")] = False,
    as_csv: Annotated[bool, Option("--csv", help="Print CSV: one row for each run.")] = False,
    figure: Annotated[
        Path | None, Option(metavar="FILE.png", help="Draw the validation accuracy by epoch.")
    ] = None,
) -> None:
    """Show the metrics' mean ± standard deviation over the seeds, for HEAD's experiments.

    A setting is every parameter in params.yaml except those called seed. With --baseline
    train.momentum=0, every other setting is compared with the one that has this value, seed by
    seed; the option may be repeated. Of two settings, the first is the baseline. For two
    experiments it says in which epoch they part. JSON and CSV have each run's commit, the
    commit it was run from (parent), and all parameters.
    """
    if as_csv and (as_json or baseline):
        raise UserError("--csv prints the runs alone; leave out --json and --baseline.")
    if figure and figure.suffix.lower() != ".png":
        raise UserError(f"{figure}: the figure is a PNG file; its name must end in .png.")
    runs = experiments.finished_runs(names or ["*"])
    settings = experiments.by_setting(runs)
    parted = experiments.same_until(*runs) if len(runs) == 2 else ""
    first = experiments.find_setting(settings, baseline) if baseline else next(iter(settings))
    are_compared = baseline or (len(settings) == 2 and not as_csv)
    minus = experiments.minus_baseline(settings, first) if are_compared else {}
    if figure:  # imports here, so that `--help` is quick
        from pipeline.drawing.figures import picture
        from pipeline.program.files import write_bytes
        from tools.compare.curves import draw_curves

        write_bytes(figure, picture(draw_curves(settings), 120))
    if as_csv:
        print_csv(settings)
    elif as_json:
        print(json.dumps(document(settings, minus, first) | {"same": parted or None}, indent=2))
    else:
        print_table("Mean ± standard deviation over the seeds", values_of(settings))
        if minus:
            print_table(f"Difference from {first}, seed by seed", minus, paired=True)
        if parted:
            show(parted)


def values_of(settings: Settings) -> Values:
    """Return the values of each metric in each setting."""
    return {
        setting: {metric: [run.metrics[metric] for run in runs.values()] for metric in METRICS}
        for setting, runs in settings.items()
    }


def print_table(title: str, values: Values, paired: bool = False) -> None:
    """Print a table of means, or of paired differences. A narrow terminal folds the text."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title)
    table.title_justify = table.caption_justify = "left"
    for name in ("metric", "setting"):
        table.add_column(name, overflow="fold")
    of_pairs = ["pairs", "mean ± sd", f"{CONFIDENCE:.0%} interval"]
    for name in of_pairs if paired else ["seeds", "mean ± sd"]:
        table.add_column(name, justify="right", overflow="fold")
    for metric in METRICS:
        for place, (setting, metrics) in enumerate(values.items()):
            numbers = metrics[metric]
            mean = mean_and_deviation(numbers, sign="+" if paired else "")
            ends = ["{:+.4f} to {:+.4f}".format(*experiments.interval(numbers))] if paired else []
            table.add_row("" if place else metric, setting, str(len(numbers)), mean, *ends)
        if len(values) > 1:
            table.add_section()
    if paired:
        table.caption = f"Interval of the mean: {METHOD}."
    show(table)


def document(settings: Settings, minus: Values, baseline: str) -> dict[str, Any]:
    """Return each run and all numbers of the tables, for JSON."""

    def numbers(values: list[float]) -> dict[str, Any]:
        return {"mean": fmean(values), "sd": stdev(values) if len(values) > 1 else None}

    def differences(values: list[float]) -> dict[str, Any]:
        interval = {"interval": experiments.interval(values)}
        return numbers(values) | {"degrees_of_freedom": len(values) - 1} | interval

    return {
        "baseline": baseline if minus else None,
        "interval": {"method": METHOD, "confidence": CONFIDENCE},
        "settings": [
            {
                "setting": setting,
                "runs": [run._asdict() for run in settings[setting].values()],
                "metrics": {metric: numbers(values) for metric, values in metrics.items()},
                "minus_baseline": {
                    metric: differences(values) for metric, values in minus.get(setting, {}).items()
                },
            }
            for setting, metrics in values_of(settings).items()
        ],
    }


def print_csv(settings: Settings) -> None:
    """Print CSV, one row for each run: name, commit, parent, all parameters, and the metrics."""
    rows = []
    for run in (run for runs in settings.values() for run in runs.values()):
        names = {"experiment": run.experiment, "commit": run.commit, "parent": run.parent}
        parameters = {key: experiments.as_text(value) for key, value in run.parameters.items()}
        rows.append(names | parameters | run.metrics)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    show(text.getvalue().removesuffix("\n"))


if __name__ == "__main__":
    main()
