"""`tools.portable`: it compares the bytes of files in many surroundings, and keeps a table of machines."""

import platform
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from tests.conftest import ROOT
from tools.portable.__main__ import TABLE, main
from tools.portable.short_run import blas, hash_of, short_runs
from tools.portable.surroundings import Surroundings, pythons, surroundings
from tools.portable.table import Row, read_table, write_table


def loaded(code: str) -> set[str]:
    """Return the names of the modules and packages that there are in Python after it has run `code`."""
    code += "; import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return set(run.stdout.split())


def test_short_run_needs_numpy_and_nothing_else():
    distributions = packages_distributions()
    names = loaded("import tools.portable.short_run") - loaded("pass")
    assert {name for module in names for name in distributions.get(module, [])} == {"numpy"}


@pytest.mark.parametrize("change", ["a byte", "a name", "another file"])
def test_hash_sees(tmp_path, change):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "mlp.npz").write_bytes(b"1234")
    before = hash_of(tmp_path)
    if change == "a byte":
        (folder / "mlp.npz").write_bytes(b"1235")
    elif change == "a name":
        (folder / "mlp.npz").rename(folder / "other.npz")
    else:
        (folder / "empty").touch()
    assert hash_of(tmp_path) != before


def test_python_of_each_row_is_the_release_that_it_names():
    for version, python in pythons():
        if python == version:
            continue  # not installed
        found = subprocess.run([python, "--version"], check=True, capture_output=True, text=True).stdout
        assert found.split() == ["Python", version]


@pytest.fixture(scope="module")
def exact() -> str:
    """The exact hash of this code, as the table states it."""
    return short_runs("exact", 1)[:16]


def test_table_of_machines_states_the_hash_of_this_code(exact):
    assert {row.exact for row in read_table(TABLE)} == {exact}, (
        "if the code is meant to write other files: python -m tools.portable --write"
    )


# The command, where the short runs are a script that prints the hashes it is given

SCRIPT = """
import json, os, sys
if sys.argv[1] == "-c":
    sys.exit(os.environ["PROBE"] or 0)
if os.environ["EXACT"] == "":
    sys.exit("a run that fails")
facts = {"processor": "p", "system": "s", "python": "3", "numpy": "2", "blas": os.environ["LOADED"]}
print(json.dumps(facts | {"exact": os.environ["EXACT"] * 64, "float32": os.environ["FLOAT32"] * 64}))
"""


def row(name: str, exact: str, float32: str) -> Row:
    """Return the line of the table for hashes that repeat one digit."""
    processes = str(Surroundings("", []).processes)
    return Row(name, "p", "s", "3", "2", "libblis.so.4", processes, exact * 16, float32 * 16)


@pytest.fixture
def table(tmp_path) -> Path:
    return tmp_path / "machines.csv"


@pytest.fixture
def portable(tmp_path, monkeypatch, table) -> Callable[..., Result]:
    """A function that runs the command in these surroundings: (name, exact digit, float32 digit, needed BLAS).

    The last is optional. The loaded BLAS is `loaded`.
    """
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    def run(
        places: list[tuple[str, ...]], *options: str, missing: tuple[str, ...] = (), loaded: str = "libblis.so.4"
    ) -> Result:
        surroundings = [
            Surroundings(
                name,
                [sys.executable, str(script)],
                {
                    "EXACT": exact,
                    "FLOAT32": float32,
                    "LOADED": loaded,
                    "PROBE": "no such Python" if name in missing else "",
                },
                blas="".join(blas),
            )
            for name, exact, float32, *blas in places
        ]
        monkeypatch.setattr("tools.portable.__main__.surroundings", lambda: surroundings)
        return CliRunner().invoke(main, ["--table", str(table), *options])

    return run


def test_same_exact_hash_and_different_float32_hashes_are_success(portable, table):
    result = portable([("one", "a", "1"), ("two", "a", "2"), ("BLIS", "a", "2", "libblis.so.")])
    assert result.exit_code == 0
    assert "exact: 3 runs, distinct hashes: 1" in result.stdout
    assert "float32: 3 runs, distinct hashes: 2" in result.stdout
    assert not table.exists()


@pytest.mark.parametrize(
    ("last", "sentence"),
    [
        (("last", "b", "3"), f"the exact hashes differ: {'a' * 16} (one) and {'b' * 16} (last)."),
        (("last", "", "3"), "the short run failed (last)"),
    ],
    ids=["other exact hash", "failed run"],
)
def test_failure_is_one_sentence_and_nothing_is_written(portable, table, last, sentence):
    result = portable([("one", "a", "1"), ("two", "a", "2"), last], "--write")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {sentence}")
    assert not table.exists()


