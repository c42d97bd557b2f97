"""The template of the plots page. test_browser.py looks at the page itself."""

from typer.testing import CliRunner

from pipeline.plots_page import main


def test_folder_without_dvc_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 1
    assert "root folder of the repository" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_template_has_the_scripts_and_dvc_is_told(project):
    result = project.run("python", "-m", "pipeline.plots_page")
    assert result.stderr == ""
    page = (project.folder / ".dvc" / "tmp" / "plots_page.html").read_text(encoding="utf-8")
    assert "{plot_divs}" in page
    assert len(page) > 500_000  # Vega and Vega-Lite
    assert project.run("dvc", "config", "plots.html_template").stdout == "tmp/plots_page.html\n"
