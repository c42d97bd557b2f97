"""The ledger says what the results say; its figures, and the result of each row, show what the evaluation found."""

import json
import shutil
from statistics import fmean

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline.drawing.figures import draw_misclassified, draw_training_images, picture
from pipeline.settings.params import load_params
from pipeline.store.artifacts import Misclassified, save_misclassified
from pipeline.training.method import distortion_of
from records import ledger
from records.drawing import draw_ledger
from records.figures import main as figures
from records.ledger import HERE, RECORDS, SEEDS, Row, rows, table
from records.result import main as result
from tests.conftest import ROOT
from tests.test_train import save_prepared

# The ledger


def test_the_ledger_is_what_the_results_say():
    assert (HERE / "ledger.md").read_text(encoding="utf-8") == table(rows())


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A ledger of three records: one is complete, one lacks three seeds, one has no result. Two have committees."""
    for name in (names := ("ciresan-small", "dropout", "simard-elastic")):
        shutil.copy(HERE / f"{name}.yaml", tmp_path)
    counts = {"ciresan-small": [70, 60, 50, 40, 30], "simard-elastic": [None, 72, None, 71, None]}
    counts |= {"committee-ciresan-small": [31], "committee-both": [32]}
    (tmp_path / "results").mkdir()
    for name, errors in counts.items():
        for seed, count in enumerate(errors):
            path = tmp_path / "results" / (f"{name}.json" if len(errors) == 1 else f"{name}-{seed}.json")
            if count is not None:
                path.write_text(json.dumps({"errors": count}))
    costs = {
        "ciresan-small": {"seconds": {"exact": 600, "float32": 120}, "machine": "a fast machine"},
        "dropout": {"seconds": {"exact": 66, "float32": 33}, "machine": "a slow one", "float32_errors": [99, 101]},
    }
    (tmp_path / "costs.json").write_text(json.dumps(costs))
    monkeypatch.setattr(ledger, "HERE", tmp_path)
    monkeypatch.setattr(ledger, "COSTS", tmp_path / "costs.json")
    monkeypatch.setattr(ledger, "RECORDS", names)
    return tmp_path


def test_the_ledger_has_each_record_and_committee(small):
    ran = CliRunner().invoke(ledger.main, [str(small / "ledger.md"), str(small / "ledger.png")])
    assert ran.exit_code == 0, ran.output
    lines = (small / "ledger.md").read_text(encoding="utf-8").splitlines()
    distorted, mean = "affine and elastic distortions", "mean of five networks' probabilities"
    assert lines[2:8] == [
        f"| ciresan-small | 784-1000-500-10 | {distorted}, 300 epochs | 0.49 | 0.50 ± 0.16 | 70, 60, 50, 40, 30 | no "
        "| 10.0 |  | 2.0 |",
        "| dropout | 784-800-800-10 | dropout, max-norm, 250 epochs; published: 3 × 1024, dropout alone | 1.25 |  "
        "| –, –, –, –, – | not complete | 1.1 | 1.00 ± 0.01 (of 2) | 0.6 |",
        f"| simard-elastic | 784-800-10 | {distorted}, 150 epochs | 0.7 |  | –, 72, –, 71, – | not complete |  |  |  |",
        f"| committee-ciresan-small | five 784-1000-500-10 | {mean} | 0.31 | 0.31 | 31 | yes |  |  |  |",
        f"| committee-simard-elastic | five 784-800-10 | {mean} | 0.39 |  | – | not complete |  |  |  |",
        "| committee-both | five of each | mean of all ten networks' probabilities | 0.31 | 0.32 | 32 | no |  |  |  |",
    ]
    assert "Minutes of one training, from the time of its epochs on a fast machine; a slow one," in lines
    assert (small / "ledger.png").read_bytes() == picture(draw_ledger(rows()), 120)


def test_the_figure_shows_the_rows_that_have_a_result(small):
    figure = draw_ledger(rows())
    (axes,) = figure.axes
    named = ["ciresan-small", "simard-elastic", "committee-ciresan-small", "committee-both"]
    assert [label.get_text() for label in axes.get_yticklabels()] == named
    points = {line.get_label(): line.get_xdata().tolist() for line in axes.lines}
    assert points["published"] == [0.49, 0.7, 0.31, 0.31]
    assert points["here, mean"] == pytest.approx([0.5, 0.31, 0.32])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["published", "here, mean", "here, each seed"]
    assert axes.get_xscale() == "log"
    left, right = axes.get_xlim()
    assert left < 0.3
    assert right > 0.72


@pytest.mark.parametrize("missing", ["*.json", "c*.json"])
def test_the_figure_needs_no_complete_row(small, missing):
    for path in (small / "results").glob(missing):
        path.unlink()
    ran = CliRunner().invoke(ledger.main, [str(small / "ledger.md"), str(small / "ledger.png")])
    assert ran.exit_code == 0, ran.output
    for axes in draw_ledger(rows()).axes:
        assert [len(line.get_xdata()) for line in axes.lines if line.get_label() == "here, mean"] == [0]


def test_the_lessons_have_the_numbers_of_the_ledger():
    """docs/records.md, "What each teaches"."""
    lines = {row.name: row for row in rows()}

    def removed(before: str, after: str) -> str:
        return f"{100 * (1 - lines[after].mean / lines[before].mean):.0f} %"

    def times(before: str, after: str) -> float:
        return lines[after].cost["seconds"]["exact"] / lines[before].cost["seconds"]["exact"]

    def left(committee: str, *records: str) -> tuple[int, int]:
        """Return the numbers of a committee's mistakes, and of those that all its networks make, too."""
        names = [committee, *(f"{record}-{seed}" for record in records for seed in SEEDS)]
        wrong = [{tuple(mistake[:2]) for mistake in result_of(name)["wrong"]} for name in names]
        return len(wrong[0]), len(set.intersection(*wrong))

    elastic, small = "simard-elastic", "ciresan-small"
    one, two = left(f"committee-{elastic}", elastic), left(f"committee-{small}", small)
    both = left("committee-both", elastic, small)
    share = 100 * (1 - one[0] / 100 / lines[elastic].mean)
    ratios = [lines[record].cost["seconds"] for record in RECORDS]
    ratios = [seconds["exact"] / seconds["float32"] for seconds in ratios]
    apart = [abs(lines[record].mean - fmean(lines[record].cost["float32_errors"]) / 100) for record in RECORDS]
    text = " ".join((ROOT / "docs" / "records.md").read_text(encoding="utf-8").split())
    for words in (
        f"exact arithmetic takes {min(ratios):.1f} to {max(ratios):.1f} times as long as float32",
        f"The mean errors of both arithmetics differ by at most {max(apart):.2f} percentage points",
        f"remove {removed('simard-none', 'simard-affine')} of the mistakes, "
        f"and bending {removed('simard-affine', elastic)} of the rest",
        f"one layer of 800 with distortions has {lines[elastic].mean:.2f} %",
        f"remove {removed(elastic, small)} of what elastic distortions leave, "
        f"in {times(elastic, small):.0f} times the time",
        f"remove {removed('simard-none', 'dropout')} of the mistakes of `simard-none`, "
        f"in {times('simard-none', 'dropout'):.0f} times the time. "
        f"Elastic distortions remove {removed('simard-none', elastic)} in {times('simard-none', elastic):.0f} times",
        f"removes {share:.0f} % of the mistakes of one: {one[0]} are left, and all five make {one[1]} of them",
        f"leave {two[0]}, too, and all five make {two[1]}. All ten leave {both[0]}, and all ten make {both[1]} of them",
        f"seed 0 makes {lines['keras-mnist-mlp'].errors[0]} mistakes, before 176",
        f"{lines['nielsen'].errors[0]} mistakes for seed 0, before 217",
    ):
        assert words in text


