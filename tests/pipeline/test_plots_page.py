"""The page of `dvc plots show`: its template, and its look in a browser without a network."""

import time

import pytest
from typer.testing import CliRunner

from pipeline.plots_page import main
from tests.support.chromium import CHROMIUM, new_tab
from tests.support.project import Project

BROKEN = [("elsewhere", "root folder"), (".dvc/config", "DVC refused")]


@pytest.mark.parametrize(("folder", "words"), BROKEN)
def test_folder_without_dvc_or_a_broken_one_is_a_sentence(tmp_path, monkeypatch, folder, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / folder).mkdir(parents=True)
    result = CliRunner().invoke(main, [])
    assert (result.exit_code, words in result.stderr) == (1, True)


def test_template_has_the_scripts_and_dvc_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    result = CliRunner().invoke(main, [])
    assert (result.exit_code, result.output) == (0, "")
    page = (tmp_path / ".dvc" / "tmp" / "plots_page.html").read_text(encoding="utf-8")
    assert "{plot_divs}" in page
    assert len(page) > 500_000  # Vega and Vega-Lite
    config = (tmp_path / ".dvc" / "config.local").read_text()
    assert "html_template = tmp/plots_page.html\n" in config


# What the page shows
PROBE = """
({
  requests: performance.getEntriesByType("resource").map(entry => entry.name),
  images: [...document.images].map(image => image.naturalWidth),
  charts: Object.fromEntries([...document.querySelectorAll(".vega-embed")].map(chart =>
    [chart.id, chart.querySelectorAll(".mark-line path, .mark-text.role-mark text").length])),
})
"""


def look(project: Project, charts: int) -> dict:
    """Return what is in the page that has drawn its charts: errors, requests, images, charts."""
    with new_tab(project.folder / "chromium") as tab:
        tab.screen(1200)
        tab.open(project.folder / "dvc_plots" / "index.html")
        deadline, drawn = time.monotonic() + 60, "document.querySelectorAll('.vega-embed svg')"
        while tab.run(f"{drawn}.length") < charts and time.monotonic() < deadline:
            time.sleep(0.1)
        return tab.run(PROBE) | {"errors": tab.errors}


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_plots_page_needs_no_network(project_with_results):
    project = project_with_results
    # DVC's own page is blank. So the network is cut, and the probe sees it.
    project.dvc("plots", "show")
    seen = look(project, 0)
    assert (seen["charts"], seen["errors"] != []) == ({}, True)
    assert any(request.startswith("https:") for request in seen["requests"])

    project.run("python", "-m", "pipeline.plots_page")
    project.dvc("plots", "show")
    check(look(project, 3), revisions=1)
    project.set_params(project.small | {"train.learning_rate": 0.5})
    project.dvc("repro")
    project.dvc("plots", "diff", "HEAD")
    check(look(project, 3), revisions=2)


def check(seen: dict, revisions: int) -> None:
    """Check that a page shows all charts and images of some revisions, without the network."""
    assert seen["errors"] == []
    assert all(request.startswith(("file:", "data:")) for request in seen["requests"])
    assert len(seen["images"]) == 3 * revisions
    assert min(seen["images"]) > 0
    charts = seen["charts"]
    assert charts.keys() == {"metrics_history_csv", "metrics_confusion_csv", "metrics_classes_json"}
    assert charts["metrics_history_csv"] == 4 * revisions
    assert charts["metrics_classes_json"] == 10 * revisions
    assert charts["metrics_confusion_csv"] >= 10 * revisions
