"""The ledger says what the results say, and the lessons of docs/records.md have its numbers."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from pipeline.drawing import figures
from records import ledger
from records.ledger import HERE, rows, text
from tests.support.refusals import refused
from tests.support.tables import cells


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A ledger of five records: some have all their results, one lacks some, one has none."""
    counts = {"simard-elastic": {1: 72, 3: 71}}
    counts |= {"ciresan-small": dict(enumerate([70, 60, 50, 40, 30])), "dropout": {}}
    counts["nielsen"] = dict(enumerate([200, 210, 190, 205, 195, 220, 180, 220, 180, 200]))
    counts["elastic-affine"] = {0: 55}
    (tmp_path / "results").mkdir()
    for name, errors in counts.items():
        shutil.copy(HERE / f"{name}.yaml", tmp_path)
        for seed, count in errors.items():
            result = {"errors": count}
            if name == "nielsen":
                result["validation"] = {"accuracy": 0.98 + 0.0001 * (seed % 2)}
            (tmp_path / "results" / f"{name}-{seed}.json").write_text(json.dumps(result))
    shutil.copy(HERE / "base.yaml", tmp_path)
    costs = {
        "ciresan-small": {"seconds": {"exact": 600, "float32": 120}, "machine": "a fast machine"},
        "dropout": {"seconds": {"exact": 66, "float32": 33}, "machine": "a slow one"},
    }
    costs["dropout"]["float32_errors"] = [99, 101]
    (tmp_path / "costs.json").write_text(json.dumps(costs))
    monkeypatch.setattr(ledger, "HERE", tmp_path)
    monkeypatch.setattr(ledger, "COSTS", tmp_path / "costs.json")
    monkeypatch.setattr(ledger, "RECORDS", tuple(counts))
    return tmp_path


def test_the_ledger_has_each_record_beside_its_publication_or_by_itself(small):
    ran = CliRunner().invoke(ledger.main, [str(small / "ledger.md"), str(small / "ledger.png")])
    assert ran.exit_code == 0, ran.output
    written = (small / "ledger.md").read_text(encoding="utf-8")
    tables = [cells(part)[2:] for part in written.split("\n\n") if part.startswith("|")]
    again, further, seeds = ({name: rest for name, *rest in table} for table in tables)
    columns = [0, 2, 4, 5]  # network, error here, seeds, minutes
    assert {name: [row[n] for n in columns] for name, row in again.items()} == {
        "simard-elastic": ["784-800-10", "0.71 ± 0.01", "2 of 5", ""],
        "ciresan-small": ["784-1000-500-10", "0.50 ± 0.16", "5", "10.0"],
        "dropout": ["784-1024-1024-1024-10", "", "0 of 5", "1.1"],
        "nielsen": ["784-100-10", "2.00 ± 0.01; test: 2.00 ± 0.14", "10", ""],
    }
    assert [further["elastic-affine"][n] for n in (0, 1, 3)] == ["784-800-10", "0.55", "1 of 5"]
    assert further.keys() == {"elastic-affine"}
    wrong, chosen, *_ = seeds["nielsen"]
    assert wrong == "200, 210, 190, 205, 195, 220, 180, 220, 180, 200"
    assert chosen == ", ".join(["200, 199"] * 5)
    assert seeds["dropout"] == ["", "", "1.00 ± 0.01", "99, 101", "0.6"]
    assert seeds["ciresan-small"] == ["70, 60, 50, 40, 30", "", "", "", "2.0"]
    assert "a fast machine; a slow one" in written
    assert (small / "ledger.png").exists()
    published = {"nielsen": "1.96", "simard-elastic": "0.7", "ciresan-small": "0.49"}
    assert all(again[name][1].startswith(f"{error}: ") for name, error in published.items())


def test_the_figure_has_each_error_beside_its_record(small, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "picture", lambda figure, dpi: drawn.append(figure) or b"")
    ledger.draw(rows(), small / "ledger.png")
    (axes,) = drawn[0].axes
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert names == ["elastic-affine", "nielsen", "ciresan-small", "simard-elastic"]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    points = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    rows_of = {name: [(x, round(y)) for x, y in marks] for name, marks in points.items()}
    assert rows_of["published"] == [(1.96, 1), (0.49, 2), (0.7, 3)]
    chosen = [(pytest.approx(error), 1) for error in [2.0, 1.99] * 5]
    assert [mark for mark in rows_of["each seed"] if mark[1] == 1] == chosen
    assert rows_of["each seed"][-2:] == [(pytest.approx(0.72), 3), (pytest.approx(0.71), 3)]
    heights = [y for marks in points.values() for y in {y for _, y in marks}]
    assert len(heights) == len(set(heights))  # no mark covers one of another kind
    assert [float(tick.get_text()) for tick in axes.get_xticklabels()] == axes.get_xticks().tolist()


@pytest.mark.parametrize(
    ("name", "old", "new", "about"),
    [
        ("ciresan-small", "published: 0.49", "publised: 0.49", "publised"),
        ("ciresan-small", "  seeds: 5\n", "", "seeds"),
        ("elastic-affine", "  what: ", "  published: 0.5\n  what: ", "published"),
    ],
)
def test_a_wrong_record_is_refused(small, name, old, new, about):
    path = small / f"{name}.yaml"
    content = path.read_text(encoding="utf-8")
    assert old in content
    path.write_text(content.replace(old, new), encoding="utf-8")
    assert refused(lambda path: rows(), path).about == about


@pytest.mark.committed
def test_the_ledger_is_what_the_results_say():
    assert (HERE / "ledger.md").read_text(encoding="utf-8") == text(rows())
