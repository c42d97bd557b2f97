"""Sweeps that several modules need."""

import pytest

from tests.support.sweeps import AXES, POINTS, Sweeps, states, trees


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
