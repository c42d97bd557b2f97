"""Draw a digit, and train in the browser: `python -m tools.draw --open`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.program.command import command
from pipeline.program.errors import UserError

TEST = Path("data/prepared/test.npz")


@command
def draw(
    page: Annotated[Path, typer.Argument(help="Output: one HTML file.")] = Path("draw.html"),
    model: Annotated[Path, typer.Option(help="The trained network.")] = Path("models/mlp.npz"),
    test: Annotated[Path, typer.Option(help="The test images, prepared.")] = TEST,
    without_data: Annotated[
        bool, typer.Option("--without-data", help="Leave out the part that trains.")
    ] = False,
    open_it: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Make a page to draw on. It shows the network's answer at every move, and needs no network
    connection.

    In its second part the browser trains the network, and says whether it has
    the bytes that this folder's dvc.lock states. Without the file of test
    images, the page shows none, and no accuracy.
    """
    import webbrowser  # here, so that --help answers at once

    from pipeline.program.files import check_distinct, write_text
    from pipeline.store.artifacts import load_mlp
    from tools.draw.page import make_page, measured
    from tools.draw.proof import load_proof

    lock = Path("dvc.lock")
    check_distinct(model, test, lock, page)
    network = load_mlp(model)
    data: dict[str, Any] = {}
    files = {"model": model.read_bytes()}
    if test.exists():
        data |= measured(network, model, test)
    else:
        typer.echo(f"note: {test}: no such file; the page has no test images.", err=True)
    if not without_data:
        try:
            data["proof"], packed = load_proof(lock, network.preparation)
            files |= packed
        except UserError as error:
            typer.echo(f"note: the page does not train: {error}", err=True)
    html = make_page(network, data, files)
    write_text(page, html)
    typer.echo(f"{page}: {len(html.encode()) / 1e6:.1f} MB. Open it in a browser.")
    if open_it:
        webbrowser.open(page.absolute().as_uri())


if __name__ == "__main__":
    draw()
