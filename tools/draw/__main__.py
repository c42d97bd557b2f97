"""Draw a digit, see what the network thinks, and train it in the browser: `python -m tools.draw
--open`.
"""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.program.command import command
from pipeline.program.errors import UserError


@command
def draw(
    page: Annotated[Path, typer.Argument(help="Output: the page, one HTML file.")] = Path(
        "draw.html"
    ),
    model: Annotated[Path, typer.Option(help="The trained network.")] = Path("models/mlp.npz"),
    test: Annotated[Path, typer.Option(help="The test images, prepared.")] = Path(
        "data/prepared/test.npz"
    ),
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

    from pipeline.evaluation.evaluation import evaluate
    from pipeline.program.files import check_distinct, write_text
    from pipeline.store.artifacts import load_mlp, load_prepared
    from tools.draw.page import make_page
    from tools.draw.proof import load_proof

    check_distinct(model, test, Path("dvc.lock"), page)
    network = load_mlp(model)
    measured = proof = None
    try:
        if test.exists():
            prepared = load_prepared(test)
            if prepared.preparation != network.preparation:
                what = f"{model} was not trained on the preparation that {test} has"
                raise UserError(f"{what}; name its test images: --test FILE.")
            measured = prepared, evaluate(network, prepared.split)
        else:
            typer.echo(f"note: {test}: no such file; the page has no test images.", err=True)
        if not without_data:
            try:
                proof = load_proof(Path("dvc.lock"), network.preparation)
            except UserError as error:
                typer.echo(f"note: the page does not train: {error}", err=True)
        html = make_page(network, model.read_bytes(), measured, proof)
    except FloatingPointError:
        what = f"{model}: its weights are too large to compute with"
        raise UserError(f"{what}; train with a smaller train.learning_rate.") from None
    write_text(page, html)
    typer.echo(f"{page}: {len(html.encode()) / 1e6:.1f} MB. Open it in a browser.")
    if open_it:
        webbrowser.open(page.absolute().as_uri())


if __name__ == "__main__":
    draw()
