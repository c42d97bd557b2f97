"""Write the ledger: each record's published error beside those of its five seeds, as a table and as a figure."""

import json
from pathlib import Path
from statistics import stdev
from typing import Annotated, NamedTuple

import typer

from pipeline.program.command import command
from pipeline.settings.params import Published, load_params

HERE = Path(__file__).parent
IMAGES = 10_000  # test images of MNIST and of Fashion-MNIST
SEEDS = range(5)
RECORDS = (
    "simard-none",
    "simard-affine",
    "simard-elastic",
    "ciresan-small",
    "dropout",
    "keras-mnist-mlp",
    "nielsen",
    "fashion",
)


class Row(NamedTuple):
    """A line of the ledger."""

    name: str
    published: Published  # what was published, and what the project wants
    errors: list[int]  # wrong test images, by seed; of a committee one number
    seeds: int  # how many there shall be

    @property
    def percent(self) -> list[float]:
        """The errors in percent of the test images."""
        return [100 * count / IMAGES for count in self.errors]

    @property
    def mean(self) -> float:
        """The mean error, in percent. It has one rounding, so that it can be compared with what was published."""
        return 100 * sum(self.errors) / (IMAGES * len(self.errors))

    @property
    def complete(self) -> bool:
        """Whether all seeds are there."""
        return len(self.errors) == self.seeds


def rows() -> list[Row]:
    """Return the lines of the ledger, from the parameter files and the results that are there."""
    found = []
    committees = []
    for name in RECORDS:
        record = load_params(HERE / f"{name}.yaml").record
        assert record is not None
        found.append(Row(name, record, _errors(*(f"{name}-{seed}" for seed in SEEDS)), len(SEEDS)))
        if record.committee:
            committees.append(Row(f"committee-{name}", record.committee, _errors(f"committee-{name}"), 1))
    return found + committees


def _errors(*names: str) -> list[int]:
    """Return the number of errors in each result that is there."""
    paths = [HERE / "results" / f"{name}.json" for name in names]
    return [json.loads(path.read_text())["errors"] for path in paths if path.exists()]


def table(lines: list[Row]) -> str:
    """Return the ledger as a table in Markdown."""
    text = [
        "| record | recipe | published | error | wrong of 10,000, by seed | at or below |",
        "|---|---|---:|---:|---|---|",
    ]
    for row in lines:
        error, verdict = "", "not complete"
        if row.complete:
            error = f"{row.mean:.2f}" if row.seeds == 1 else f"{row.mean:.2f} ± {stdev(row.percent):.2f}"
            verdict = "yes" if row.mean <= row.published.published else "no"
        counts = ", ".join(map(str, row.errors))
        text.append(
            f"| {row.name} | {row.published.title} | {row.published.published:g} | {error} | {counts} | {verdict} |"
        )
    return "\n".join(text) + "\n"


@command
def main(
    markdown: Annotated[Path, typer.Argument(help="Output: the table.")],
    figure: Annotated[Path, typer.Argument(help="Output: the figure.")],
) -> None:
    """Write the ledger as a table and as a figure."""
    from pipeline.drawing.figures import picture, use_own_settings
    from pipeline.program.files import write_text, written_whole
    from records.drawing import draw_ledger

    lines = rows()
    write_text(markdown, table(lines))
    use_own_settings()
    with written_whole(figure) as file:
        file.write(picture(draw_ledger(lines), 120))


if __name__ == "__main__":
    main()
