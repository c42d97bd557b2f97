"""Counts what the fault tests do, and prints the sums at the end of the run."""

import collections
from collections.abc import Callable, Iterator

import pytest
from conftest import new_project

from faults.common import Pipeline
from faults.sweeps import AXES, POINTS, Sweeps, states, trees

LINES = [
    ("SIGKILL", "processes killed"),
    ("leaders", "of these leaders of a sweep; others were its workers and nannies"),
    ("points", "experiments of killed sweeps: each ended once, as undisturbed"),
    ("Ctrl-C", "processes interrupted"),
    ("system", "refusals of the system: disk full, folder read-only"),
    ("storage", "damages to what DVC keeps"),
    ("damaged", "damaged or hostile files read"),
    ("refused", "of these refused with one sentence"),
    ("accepted", "of these read, and what was read is right"),
    ("continued", "killed trainings that went on after their last checkpoint"),
    ("reached", "epochs that these had finished before the kill"),
    ("kept", "of these not done again"),
    ("compared", "outputs compared after a fault: each is old or new as a whole"),
]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the sum of what the tests have counted."""
    counted: collections.Counter[str] = collections.Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "teardown":
                counted.update(dict(report.user_properties))
    if counted:
        terminalreporter.section("faults")
        for name, meaning in LINES:
            terminalreporter.write_line(f"{counted[name]:8,}  {name:9} {meaning}")


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Iterator[collections.Counter]:
    """A counter. The sums over all tests are printed at the end of the run."""
    counter: collections.Counter[str] = collections.Counter()
    yield counter
    for name, number in counter.items():
        record_property(name, number)


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A small pipeline that the tests of single stages share."""
    return Pipeline(new_project(tmp_path_factory.mktemp("pipeline")))


@pytest.fixture(scope="session")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Sweeps:
    """A project with remotes, to start sweeps in."""
    return Sweeps(tmp_path_factory.mktemp("sweeps"))


@pytest.fixture(scope="session")
def undisturbed(sweeps: Sweeps) -> dict[str, str]:
    """The files of each experiment, from a sweep on this machine that nothing disturbs."""
    code, printed = sweeps.sweep("local", *AXES, "--control", "0.25")
    assert code == 0, printed
    assert sorted([state for _, state in states(printed)]) == ["done"] * POINTS + ["same bytes"]
    found = trees(printed)
    assert len(found) == len(set(found.values())) == POINTS
    return found
