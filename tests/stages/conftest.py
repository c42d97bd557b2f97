"""A pipeline that several modules disturb."""

import pytest

from tests.support.project import new_project


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory):
    """A small pipeline whose stages can be disturbed one by one."""
    from tests.support.faults import Pipeline  # needs Unix

    return Pipeline(new_project(tmp_path_factory.mktemp("pipeline")))
