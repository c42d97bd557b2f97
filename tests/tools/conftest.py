"""What the tests of several tools share."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support import chromium
from tests.support.browsers import CHROMIUM
from tests.support.project import ROOT, Project, captured
from tools.lock.shown import described


@pytest.fixture
def quick_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools that start `python -m dvc` get it in this process, where it starts at once."""
    start = subprocess.run

    def run(command, cwd=".", env=None, **options):
        listing = Path(command[2]).name == "shown.py"
        if command[2:4] != ["-m", "dvc"] and not listing:
            return start(command, cwd=cwd, env=env, **options)
        from dvc.cli import main
        from dvc.exceptions import DvcException
        from dvc.repo import Repo

        with monkeypatch.context() as patch, chdir(cwd), captured() as printed:
            for name in os.environ.keys() - (env or os.environ).keys():
                patch.delenv(name)
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            try:
                if listing:
                    with Repo() as repo:
                        print(json.dumps(described(repo, *command[3:])))
                    code = 0
                else:
                    code = main(command[4:])
            except DvcException as error:
                print(error)
                code = 1
        text = printed[0] if options.keys() & {"text", "encoding"} else printed[0].encode()
        return subprocess.CompletedProcess(command, code, stdout=text, stderr=text)

    monkeypatch.setattr(subprocess, "run", run)


@pytest.fixture
def small(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_dvc: None) -> Project:
    """A copy of the project that a test's module made. It is the current folder."""
    shutil.copytree(made, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # one tool starts another
    return Project(tmp_path / "project")


@pytest.fixture(scope="session")
def make() -> Callable[..., Path]:
    """A function that makes the page of a project."""

    from tools.draw.__main__ import draw  # here: the tools of `make copy` are tested without it

    def page_of(folder: Path, page: str = "page.html") -> Path:
        with chdir(folder):
            done = CliRunner().invoke(draw, [page])
        assert done.exit_code == 0, done.output
        return folder / page

    return page_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make: Callable[..., Path]) -> Path:
    """A project with the sample's digits and a trained network, and the page."""
    from tests.support.proofs import new_proven_project

    folder = new_proven_project(tmp_path_factory.mktemp("project"))
    make(folder)
    return folder


@pytest.fixture
def page(browser: chromium.Tab, folder: Path) -> Iterator[chromium.Tab]:
    """The page of a test's folder, just opened. It must neither complain nor ask for anything."""
    browser.screen(1280)
    browser.open(folder / "page.html")
    yield browser
    assert browser.errors == []
    asked = (
        "performance.getEntriesByType('resource').filter(e => !/^(data|blob):/.test(e.name)).length"
    )
    assert browser.run(asked) == 0


@pytest.fixture(scope="module", params=[CHROMIUM])
def browser(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[chromium.Tab]:
    """An empty tab; of Firefox, where a test asks for it."""
    with request.param.new_tab(tmp_path_factory.mktemp("browser") / "profile") as tab:
        yield tab
