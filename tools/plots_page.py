"""Make the page of `dvc plots show` render without a network: `python -m tools.plots_page`, once after set-up.

DVC's own page fetches Vega's scripts from a CDN and is blank without it. This writes a page template that holds the
scripts, from the pinned package vl-convert-python, and names it in `.dvc/config.local`. Both stay out of Git. Without
them DVC uses its own page.
"""

import subprocess
import sys
from pathlib import Path

from pipeline.program.command import command
from pipeline.program.errors import UserError
from pipeline.program.files import write_text

TEMPLATE = "tmp/plots_page.html"  # from .dvc/, as DVC reads it
VEGA_LITE = "6.4"

# DVC replaces the words in single braces, and would put its CDN's scripts where {scripts} stands: so it does not.
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
// DVC's charts, made easier to read: larger than 300 by 300, a mark where there is a single epoch (a line alone would
// not show it), counts shown in the confusion matrix. No $schema: it is of an older Vega-Lite, and only warns.
const side = {width: 520, height: 400};
const embed = window.vegaEmbed;
window.vegaEmbed = (place, {$schema, ...spec}) => {
  spec = JSON.parse(JSON.stringify(spec), (key, value) => value === 300 ? side[key] ?? value : value);
  const epochs = new Set((spec.data?.values ?? []).map(row => row.epoch));
  for (const param of spec.params ?? []) if (param.name === "showValues") param.value = true;
  return embed(place, spec, {mode: "vega-lite", renderer: "svg", config: {
    axis: {labelFontSize: 12, titleFontSize: 13},
    header: {labelFontSize: 12, title: null},
    legend: {labelFontSize: 12, titleFontSize: 13, symbolSize: 300},
    line: {point: epochs.size === 1},
    range: {heatmap: {scheme: "blues"}},
    title: {fontSize: 15},
  }});
};
</script>
</head>
<body>
{plot_divs}
</body>
</html>
"""


@command
def main() -> None:
    """Write the page template into .dvc/tmp and let DVC use it."""
    from vl_convert import javascript_bundle

    if not Path(".dvc").is_dir():
        raise UserError("There is no folder .dvc here; run this at the root of the repository.")
    write_text(Path(".dvc", TEMPLATE), PAGE.replace("SCRIPTS", javascript_bundle(vl_version=VEGA_LITE)))
    dvc = [sys.executable, "-m", "dvc", "config", "--quiet", "--local"]
    if subprocess.run([*dvc, "plots.html_template", TEMPLATE]).returncode:
        raise UserError("DVC does not take the page template; see what it says above.")


if __name__ == "__main__":
    main()
