"""Let `dvc plots show` work without a network: run `python -m pipeline.plots_page` once, after the installation.

DVC's own page loads Vega's scripts from the network, and is blank without one. This program writes a page template with
the scripts in it, from the package vl-convert-python, and names it in `.dvc/config.local`. Git ignores both files.
"""

import subprocess
import sys
from pathlib import Path

from pipeline.program.command import command
from pipeline.program.errors import UserError
from pipeline.program.files import write_text

TEMPLATE = "tmp/plots_page.html"  # relative to .dvc/
VEGA_LITE = "6.4"

# DVC replaces {refresh_tag} and {plot_divs}. There is no {scripts}: DVC would put its links to the network there.
PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{refresh_tag}
<title>Plots</title>
<link rel="icon" href="data:,">
<style>
body { font-family: system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #222; }
body > div { margin: 2em 0; overflow-x: auto; }
body > .vega-embed { display: block; }
body > div[style] { border: 0 !important; text-align: left !important; display: flex; flex-wrap: wrap; gap: 1em; }
body > div[style] > div { border: 0 !important; max-width: 47%; }
body > div[style] > div:only-of-type { max-width: 100%; }
body > div > p { font-weight: bold; margin: 0; flex-basis: 100%; }
img { max-width: 100%; height: auto; }
table { border-collapse: collapse; }
td, th { border: 1px solid #ccc; padding: 0.3em 0.6em; }
</style>
<script>
SCRIPTS
</script>
<script>
// Without $schema: the templates name Vega-Lite 5, and a newer Vega-Lite warns about that.
const embed = window.vegaEmbed;
window.vegaEmbed = (place, {$schema, ...spec}) => embed(place, spec, {mode: "vega-lite", renderer: "svg", config: {
  axis: {labelFontSize: 12, titleFontSize: 13},
  header: {labelFontSize: 13},
  legend: {labelFontSize: 12, titleFontSize: 13},
  text: {fontSize: 12},
  title: {fontSize: 15, subtitleFontSize: 13, anchor: "start"},
}});
</script>
</head>
<body>
{plot_divs}
</body>
</html>
"""


@command
def main() -> None:
    """Write the page template into .dvc/tmp, and tell DVC to use it."""
    from vl_convert import javascript_bundle

    if not Path(".dvc").is_dir():
        raise UserError("There is no folder .dvc here; run this program in the root folder of the repository.")
    scripts = javascript_bundle(vl_version=VEGA_LITE)  # type: ignore[call-arg]  # the stub lacks a default
    write_text(Path(".dvc", TEMPLATE), PAGE.replace("SCRIPTS", scripts))
    dvc = [sys.executable, "-m", "dvc", "config", "--quiet", "--local"]
    if subprocess.run([*dvc, "plots.html_template", TEMPLATE]).returncode:
        raise UserError("DVC refused the page template; see its message above.")


if __name__ == "__main__":
    main()
