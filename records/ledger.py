"""Write the ledger: each record's published error beside those of its five seeds, as a table and as a figure."""

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from pipeline.program.command import command
from pipeline.program.files import read_json, write_bytes, write_text
from pipeline.settings.params import Published, load_params
from tools.tables import mean_and_deviation

HERE = Path(__file__).parent
COSTS = HERE / "costs.json"  # what `python -m benchmarks.records` measured
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
    """A line of the ledger.

    Attributes:
        name: the record's, or the committee's.
        network: the sizes of its layers, such as 784-800-10.
        published: the published error, its source, and the recipe.
        errors: numbers of wrong test images, by seed; None for a missing seed. A committee has one number.
        cost: the record's entry in costs.json: `seconds` of one training, by arithmetic; `float32_errors`, numbers of
            wrong test images by seed; `machine`.
    """

    name: str
    network: str
    published: Published
    errors: list[int | None]
    cost: dict[str, Any]

    @property
    def percent(self) -> list[float]:
        """The errors that are there, in percent of the test images."""
        return [100 * count / IMAGES for count in self.errors if count is not None]

    @property
    def complete(self) -> bool:
        """Whether all seeds are there."""
        return None not in self.errors

    @property
    def mean(self) -> float:
        """The mean error of a complete row, in percent. It has one rounding, to be compared with what was published."""
        return 100 * sum(count for count in self.errors if count is not None) / (IMAGES * len(self.errors))


def rows() -> list[Row]:
    """Return the lines of the ledger, from the parameter files, the results that are there, and the benchmark."""
    costs = read_json(COSTS)
    found = []
    committees = []
    for name in RECORDS:
        params = load_params(HERE / f"{name}.yaml")
        record = params.record
        assert record is not None
        network = "-".join(map(str, (784, *params.train.hidden_sizes, 10)))
        results = [f"{name}-{seed}" for seed in SEEDS]
        found.append(Row(name, network, record, list(map(_errors, results)), costs.get(name, {})))
        if record.committee:
            line = f"committee-{name}"
            committees.append(Row(line, f"five {network}", record.committee, [_errors(line)], {}))
    # The committee of all is compared with the best published one
    best = min((row.published for row in committees), key=lambda published: published.published)
    both = best.model_copy(update={"recipe": "mean of all ten networks' probabilities"})
    return [*found, *committees, Row("committee-both", "five of each", both, [_errors("committee-both")], {})]


def _errors(name: str) -> int | None:
    """Return the number of errors in a result, if it is there."""
    path = HERE / "results" / f"{name}.json"
    return read_json(path)["errors"] if path.exists() else None


def table(lines: list[Row]) -> str:
    """Return the ledger as a table in Markdown, and a note with the machines that measured the times."""
    text = [
        "| record | network | recipe | published | error | wrong of 10,000, by seed | at or below published | minutes "
        "| float32: error | float32: minutes |",
        "|---|---|---|---:|---:|---|---|---:|---:|---:|",
    ]
    for row in lines:
        error = mean_and_deviation(row.percent, 2) if row.complete else ""
        verdict = ("yes" if row.mean <= row.published.published else "no") if row.complete else "not complete"
        counts = ", ".join("–" if count is None else str(count) for count in row.errors)
        exact, float32 = (f"{row.cost['seconds'][name] / 60:.1f}" if row.cost else "" for name in ("exact", "float32"))
        percent = [100 * count / IMAGES for count in row.cost.get("float32_errors", [])]
        float32_error = mean_and_deviation(percent, 2) if percent else ""
        if 0 < len(percent) < len(row.errors):
            float32_error += f" (of {len(percent)})"
        cells = [row.name, row.network, row.published.recipe, f"{row.published.published:g}", error, counts, verdict]
        text.append(f"| {' | '.join([*cells, exact, float32_error, float32])} |")
    machines = {row.cost["machine"]: None for row in lines if row.cost}
    return "\n".join(text) + (
        f"\n\nMinutes of one training, from the time of its epochs on {'; '.join(machines)},\n"
        "by `python -m benchmarks.records`. (of 2): the float32 error of two seeds, not five.\n"
        "Empty: not measured, or no result.\n"
    )


@command
def main(
    markdown: Annotated[Path, typer.Argument(help="Output: the table.")],
    figure: Annotated[Path, typer.Argument(help="Output: the figure.")],
) -> None:
    """Write the ledger as a table and as a figure."""
    from pipeline.drawing.figures import picture, use_own_settings
    from records.drawing import draw_ledger

    lines = rows()
    write_text(markdown, table(lines))
    use_own_settings()
    write_bytes(figure, picture(draw_ledger(lines), 120))


if __name__ == "__main__":
    main()
