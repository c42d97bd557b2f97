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
RECORDS = ["simard-none", "simard-affine", "simard-elastic", "ciresan-small", "dropout"]
RECORDS += ["label-smoothing", "keras-mnist-mlp", "nielsen", "fashion"]
RECORDS += ["elastic-affine", "fashion-distorted"]
# Of a published result: paper, error in percent, what kind of error it is, the one thing that
# differs here, number of seeds; of a result without a published one: what it is
PUBLISHED, FURTHER = ("paper", "published", "kind", "differs", "seeds"), ("what", "seeds")
TRAINED = "seeds: | minutes:"  # columns
TICKS = [0.3, 0.4, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20]  # of the figure, in percent


class Row(NamedTuple):
    """A line of the ledger."""

    name: str  # the record's
    network: str  # the sizes of its layers, such as 784-800-10
    about: dict[str, Any]  # see PUBLISHED and FURTHER
    errors: list[float]  # percent of wrong test images, for each seed that was trained
    validation: list[float]  # the same of validation images, if these choose the epoch
    cost: dict[str, Any]  # the record's entry in costs.json


def rows() -> list[Row]:
    """Return a line for each record. A UserError names a file that is not right."""
    costs, found = read_json(COSTS), []
    for name in RECORDS:
        file = HERE / f"{name}.yaml"
        about = load_plain_yaml(file).get("record", {})
        keys = FURTHER if "what" in about else PUBLISHED
        if wrong := sorted(about.keys() ^ set(keys)):
            what = f"lacks or should not have {wrong[0]}; expected the keys {', '.join(keys)}"
            raise UserError(f"{file}: section record {what}.", about=wrong[0])
        paths = [HERE / "results" / f"{name}-{seed}.json" for seed in range(about["seeds"])]
        results = [read_json(path) for path in paths if path.exists()]
        errors = [result["errors"] * 100 / IMAGES for result in results]
        scores = [result["validation"] for result in results if "validation" in result]
        validation = [100 - 100 * score["accuracy"] for score in scores]
        sizes = (784, *load_params(file).train.hidden_sizes, 10)
        network = "-".join(map(str, sizes))
        found.append(Row(name, network, about, errors, validation, costs.get(name, {})))
    return found


def text(lines: Sequence[Row]) -> str:
    """Return the ledger in Markdown: what was trained again, and further; seeds; float32."""
    again, further, seeds = [], [], []
    for name, network, about, errors, validation, cost in lines:
        float32 = [count * 100 / IMAGES for count in cost.get("float32_errors", [])]
        groups = (errors, validation, float32)
        here, chosen, other = (mean_and_deviation(some, 2) if some else "" for some in groups)
        here = f"{chosen}; test: {here}" if chosen else here
        trained = str(len(errors))
        if len(errors) < about["seeds"]:
            trained += f" of {about['seeds']}"
        minutes = {kind: f"{time / 60:.1f}" for kind, time in cost.get("seconds", {}).items()}
        end = [trained, minutes.get("exact", "")]
        if "what" in about:
            further.append([name, network, here, about["what"], *end])
        else:
            published = f"{about['published']:g}: {about['kind']}"
            again.append([name, network, published, here, about["differs"], *end])
        counts = [", ".join(f"{error * IMAGES / 100:.0f}" for error in some) for some in groups]
        seeds.append([name, *counts[:2], other, counts[2], minutes.get("float32", "")])
    machines = "; ".join({row.cost["machine"]: None for row in lines if row.cost})
    of_seeds = "record | wrong of 10,000, by seed | of 10,000 validation images"
    return "\n\n".join(
        [
            "Trained again. Errors are in percent: mean ± standard deviation of the seeds.",
            markdown(f"record | network | published | here: | differs | {TRAINED}", again),
            "Further: without a published result beside it.",
            markdown(f"record | network | here: | what | {TRAINED}", further),
            "Seeds, and what exactness costs.",
            markdown(f"{of_seeds} | float32: error: | wrong of 10,000 | minutes:", seeds),
            f"Minutes of one training, by `python -m benchmarks.records`, on {machines}.\n",
        ]
    )


def draw(lines: Sequence[Row], path: Path) -> None:
    """Draw each record's published error, and below it the errors of its seeds, as logarithms."""
    from matplotlib.figure import Figure  # here, so that --help answers at once
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    from pipeline.drawing.figures import BLUE, VERMILLION, picture, use_own_settings

    use_own_settings()
    shown = [row for row in reversed(lines) if row.errors]  # from below
    published = [[row.about["published"]] if "published" in row.about else [] for row in shown]
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=(7.5, 0.5 * len(shown) + 1.6), layout=layout)
    label = "error (% of 10,000 images: of nielsen, validation images)"
    axes = figure.add_subplot(xscale="log", xlabel=label, ylabel="record")
    # One above the other, so that no mark covers another
    for label, marker, above, colour, columns in (
        ("published", "D", 0.15, VERMILLION, published),
        ("each seed", "|", -0.15, BLUE, [row.validation or row.errors for row in shown]),
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
