"""How long does the page to draw on take from a move of the pen to the new bars?

    python -m benchmarks.draw [models/mlp.npz]

draws the drawings of tests/sample in headless Chromium, point by point, and prints the milliseconds of a move.
"""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from pipeline.program.command import command
from pipeline.store.artifacts import load_model
from tests.chromium import new_tab
from tests.drawings import drawings
from tools.draw.page import make_page

MOVE = """
strokes.flatMap(({width, points}, number) => points.map((point, n) => {
  if (n === 0) state.strokes.push({width, points: [point]});
  else extend(point);
  const start = performance.now();
  show();
  document.body.offsetHeight; // the browser computes the layout
  return performance.now() - start;
}))
"""


@command
def main(model: Annotated[Path, typer.Argument(help="The trained network.")] = Path("models/mlp.npz")) -> None:
    """Print the milliseconds from a move to the bars."""
    network = load_model(model)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "draw.html")
        page.write_text(make_page(network, "", None), encoding="utf-8")
        with new_tab(Path(folder, "chromium")) as tab:
            tab.screen(1280)
            tab.open(page)
            times: list[float] = []
            for drawing in drawings()[:100]:
                tab.run("clear(), show()")
                times += tab.run(f"(strokes => {MOVE.strip()})({json.dumps(drawing['strokes'])})")
    middle, late = np.percentile(times, [50, 99])
    sizes = "-".join(str(len(W)) for W in network.weights)
    print(f"{sizes}-{len(network.biases[-1])}: {len(times)} moves, median {middle:.1f} ms, 99 % within {late:.1f} ms")


if __name__ == "__main__":
    main()