def result_of(name: str) -> dict:
    return json.loads((HERE / "results" / f"{name}.json").read_text())


def test_the_readme_shows_the_ledger():
    assert (HERE / "ledger.md").read_text(encoding="utf-8") in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_ledger_counts():
    published = load_params(HERE / "simard-elastic.yaml").record

    def line(*errors: int | None, **cost) -> str:
        return table([Row("a", "784-10", published, list(errors), cost)]).splitlines()[2]

    assert "| 0.7 | 0.60 ± 0.08 | 60, 50, 70, 55, 65 | yes |" in line(60, 50, 70, 55, 65)
    assert "| 0.7 | 0.74 ± 0.11 | 60, 70, 71, 80, 90 | no |" in line(60, 70, 71, 80, 90)
    assert "| 0.7 | 0.70 ± 0.04 | 77, 66, 70, 70, 67 | yes |" in line(77, 66, 70, 70, 67)
    assert "| 0.7 |  | –, 60, –, –, – | not complete |" in line(None, 60, None, None, None)
    assert "| 0.7 | 0.42 | 42 | yes |  |  |  |" in line(42)
    cost = {"seconds": {"exact": 90, "float32": 30}, "machine": "a machine"}
    assert line(60, 50, **cost, float32_errors=[61, 55]).endswith("| yes | 1.5 | 0.58 ± 0.04 | 0.5 |")
    assert line(60, 50, **cost, float32_errors=[61]).endswith("| yes | 1.5 | 0.61 (of 1) | 0.5 |")
    assert line(60, 50, **cost).endswith("| yes | 1.5 |  | 0.5 |")


def test_the_figure_shows_each_seed_and_the_mean_of_complete_rows():
    published = load_params(HERE / "simard-elastic.yaml").record
    errors = {"a": [60, 50], "b": [None, 55], "c": [None, None]}
    (axes,) = draw_ledger([Row(name, "784-10", published, found, {}) for name, found in errors.items()]).axes
    points = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert points["published"] == [[0.7, 2], [0.7, 1]]
    assert points["here, mean"] == [[0.55, 2]]
    assert points["here, each seed"] == [[0.6, 2], [0.5, 2], [0.55, 1]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]


