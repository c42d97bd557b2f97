"""Write the ledger: each record's published error beside those of its seeds, as two tables and a figure."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import Field
from typer import Argument

from pipeline.program.command import command
from pipeline.program.files import read_json, write_bytes, write_text
from pipeline.settings.checked import Section, check, load_plain_yaml
from pipeline.settings.params import load_params
from tools.tables import mean_and_deviation

if TYPE_CHECKING:  # imported inside functions, so that `--help` is quick
    from matplotlib.figure import Figure

HERE = Path(__file__).parent
COSTS = HERE / "costs.json"  # what `python -m benchmarks.records` measured
IMAGES = 10_000  # test images of MNIST and of Fashion-MNIST
SEEDS = range(5)
UNSEEN = range(5, 10)  # seeds that no choice of parameters has looked at
SIMARD = ["simard-none", "simard-affine", "simard-elastic"]
RECORDS = [*SIMARD, "ciresan-small", "dropout", "keras-mnist-mlp", "nielsen", "fashion"]
# A committee has the networks of the seeds 0 to 4 of these records. The last one's file says what was published.
COMMITTEES = {"committee-simard-elastic": ["simard-elastic"], "committee-both": ["simard-elastic", "ciresan-small"]}
TICKS = [0.3, 0.4, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20]  # of the figure, in percent


class Published(Section):
    """A published result, and how the one here is unlike it."""

    paper: str = Field(min_length=1, max_length=200, description="where it was published, as text")
    published: float = Field(ge=0, le=100, description="the error in percent, from 0 to 100")
    kind: str = Field(min_length=1, max_length=200, description="what kind of figure that is, as text")
    differs: str = Field(min_length=1, max_length=200, description="what differs here, as text")
    why: str = Field(min_length=1, max_length=300, description="why it differs, as text")
    like_for_like: bool = Field(description="true or false")


class Record(Published):
    """What a record's file says about its result, and about the committee of its networks."""

    committee: Published | None = None


class Row(NamedTuple):
    """A line of the ledger."""

    name: str  # the record's, or the committee's
    network: str  # the sizes of its layers, such as 784-800-10
    published: Published  # the published error, and what differs here
    errors: list[float]  # percent of wrong test images, for each of the seeds 0 to 4; a committee has one number
    unseen: list[float]  # the same for the seeds 5 to 9
    cost: dict[str, Any]  # the record's entry in costs.json


def rows() -> list[Row]:
    """Return the lines of the ledger, from the parameter files, the results that are there, and the benchmark."""
    costs = read_json(COSTS)
    records: dict[str, Row] = {}
    committees: list[Row] = []
    for name in RECORDS:
        path = HERE / f"{name}.yaml"
        record = check(path, Record, load_plain_yaml(path).get("record"), ("record",))
        params = load_params(path)
        network = "-".join(map(str, (784, *params.train.hidden_sizes, 10)))
        errors, unseen = (_errors(f"{name}-{seed}" for seed in seeds) for seeds in (SEEDS, UNSEEN))
        records[name] = Row(name, network, record, errors, unseen, costs.get(name, {}))
        for committee, members in COMMITTEES.items():
            if members[-1] == name and record.committee:
                network = " and ".join(f"five {records[member].network}" for member in members)
                committees.append(Row(committee, network, record.committee, _errors([committee]), [], {}))
    return [*records.values(), *committees]


def _errors(names: Iterable[str]) -> list[float]:
    """Return the error of each result that is there, in percent."""
    paths = (HERE / "results" / f"{name}.json" for name in names)
    return [read_json(path)["errors"] * 100 / IMAGES for path in paths if path.exists()]


def text(lines: Sequence[Row]) -> str:
    """Return the ledger in Markdown: a table of the records, and one of their seeds and of what exactness costs."""
    records = [
        "| record | network | published: error in % | here | seeds 5 to 9 | like for like? | minutes |",
        "|---|---|---|---:|---:|---|---:|",
    ]
    seeds = [
        "| record | wrong of 10,000, seeds 0 to 4 | seeds 5 to 9 | float32: error | wrong of 10,000 | minutes |",
        "|---|---|---|---:|---|---:|",
    ]
    for name, network, published, errors, unseen, cost in lines:
        float32 = [count * 100 / IMAGES for count in cost.get("float32_errors", [])]
        here, there, other = (mean_and_deviation(some, 2) if some else "" for some in (errors, unseen, float32))
        wrong = [", ".join(f"{error * IMAGES / 100:.0f}" for error in some) for some in (errors, unseen, float32)]
        minutes = {arithmetic: f"{seconds / 60:.1f}" for arithmetic, seconds in cost.get("seconds", {}).items()}
        like = f"{'alike, but for' if published.like_for_like else 'not alike:'} {published.differs}. {published.why}"
        figure = f"{published.published:g}: {published.kind}"
        records.append(f"| {' | '.join([name, network, figure, here, there, like, minutes.get('exact', '')])} |")
        seeds.append(f"| {' | '.join([name, *wrong[:2], other, wrong[2], minutes.get('float32', '')])} |")
    machines = "; ".join({row.cost["machine"]: None for row in lines if row.cost})
    note = f"Minutes of one training, by `python -m benchmarks.records`, on {machines}."
    return "\n".join([*records, "", *seeds, "", note, ""])


def draw(lines: Sequence[Row]) -> "Figure":
    """Draw each row's published error, its seeds' errors and the mean of the first five, on a logarithmic axis."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    from pipeline.drawing.figures import BLUE, VERMILLION

    shown = list(reversed([row for row in lines if row.errors]))  # from below
    marks: list[tuple[str, list[list[float]], dict[str, Any]]] = [
        ("published", [[row.published.published] for row in shown], {"marker": "D", "color": VERMILLION, "ms": 8}),
        ("mean of seeds 0 to 4", [[fmean(row.errors)] for row in shown], {"marker": "|", "color": BLUE, "ms": 16}),
        ("seeds 0 to 4", [row.errors for row in shown], {"marker": "s", "color": BLUE, "ms": 3}),
        ("seeds 5 to 9", [row.unseen for row in shown], {"marker": "o", "color": BLUE, "ms": 6}),
    ]
    figure = Figure(figsize=(7.5, 0.42 * len(shown) + 1.6), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    axes = figure.add_subplot()
    for label, columns, style in marks:
        points = [(error, height) for height, errors in enumerate(columns) for error in errors]
        axes.plot(*zip(*points, strict=True), ls="", label=label, mfc="none", mew=1.5, clip_on=False, **style)
    axes.set_xscale("log")
    axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    axes.minorticks_off()
    axes.set_yticks(range(len(shown)), [row.name for row in shown])
    axes.set_xlabel("test error (% of 10,000 images)")
    axes.grid(color="#E5E5E5")
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=4)
    return figure


@command
def main(
    markdown: Annotated[Path, Argument(help="Output: the tables.")],
    figure: Annotated[Path, Argument(help="Output: the figure.")],
) -> None:
    """Write the ledger as tables and as a figure."""
    from pipeline.drawing.figures import picture, use_own_settings

    lines = rows()
    write_text(markdown, text(lines))
    use_own_settings()
    write_bytes(figure, picture(draw(lines), 120))


if __name__ == "__main__":
    main()
