"""`tools.portable` compares files in many environments, and keeps a table of machines."""

import csv
import platform
import shutil
import subprocess
import sys
from functools import partial
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.project import ROOT
from tools.portable.__main__ import COLUMNS, TABLE, Environment, main

IMPORTS = """
import sys
before = set(sys.modules)
import tools.portable.short_run
print(*set(sys.modules) - before)
"""


def test_short_run_needs_numpy_and_nothing_else():
    command = [sys.executable, "-c", IMPORTS]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    distributions = packages_distributions()
    modules = {name.partition(".")[0] for name in printed.split()}
    assert {name for module in modules for name in distributions.get(module, [])} == {"numpy"}


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_table_of_machines_has_the_hash_of_this_code_and_add_writes_a_line(tmp_path, monkeypatch):
    table = tmp_path / "machines.csv"
    shutil.copy(TABLE, table)
    monkeypatch.setattr("tools.portable.__main__.TABLE", table)
    monkeypatch.setattr("tools.portable.__main__.Environment", partial(Environment, processes=1))
    result = CliRunner().invoke(main, ["--add", "Mine, with a comma"])
    assert result.exit_code == 0, f"{result.output}Meant so? python -m tools.portable --write"
    *others, mine = read(table)
    assert others == read(TABLE)
    assert (mine["name"], mine["python"]) == ("Mine, with a comma", platform.python_version())
    assert mine["exact"] == others[0]["exact"] != mine["float32"]
    assert sys.platform != "linux" or ".so" in mine["blas"]


# A short run that prints the hashes that it is given
SCRIPT = """
import json, os, sys
if sys.argv[1] == "-c":
    sys.exit(os.environ["PROBE"] or 0)
if os.environ["EXACT"] == "":
    sys.exit("a run that fails")
facts = {"processor": "p", "byte_order": "b", "system": "s", "python": "3", "numpy": "2",
         "blas": "libblis.so.4"}
print(json.dumps(facts | {"exact": os.environ["EXACT"], "float32": os.environ["FLOAT32"]}))
"""


def place(name: str, exact: str, float32: str, blas: str = "", probe: str = ""):
    """Return an environment where the short run prints these hashes and this BLAS."""
    variables = {"EXACT": exact, "FLOAT32": float32, "PROBE": probe}
    return Environment(name, [sys.executable, "script.py"], variables, processes=1, blas=blas)


def line(name: str, exact: str, float32: str) -> dict[str, str]:
    """Return the line of the table for these hashes."""
    cells = [name, "p", "b", "s", "3", "2", "libblis.so.4", "1", exact, float32]
    return dict(zip(COLUMNS, cells, strict=True))


@pytest.fixture
def portable(tmp_path, monkeypatch):
    """A function that runs the command in these environments; `table` is its table's path."""
    (tmp_path / "script.py").write_text(SCRIPT)
    monkeypatch.setattr("tools.portable.__main__.ROOT", tmp_path)
    monkeypatch.setattr("tools.portable.__main__.TABLE", tmp_path / "machines.csv")

    def run(places: list[Environment], *options: str):
        monkeypatch.setattr("tools.portable.__main__.environments", lambda everything: places)
        return CliRunner().invoke(main, options)

    run.table = tmp_path / "machines.csv"
    lines = [COLUMNS, line("one", "a", "9").values(), line("elsewhere", "a", "8").values()]
    run.table.write_text("".join(",".join(cells) + "\n" for cells in lines))
    return run


ONE, TWO = place("one", "a", "1"), place("two", "a", "2")
OTHER, LOST = place("last", "b", "3"), place("lost", "b", "3", probe="no such Python")


def test_same_exact_hash_and_different_float32_hashes_are_success(portable):
    before = portable.table.read_bytes()
    result = portable([ONE, place("BLIS", "a", "2", "libblis.so."), LOST])
    assert result.exit_code == 0, result.output
    assert "not on this machine: no such Python" in result.stdout
    assert "exact: 2 runs, distinct hashes: 1" in result.stdout
    assert "float32: 2 runs, distinct hashes: 2" in result.stdout
    assert portable.table.read_bytes() == before


@pytest.mark.parametrize(
    ("places", "options", "words"),
    [
        ([ONE, OTHER], ["--write"], "the exact hashes differ: a (one) and b (last)"),
        ([ONE, place("last", "a", "3", "mkl.so.")], [], "used libblis.so.4, not mkl.so. (last)"),
        ([ONE, ONE], ["--write"], "float32 gave the same hash everywhere"),
        ([LOST], [], "none of these environments"),
        ([ONE, TWO], ["tow"], "no environment tow; expected one of: one; two."),
    ],
)
def test_failure_is_one_sentence_and_nothing_is_written(portable, places, options, words):
    before = portable.table.read_bytes()
    result = portable(places, *options)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert words in result.stderr
    assert portable.table.read_bytes() == before
