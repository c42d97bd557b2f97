"""`make verify-portable` hashes the bytes of files, in each Python that it names, where NumPy is all there is."""

import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest

from tests.conftest import ROOT
from tools.portable.__main__ import pythons
from tools.portable.short_run import hash_of


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
