"""Bring a dataset's four files to `data/raw/`, verified by their SHA-256."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.program.command import DatasetsFile, ParamsFile, command


@command
def download(
    raw: Annotated[
        Path, typer.Argument(help="The folder that the four files are written to.", show_default=True)
    ] = Path("data/raw"),
    params: ParamsFile = Path("params.yaml"),
    datasets: DatasetsFile = Path("datasets.yaml"),
    mirror: Annotated[
        str | None,
        typer.Option(
            envvar="DATA_MIRROR",
            help="Take the files from here and nowhere else: a folder, file://, https:// or http://. "
            "They may be gzipped, and must have the checksums of the datasets file.",
            show_default="the dataset's mirrors, in turn",
        ),
    ] = None,
) -> None:
    """Download the images and labels, decompress them, and check that they are what they should be.

    Files that are there already and are right are not fetched again.
    """
    from pipeline.fetching.sources import fetch, load_dataset, parse_mirror  # here, so that --help answers at once
    from pipeline.settings.params import load_params

    dataset = load_dataset(datasets, load_params(params).download.dataset)
    only = parse_mirror(mirror, insecure=True) if mirror else None
    fetch(dataset, raw, only, report=lambda line: typer.echo(line, err=True))
    typer.echo(f"{raw}: {dataset.name}, {len(dataset.files)} files, verified.")


if __name__ == "__main__":
    download()
