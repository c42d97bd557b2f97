"""The ledger says what the results say, and the lessons of docs/records.md have its numbers."""

import json
import shutil
from statistics import fmean

import pytest
from typer.testing import CliRunner

from records import ledger
from records.ledger import COMMITTEES, HERE, RECORDS, SEEDS, rows, text
from tests.support.project import ROOT
from tests.support.refusals import refused
from tests.support.tables import cells


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A ledger of four records: two have results, one lacks some, one has none; there are two
    committees.
    """
    counts = {
        "simard-elastic": {1: 72, 3: 71},
        "ciresan-small": dict(enumerate([70, 60, 50, 40, 30])),
        "dropout": {},
    }
    counts["nielsen"] = dict(enumerate([200, 210, 190, 205, 195, 220, 180, 220, 180, 200]))
    (tmp_path / "results").mkdir()
    for name, errors in counts.items():
        shutil.copy(HERE / f"{name}.yaml", tmp_path)
        for seed, count in errors.items():
            (tmp_path / "results" / f"{name}-{seed}.json").write_text(json.dumps({"errors": count}))
    (tmp_path / "results" / "committee-both.json").write_text('{"errors": 31}')
    shutil.copy(HERE / "base.yaml", tmp_path)
    costs = {
        "ciresan-small": {"seconds": {"exact": 600, "float32": 120}, "machine": "a fast machine"},
        "dropout": {
            "seconds": {"exact": 66, "float32": 33},
            "machine": "a slow one",
            "float32_errors": [99, 101],
        },
    }
    (tmp_path / "costs.json").write_text(json.dumps(costs))
    monkeypatch.setattr(ledger, "HERE", tmp_path)
    monkeypatch.setattr(ledger, "COSTS", tmp_path / "costs.json")
    monkeypatch.setattr(ledger, "RECORDS", tuple(counts))
    return tmp_path


def test_the_ledger_has_each_record_and_committee(small):
    ran = CliRunner().invoke(ledger.main, [str(small / "ledger.md"), str(small / "ledger.png")])
    assert ran.exit_code == 0, ran.output
    written = (small / "ledger.md").read_text(encoding="utf-8")
    records, seeds = (
        {name: rest for name, *rest in cells(table)[2:]} for table in written.split("\n\n")[:2]
    )
    shown = {
        name: (network, here, unseen, minutes)
        for name, (network, _, here, unseen, _, minutes) in records.items()
    }
    assert shown == {
        "simard-elastic": ("784-800-10", "0.71 ± 0.01", "", ""),
        "ciresan-small": ("784-1000-500-10", "0.50 ± 0.16", "", "10.0"),
        "dropout": ("784-800-800-10", "", "", "1.1"),
        "nielsen": ("784-100-10", "2.00 ± 0.08", "2.00 ± 0.20", ""),
        "committee-simard-elastic": ("five 784-800-10", "", "", ""),
        "committee-both": ("five 784-800-10 and five 784-1000-500-10", "0.31", "", ""),
    }
    assert seeds["nielsen"] == ["200, 210, 190, 205, 195", "220, 180, 220, 180, 200", "", "", ""]
    assert seeds["dropout"] == ["", "", "1.00 ± 0.01", "99, 101", "0.6"]
    assert seeds["ciresan-small"] == ["70, 60, 50, 40, 30", "", "", "", "2.0"]
    assert "a fast machine; a slow one" in written.split("\n\n")[2]
    assert written.count("---:") == 5, "numbers are flush right"
    assert (small / "ledger.png").exists()
    for name, published in (
        ("nielsen", "1.96"),
        ("simard-elastic", "0.7"),
        ("committee-both", "0.31"),
    ):
        assert records[name][1].startswith(f"{published}: ")
    assert records["nielsen"][4].startswith("not alike: ")
    assert records["ciresan-small"][4].startswith("alike")


@pytest.mark.parametrize(
    ("old", "new", "about"),
    [("published: 0.49", "publised: 0.49", "publised"), ("    published: 0.31\n", "", "published")],
)
def test_a_wrong_record_is_refused(small, old, new, about):
    path = small / "ciresan-small.yaml"
    content = path.read_text(encoding="utf-8")
    assert old in content
    path.write_text(content.replace(old, new), encoding="utf-8")
    assert refused(lambda path: rows(), path).about == about


@pytest.mark.committed
def test_the_ledger_is_what_the_results_say():
    assert (HERE / "ledger.md").read_text(encoding="utf-8") == text(rows())


@pytest.mark.committed
def test_the_lessons_have_the_numbers_of_the_ledger():
    """docs/records.md: what each record removes of the mistakes, in how many times the time; what
    networks share.
    """
    lines = {row.name: row for row in rows()}
    mean = {name: fmean(row.errors) for name, row in lines.items()}
    exact, float32 = (
        [lines[name].cost["seconds"][kind] for name in RECORDS] for kind in ("exact", "float32")
    )
    seconds = dict(zip(RECORDS, exact, strict=True))
    page = " ".join((ROOT / "docs" / "records.md").read_text(encoding="utf-8").split())
    none, affine, elastic, small = "simard-none", "simard-affine", "simard-elastic", "ciresan-small"
    for before, after in ((none, affine), (elastic, small), (none, "dropout"), (none, elastic)):
        assert f"{100 * (1 - mean[after] / mean[before]):.0f} %" in page, after
        assert after == affine or f"{seconds[after] / seconds[before]:.0f} times" in page, after
    assert f"removes {100 * (1 - mean[f'committee-{elastic}'] / mean[elastic]):.0f} %" in page
    ratios = [one / other for one, other in zip(exact, float32, strict=True)]
    assert f"takes {min(ratios):.1f} to {max(ratios):.1f} times as long" in page
    fives = [abs(mean[name] - fmean(row.unseen)) for name, row in lines.items() if row.unseen]
    apart = [abs(mean[name] - fmean(lines[name].cost["float32_errors"]) / 100) for name in RECORDS]
    for largest in (max(fives), max(apart)):
        assert f"differ by at most {largest:.2f} percentage points" in page
    for committee, records in COMMITTEES.items():
        names = [committee, *(f"{record}-{seed}" for record in records for seed in SEEDS)]
        results = [
            json.loads((HERE / "results" / f"{name}.json").read_text())["wrong"] for name in names
        ]
        common = set.intersection(*({tuple(mistake[:2]) for mistake in wrong} for wrong in results))
        assert f"| {len(results[0])} | {len(common)} |" in page
