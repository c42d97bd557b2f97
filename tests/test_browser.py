"""The page of `dvc plots show` in a real browser that has no network."""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FIGURES = ["accuracy", "confusion", "loss", "misclassified", "weights"]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

# Goes before everything else in the page, notes what goes wrong, and in the end what is there.
PROBE = """
<script>
const errors = [];
const consoleError = console.error;
console.error = (...words) => { errors.push(words.join(" ")); consoleError(...words); };
addEventListener("unhandledrejection", event => errors.push(`${event.reason}`));
addEventListener("error", event => errors.push(event.message ?? event.target.outerHTML.slice(0, 200)), true);
const marks = chart => [...chart.querySelectorAll("g[class*=role-mark] > path, g[class*=role-mark] > text")];
setInterval(() => {
  document.querySelector("#probe")?.remove();
  const seen = document.body.appendChild(document.createElement("pre"));
  seen.id = "probe";
  seen.hidden = true;
  seen.textContent = JSON.stringify({
    errors,
    requests: performance.getEntriesByType("resource").map(entry => entry.name),
    images: [...document.images].map(image => [image.getAttribute("src"), image.naturalWidth]),
    charts: Object.fromEntries([...document.querySelectorAll(".vega-embed")].map(chart => [chart.id, {
      marks: marks(chart).filter(mark => mark.getBBox().width + mark.getBBox().height > 0).length,
      words: [...chart.querySelectorAll("svg text")].map(text => text.textContent),
    }])),
  });
}, 200);
</script>
"""


def chromium(page: Path, *options: str) -> str:
    """Open a page in Chromium without a network and return what it writes to standard output."""
    cut = ["unshare", "--map-root-user", "--net"]
    try:
        subprocess.run([*cut, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        cut = []  # not Linux, or not permitted: then only names do not resolve
    command = [
        *cut,
        CHROMIUM,
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={page.parent / 'chromium'}",
        "--virtual-time-budget=10000",
        *options,
        page.as_uri(),
    ]
    return subprocess.run(command, check=True, capture_output=True, encoding="utf-8", timeout=120).stdout


def look(page: Path) -> dict:
    """Return what the probe sees in a page: errors, requests, images, charts."""
    probed = page.with_name("probed.html")
    probed.write_text(page.read_text(encoding="utf-8").replace("<head>", "<head>" + PROBE, 1), encoding="utf-8")
    found = re.search(r'<pre id="probe".*?>(.*?)</pre>', chromium(probed, "--dump-dom"), re.DOTALL)
    return json.loads(html.unescape(found[1]))


def screenshot(page: Path, name: str) -> None:
    """Leave a picture of the page for people, in the folder that $SCREENSHOTS names, if it does."""
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        chromium(page, "--window-size=1200,6000", f"--screenshot={Path(folder, name).absolute()}")


def test_plots_page_needs_no_network(project):
    """One long test: the second half compares the results of the first."""
    project.run("dvc", "repro")
    page = project.folder / "dvc_plots" / "index.html"

    # DVC's own page is blank: what this test is about, and a sign that the network is cut and the probe sees it
    project.run("dvc", "plots", "show")
    seen = look(page)
    assert seen["charts"] == {}
    assert seen["errors"]
    assert any(request.startswith("https:") for request in seen["requests"])

    project.run("python", "-m", "tools.plots_page")
    project.run("dvc", "plots", "show")
    screenshot(page, "plots-show.png")
    check(look(page), revisions=["workspace"])

    # Two revisions, in which not everything is the same
    project.run("git", "add", "--all")
    project.run("git", "-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "-q", "-m", "Results")
    project.set_params(project.small | {"train.learning_rate": 0.5})
    project.run("dvc", "repro")
    project.run("dvc", "plots", "diff")
    screenshot(page, "plots-diff.png")
    check(look(page), revisions=["HEAD", "workspace"])

    # Of a single epoch there is something to see, too
    project.set_params(project.small | {"train.iterations": 1})
    project.run("dvc", "repro")
    project.run("dvc", "plots", "show")
    screenshot(page, "plots-show-one-epoch.png")
    check(look(page), revisions=["workspace"], cells=10)  # by now the network knows one answer, and it has one column


def check(seen: dict, revisions: list[str], cells: int = 100) -> None:
    """Check that a page shows all charts and images, for each revision, and wanted nothing from the network."""
    assert seen["errors"] == []
    assert all(request.startswith(("file:", "data:")) for request in seen["requests"])

    assert sorted(Path(name).name for name, _ in seen["images"]) == sorted(
        f"{revision}_metrics_figures_{figure}.png" for revision in revisions for figure in FIGURES
    )
    assert all(width > 0 for _, width in seen["images"])

    accuracy = ["Accuracy after each epoch", "epoch", "train_accuracy", "validation_accuracy"]
    loss = ["Loss of each epoch", "mean cross-entropy (nats per image)", "validation_loss"]
    words = {
        "metrics_history_csv": [*accuracy, *loss, *revisions],
        "metrics_confusion_csv": ["predicted class", "actual class", *"0123456789", *revisions],
        "metrics_classes_json": ["F1 by class, test images", *"0123456789", *revisions],
    }
    assert seen["charts"].keys() == words.keys()
    for name, chart in seen["charts"].items():
        assert chart["marks"] >= 2 * len(revisions), name
        assert set(words[name]) <= set(chart["words"]), name
    assert seen["charts"]["metrics_confusion_csv"]["marks"] >= cells * len(revisions)