# What the scripts write


def save_mistakes(folder, place, actual, predicted):
    """Write what the evaluate stage would write of these mistakes."""
    n = len(place)
    columns = (np.array(place), np.array(actual), np.array(predicted), np.linspace(0.9, 0.5, n))
    place, actual, predicted, probability = columns
    images = np.arange(n * 784, dtype=np.uint8).reshape(n, 784)
    classes = tuple("0123456789")
    mistakes = Misclassified(images, actual, predicted, probability, place, (28, 28), classes)
    folder.mkdir(exist_ok=True)
    save_misclassified(folder / "misclassified.npz", mistakes)
    (folder / "test.json").write_text('{"accuracy": 0.5, "loss": 0.1234567890123}')


def test_a_result_counts_the_mistakes(tmp_path):
    save_mistakes(tmp_path / "evaluation", [7, 3, 12], [1, 2, 3], [4, 5, 6])
    out = tmp_path / "new" / "row-0.json"
    ran = CliRunner().invoke(result, [str(tmp_path / "evaluation"), str(out)])
    assert ran.exit_code == 0, ran.output
    assert json.loads(out.read_text()) == {
        "errors": 3,
        "loss": 0.1234567890123,
        "wrong": [[3, 2, 5], [7, 1, 4], [12, 3, 6]],
    }


def test_a_network_without_mistakes_has_a_result(tmp_path):
    empty = np.empty(0, np.int64)
    save_mistakes(tmp_path / "evaluation", empty, empty, empty)
    ran = CliRunner().invoke(result, [str(tmp_path / "evaluation"), str(tmp_path / "row-0.json")])
    assert ran.exit_code == 0, ran.output
    assert json.loads((tmp_path / "row-0.json").read_text()) == {"errors": 0, "loss": 0.1234567890123, "wrong": []}


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """A function that draws the figures of a record. It returns what was drawn: images, and mistakes with a title.

    Five networks and their committee are wrong on the test images 0 to 8. The committee is right on 3, and the fifth
    network on 5.
    """
    images = np.random.default_rng(0).integers(0, 256, (20, 784), np.uint8)
    save_prepared(tmp_path / "train.npz", images, np.eye(10, dtype=np.uint8)[np.arange(20) % 10])
    places = [place for place in range(9) if place != 3]
    save_mistakes(tmp_path / "evaluation", places, [1] * 8, places)
    results = [tmp_path / f"{seed}.json" for seed in range(5)]
    for path in results:
        places = [place for place in range(9) if place != 5 or path.stem != "4"]
        path.write_text(json.dumps({"wrong": [[place, 1, 3] for place in places]}))
    calls = {}

    def recorded(draw):
        def call(*arguments):
            calls[draw.__name__] = arguments
            return draw(*arguments)

        return call

    for draw in (draw_misclassified, draw_training_images):
        monkeypatch.setattr(f"pipeline.drawing.figures.{draw.__name__}", recorded(draw))

    def run(record):
        words = [HERE / f"{record}.yaml", tmp_path / "train.npz", tmp_path / "evaluation", *results]
        words += ["--distorted", tmp_path / "distorted.png", "--mistakes", tmp_path / "mistakes.png"]
        ran = CliRunner().invoke(figures, list(map(str, words)))
        assert ran.exit_code == 0, ran.output
        assert {path.name for path in tmp_path.glob("*.png")} == {"distorted.png", "mistakes.png"}
        return images[:10], calls["draw_training_images"], calls["draw_misclassified"]

    return run


def test_a_figure_shows_the_mistakes_that_all_networks_make(drawn):
    """It shows the committee's answers. All networks can be wrong where their mean is right: that is left out."""
    _, _, (mistakes, most, title) = drawn("simard-elastic")
    common = [0, 1, 2, 4, 6, 7, 8]
    assert mistakes.place.tolist() == common
    assert mistakes.predicted.tolist() == common
    assert (most, title) == (7, "The 7 mistakes that all 5 networks and their committee make")


def test_a_figure_shows_the_first_training_images_as_training_distorts_them(drawn):
    first, (shown, made), _ = drawn("simard-elastic")
    np.testing.assert_array_equal(shown, first.reshape(-1, 28, 28))
    distortion = distortion_of(load_params(HERE / "simard-elastic.yaml"), (28, 28))
    assert len(made) == 5
    for epoch, images in enumerate(made):
        expected = distortion.distort(first, seed=0, epoch=epoch, first=0)
        np.testing.assert_array_equal(images, expected.reshape(-1, 28, 28))


def test_a_record_without_distortions_shows_its_images_alone(drawn):
    _, (shown, made), _ = drawn("simard-none")
    assert (len(shown), made) == (10, [])
