"""The page of `dvc plots show` in a real browser that has no network."""

import time
from pathlib import Path

import pytest
import yaml

from tests.support.chromium import CHROMIUM, new_tab

TEST_IMAGES = 200  # in the sample
FIGURES = ["misclassified", "training_images", "weights"]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

DIGITS = list("0123456789")
CLOTHES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
BLUE, VERMILLION = "#0072B2", "#D55E00"

# What the page shows
PROBE = """
(() => {
  const all = (element, selector) => [...element.querySelectorAll(selector)];
  const texts = (element, selector) => all(element, selector).map(text => text.textContent).filter(Boolean);
  return {
    requests: performance.getEntriesByType("resource").map(entry => entry.name),
    images: [...document.images].map(image => [image.getAttribute("src"), image.naturalWidth]),
    charts: Object.fromEntries(all(document, ".vega-embed").map(chart => [chart.id, {
      words: texts(chart, "svg text"),
      legend: texts(chart, ".role-legend-label text"),
      lines: all(chart, ".mark-line path").map(line => [
        line.getAttribute("stroke"), line.getAttribute("stroke-dasharray") === "4,2", line.getBBox().width]),
      points: all(chart, ".mark-symbol.role-mark path").filter(point => point.getBBox().width > 0).length,
      panels: all(chart, "g.cell > g").map(panel => ({
        title: texts(panel, ".role-title-text text")[0],
        axes: all(panel, ".role-axis-label").map(axis => texts(axis, "text")),
        values: texts(panel, ".mark-text.role-mark text").map(Number),
      })),
    }])),
  };
})()
"""
DRAWN = "document.querySelectorAll('.vega-embed svg').length"


def look(page: Path, charts: int) -> dict:
    """Return what is in a page, once it has drawn its charts: errors, requests, images, charts."""
    with new_tab(page.parent / "chromium") as tab:
        tab.screen(1200)
        tab.open(page)
        deadline = time.monotonic() + 60
        while tab.run(DRAWN) < charts and time.monotonic() < deadline:
            time.sleep(0.1)
        return tab.run(PROBE) | {"errors": tab.errors}


def test_plots_page_needs_no_network(project_with_results):
    """One long test: `dvc plots diff` needs the results of several runs."""
    project = project_with_results
    page = project.folder / "dvc_plots" / "index.html"

    # DVC's own page is blank. So the network is cut, and the probe sees it.
    project.dvc("plots", "show")
    seen = look(page, 0)
    assert seen["charts"] == {}
    assert seen["errors"]
    assert any(request.startswith("https:") for request in seen["requests"])

    # One revision: a colour for training, another for validation
    project.run("python", "-m", "pipeline.plots_page")
    project.dvc("plots", "show")
    history = check(look(page, 3), {"workspace": DIGITS})
    assert history["legend"] == ["training", "validation"]
    assert [line[:2] for line in history["lines"]] == 2 * [[BLUE, False], [VERMILLION, True]]
    assert history["points"] == 0

    # Three revisions, and another dataset: each revision has its own colour and classes
    project.set_params(project.small | {"train.learning_rate": 0.5})
    project.dvc("repro")
    project.commit("Slower")
    datasets = project.folder / "datasets.yaml"
    content = yaml.safe_load(datasets.read_text(encoding="utf-8"))
    content["mnist"]["classes"] = CLOTHES
    datasets.write_text(yaml.safe_dump(content), encoding="utf-8")
    project.dvc("repro")
    project.dvc("plots", "diff", "HEAD~1", "HEAD", "workspace")
    history = check(look(page, 3), {"HEAD~1": DIGITS, "HEAD": DIGITS, "workspace": CLOTHES})
    assert set(history["legend"]) == {"HEAD~1", "HEAD", "workspace"}
    assert len({(colour, dashed) for colour, dashed, _ in history["lines"]}) == 6

    # A single epoch: points, as a line has no length
    project.set_params(project.small | {"train.iterations": 1})
    project.dvc("repro")
    project.dvc("plots", "show")
    history = check(look(page, 3), {"workspace": CLOTHES})
    assert history["points"] == 4


def check(seen: dict, revisions: dict[str, list[str]]) -> dict:
    """Check that a page shows all charts and images for each revision without the network; return the history's chart.

    Args:
        seen: what the probe saw.
        revisions: the names of each revision's classes.
    """
    assert seen["errors"] == []
    assert all(request.startswith(("file:", "data:")) for request in seen["requests"])

    assert sorted(Path(name).name for name, _ in seen["images"]) == sorted(
        f"{revision}_metrics_figures_{figure}.png" for revision in revisions for figure in FIGURES
    )
    assert all(width > 0 for _, width in seen["images"])

    charts = seen["charts"]
    assert charts.keys() == {"metrics_history_csv", "metrics_confusion_csv", "metrics_classes_json"}
    history = charts["metrics_history_csv"]
    assert {"Accuracy after each epoch", "Loss of each epoch", "epoch"} <= set(history["words"])
    assert "mean cross-entropy (nats per image)" in history["words"]
    assert len(history["lines"]) == 4 * len(revisions)
    assert all(width > 0 for *_, width in history["lines"]) or history["points"]

    confusion, scores = charts["metrics_confusion_csv"], charts["metrics_classes_json"]
    assert {"predicted class", "actual class"} <= set(confusion["words"])
    assert "F1 by class, test images" in scores["words"]
    for chart in (confusion, scores):
        assert {panel["title"] for panel in chart["panels"]} == set(revisions)
    for panel in confusion["panels"]:
        assert panel["axes"] == 2 * [sorted(revisions[panel["title"]])]
        assert sum(panel["values"]) == TEST_IMAGES
    for panel in scores["panels"]:
        assert revisions[panel["title"]] in panel["axes"]
        assert len(panel["values"]) == len(revisions[panel["title"]])
        assert all(0 <= value <= 1 for value in panel["values"])
    return history