@pytest.mark.parametrize("loaded", ["libblas.so.3.12.1", "libmkl_rt.so.3 + libblas.so.3.12.1"])
def test_run_with_another_blas_than_its_name_says_is_a_failure(portable, loaded):
    places = [("one", "a", "1"), ("two", "a", "2"), ("MKL", "a", "3", "libmkl_rt.so.")]
    assert portable(places, loaded="libmkl_rt.so.3").exit_code == 0
    result = portable(places, loaded=loaded)
    assert result.exit_code == 1
    assert result.stderr == f"error: NumPy used {loaded}, not libmkl_rt.so. (MKL).\n"


def test_comparison_without_two_float32_hashes_shows_nothing(portable):
    result = portable([("one", "a", "1"), ("two", "a", "1")])
    assert result.exit_code == 1
    assert "float32" in result.stderr


def test_surroundings_that_the_machine_lacks_say_why_and_count_for_nothing(portable, table):
    result = portable([("one", "a", "1"), ("two", "a", "2"), ("lost", "b", "3")], "--write", missing=("lost",))
    assert result.exit_code == 0
    assert "not on this machine: no such Python" in result.stdout
    assert [row.name for row in read_table(table)] == ["one", "two"]


def test_hash_that_the_table_does_not_state_is_a_failure(portable, table):
    write_table(table, [row("elsewhere", "b", "1")])
    result = portable([("one", "a", "1"), ("two", "a", "2")])
    assert result.exit_code == 1
    assert f"{'b' * 16} (elsewhere) and {'a' * 16} (one)" in result.stderr


def test_write_replaces_lines_keeps_other_machines_and_drops_other_code(portable, table):
    write_table(table, [row("one", "a", "9"), row("elsewhere", "a", "8"), row("elsewhere, long ago", "b", "7")])
    assert portable([("one", "a", "1"), ("two", "a", "2")], "--write").exit_code == 0
    assert read_table(table) == [row("one", "a", "1"), row("elsewhere", "a", "8"), row("two", "a", "2")]


HEADER = ",".join(Row._fields)


@pytest.mark.parametrize(
    "content",
    ["name,exact\none,1\n", "name,exact\n", "a: [1", "", f"{HEADER}\nshort,1\n", f"{HEADER}\n{HEADER},more\n"],
)
def test_file_that_is_no_table_is_a_sentence(portable, table, content):
    table.write_text(content)
    result = portable([("one", "a", "1"), ("two", "a", "2")], "--write")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {table} ")
    assert table.read_text() == content


def test_add_writes_one_line_about_this_machine(portable, table, exact):
    write_table(table, [row("elsewhere", "a", "1")._replace(exact=exact)])
    assert portable([], "--add", "Mine, with a comma").exit_code == 0
    elsewhere, mine = read_table(table)
    assert elsewhere.name == "elsewhere"
    assert mine.name == "Mine, with a comma"
    assert mine.python == ".".join(map(str, sys.version_info[:3]))
    assert mine.exact == exact != mine.float32


def test_add_refuses_another_exact_hash_and_prints_both(portable, table, exact):
    write_table(table, [row("elsewhere", "b", "1")])
    result = portable([], "--add", "Mine")
    assert result.exit_code == 1
    assert "b" * 16 in result.stderr
    assert exact in result.stderr
    assert read_table(table) == [row("elsewhere", "b", "1")]


def test_add_and_write_exclude_each_other(portable):
    assert portable([], "--add", "Mine", "--write").exit_code == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists a process's memory")
def test_blas_is_the_file_that_is_loaded():
    assert ".so" in blas()


@pytest.mark.skipif((sys.platform, platform.machine()) != ("linux", "x86_64"), reason="elsewhere there are fewer")
def test_surroundings_are_many():
    names = [where.name for where in surroundings()]
    assert names[:2] == ["1 process, 1 thread", "1 process, 2 threads"]
    kernels = [f"OpenBLAS for {kernel}" for kernel in ("Haswell", "Sandybridge", "Nehalem", "Prescott")]
    assert {*kernels, "NumPy's vector code off", "reference BLAS", "BLIS", "Intel MKL", "aarch64, emulated"} <= set(
        names
    )
    for version in ("3.11", "3.12", "3.13"):
        assert any(name.startswith(f"Python {version}") for name in names)
