"""Draw a digit and see what the network thinks: `python -m tools.draw --open`."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.program.command import command
from pipeline.program.errors import UserError


@command
def draw(
    page: Annotated[Path, typer.Argument(help="Output: the page, one HTML file.")] = Path("draw.html"),
    model: Annotated[Path, typer.Option(help="The trained network.")] = Path("models/mlp.npz"),
    test: Annotated[Path, typer.Option(help="The test images, prepared.")] = Path("data/prepared/test.npz"),
    open_it: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Make a page to draw on. It shows the network's answer at every move, and needs no network connection.

    Without the file of test images, the page shows none, and no accuracy.
    """
    import hashlib  # here, so that --help answers at once
    import webbrowser

    from pipeline.evaluation.evaluation import evaluate
    from pipeline.program.files import check_distinct, write_text
    from pipeline.store.artifacts import load_model, load_prepared
    from tools.draw.page import make_page

    check_distinct(model, test, page)
    network = load_model(model)
    measured = None
    try:
        if test.exists():
            prepared = load_prepared(test)
            if prepared.preparation != network.preparation:
                raise UserError(
                    f"{model} was not trained on the preparation that {test} has; name its test images: --test FILE."
                )
            measured = prepared, evaluate(network, prepared.split)
        else:
            typer.echo(f"note: {test}: no such file; the page has no test images.", err=True)
        html = make_page(network, hashlib.md5(model.read_bytes()).hexdigest(), measured)
    except FloatingPointError:
        raise UserError(f"{model}: its weights are too large to compute with; train again.") from None
    write_text(page, html)
    typer.echo(f"{page}: {len(html.encode()) / 1e6:.1f} MB. Open it in a browser.")
    if open_it:
        webbrowser.open(page.absolute().as_uri())


if __name__ == "__main__":
    draw()
