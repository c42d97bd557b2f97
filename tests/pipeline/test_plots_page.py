"""The template of the plots page. tests/pipeline/test_plots_in_browser.py looks at the page itself."""

import pytest
from typer.testing import CliRunner

from pipeline.plots_page import main


@pytest.mark.parametrize(("folder", "words"), [("elsewhere", "root folder"), (".dvc/config", "DVC refused")])
def test_folder_without_dvc_or_with_a_broken_one_is_a_sentence(tmp_path, monkeypatch, folder, words):
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
    assert "html_template = tmp/plots_page.html\n" in (tmp_path / ".dvc" / "config.local").read_text()
