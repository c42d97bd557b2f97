"""Write the ledger, tables and a figure: each record's published error, and its seeds' errors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from typer import Argument

from pipeline.program.command import command
from pipeline.program.errors import UserError
from pipeline.program.files import read_json, write_bytes, write_text
from pipeline.settings.checked import load_plain_yaml
from pipeline.settings.params import load_params
from tools.tables import markdown, mean_and_deviation

HERE = Path(__file__).parent
COSTS = HERE / "costs.json"  # what `python -m benchmarks.records` measured
IMAGES = 10_000  # test images of MNIST and of Fashion-MNIST
SEEDS, UNSEEN = range(5), range(5, 10)  # no choice of parameters has looked at the second five
RECORDS = ["simard-none", "simard-affine", "simard-elastic", "ciresan-small"]
RECORDS += ["dropout", "keras-mnist-mlp", "nielsen", "fashion"]
# Networks of the seeds 0 to 4 of records; the last record's file says what was published
COMMITTEES = {
    "committee-simard-elastic": ["simard-elastic"],
    "committee-both": ["simard-elastic", "ciresan-small"],
}
# Of a published result: paper, error in percent, what kind of figure it is, how ours is unlike it
KEYS = ("paper", "published", "kind", "differs", "why", "like_for_like")
TICKS = [0.3, 0.4, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20]  # of the figure, in percent


class Row(NamedTuple):
    """A line of the ledger."""

    name: str  # the record's, or the committee's
    network: str  # the sizes of its layers, such as 784-800-10
    published: dict[str, Any]  # see KEYS
    # Percent of wrong test images, for each of the seeds 0 to 4; a committee has one number
    errors: list[float]
    unseen: list[float]  # the same for the seeds 5 to 9
    cost: dict[str, Any]  # the record's entry in costs.json


def rows() -> list[Row]:
    """Return a line for each record and committee. A UserError names a file that is not right."""
    errors = {
        path.stem: read_json(path)["errors"] * 100 / IMAGES
        for path in (HERE / "results").glob("*.json")
    }
    costs, found = read_json(COSTS), []
    for name, members in ({record: [record] for record in RECORDS} | COMMITTEES).items():
        files = [HERE / f"{member}.yaml" for member in members]
        sizes = [(784, *load_params(file).train.hidden_sizes, 10) for file in files]
        networks = ["-".join(map(str, layers)) for layers in sizes]
        published = load_plain_yaml(files[-1]).get("record", {})
        own, unseen = ([f"{name}-{seed}" for seed in seeds] for seeds in (SEEDS, UNSEEN))
        if name in COMMITTEES:
            published, own = published.get("committee", {}), [name]
            networks = [f"five {network}" for network in networks]
        if wrong := sorted((published.keys() - {"committee"}) ^ set(KEYS)):
            what = f"lacks or should not have {wrong[0]}; expected the keys {', '.join(KEYS)}"
            raise UserError(f"{files[-1]}: {name} {what}.", about=wrong[0])
        first = [errors[result] for result in own if result in errors]
        second = [errors[result] for result in unseen if result in errors]
        network, cost = " and ".join(networks), costs.get(name, {})
        found.append(Row(name, network, published, first, second, cost))
    return found


def text(lines: Sequence[Row]) -> str:
    """Return the ledger in Markdown: a table of records; one of seeds and what exactness costs."""
    records, seeds = [], []
    for name, network, published, errors, unseen, cost in lines:
        float32 = [count * 100 / IMAGES for count in cost.get("float32_errors", [])]
        groups = (errors, unseen, float32)
        here, there, other = (mean_and_deviation(some, 2) if some else "" for some in groups)
        wrong = [", ".join(f"{error * IMAGES / 100:.0f}" for error in some) for some in groups]
        measured = cost.get("seconds", {})
        minutes = {kind: f"{seconds / 60:.1f}" for kind, seconds in measured.items()}
        alike = "alike, but for" if published["like_for_like"] else "not alike:"
        like = f"{alike} {published['differs']}. {published['why']}"
        figure = f"{published['published']:g}: {published['kind']}"
        records.append([name, network, figure, here, there, like, minutes.get("exact", "")])
        seeds.append([name, *wrong[:2], other, wrong[2], minutes.get("float32", "")])
    machines = "; ".join({row.cost["machine"]: None for row in lines if row.cost})
    names = "record | network | published: error in % | here: | seeds 5 to 9: | like for like?"
    names += " | minutes:"
    of_seeds = "record | wrong of 10,000, seeds 0 to 4 | seeds 5 to 9"
    of_seeds += " | float32: error: | wrong of 10,000 | minutes:"
    note = f"Minutes of one training, by `python -m benchmarks.records`, on {machines}.\n"
    return "\n\n".join([markdown(names, records), markdown(of_seeds, seeds), note])


def draw(lines: Sequence[Row], path: Path) -> None:
    """Draw each record's published error, and below it the errors of its seeds, as logarithms."""
    from matplotlib.figure import Figure  # here, so that --help answers at once
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    from pipeline.drawing.figures import BLUE, VERMILLION, picture, use_own_settings

    use_own_settings()
    shown = [row for row in reversed(lines) if row.errors]  # from below
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=(7.5, 0.5 * len(shown) + 1.6), layout=layout)
    label = "test error (% of 10,000 images)"
    axes = figure.add_subplot(xscale="log", xlabel=label, ylabel="record")
    # One above the other, so that no mark covers another
    for label, marker, above, colour, columns in (
        ("published", "D", 0.25, VERMILLION, [[row.published["published"]] for row in shown]),
        ("seeds 0 to 4", "|", 0, BLUE, [row.errors for row in shown]),
        ("seeds 5 to 9", "|", -0.25, "black", [row.unseen for row in shown]),
    ):
        x = [error for errors in columns for error in errors]
        y = [height + above for height, errors in enumerate(columns) for _ in errors]
        axes.plot(x, y, marker, label=label, color=colour, ms=7, mfc="none", mew=1.2, clip_on=False)
    axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    axes.minorticks_off()
    axes.set_yticks(range(len(shown)), [row.name for row in shown])
    axes.grid(color="#E5E5E5")
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=3)
    write_bytes(path, picture(figure, 120))


@command
def main(
    tables: Annotated[Path, Argument(help="Output: the tables.")],
    figure: Annotated[Path, Argument(help="Output: the figure.")],
) -> None:
    """Write the ledger as tables and as a figure."""
    lines = rows()
    write_text(tables, text(lines))
    draw(lines, figure)


if __name__ == "__main__":
    main()
