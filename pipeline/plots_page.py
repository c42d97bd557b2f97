"""Let `dvc plots show` work without a network: run `python -m pipeline.plots_page` once.

DVC's own page loads Vega's scripts from the network, and is blank without one. This program writes
a page template with the scripts in it, from the package vl-convert-python, and names it in
`.dvc/config.local`. Git ignores both files.
"""

import subprocess
import sys
from pathlib import Path

from pipeline.program.command import command
from pipeline.program.errors import UserError
from pipeline.program.files import write_text

TEMPLATE = "tmp/plots_page.html"  # relative to .dvc/
VEGA_LITE = "6.4"


@command
def main() -> None:
    """Write the page template into .dvc/tmp, and tell DVC to use it."""
    from vl_convert import javascript_bundle

    if not Path(".dvc").is_dir():
        advice = "run this program in the root folder of the repository"
        raise UserError(f"There is no folder .dvc here; {advice}.")
    # DVC fills {refresh_tag} and {plot_divs}. Into {scripts} it would put links to the network.
    page = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
    scripts = javascript_bundle(vl_version=VEGA_LITE)  # type: ignore[call-arg]  # the stub lacks a default
    write_text(Path(".dvc", TEMPLATE), page.replace("SCRIPTS", scripts, 1))
    dvc = [sys.executable, "-m", "dvc", "config", "--quiet", "--local"]
    if subprocess.run([*dvc, "plots.html_template", TEMPLATE]).returncode:
        raise UserError("DVC refused the page template; see its message above.")


if __name__ == "__main__":
    main()
