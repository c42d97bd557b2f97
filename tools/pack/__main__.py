"""Make a dataset of your own pictures: `python -m tools.pack photos flowers`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.program.command import DatasetsFile, command
from pipeline.program.errors import UserError, visible

DEFAULT_BATCH = 100  # in params.yaml


@command
def main(
    source: Annotated[Path, typer.Argument(help="A folder with a subfolder for each class, or a CSV file.")],
    name: Annotated[str, typer.Argument(help="The dataset's name.")],
    size: Annotated[
        str | None,
        typer.Option(
            metavar="ROWS[xCOLUMNS]",
            help="The images' size in pixels, such as 28x20. The images of a CSV file keep their size.",
            show_default="28; for a CSV file: square",
        ),
    ] = None,
    prepare: Annotated[
        Literal["fit", "digit"],
        typer.Option(help="fit: keep the proportions. digit: as tools.predict prepares pictures of digits."),
    ] = "fit",
    invert: Annotated[bool, typer.Option("--invert", help="Make light pixels dark, and dark ones light.")] = False,
    test_share: Annotated[float, typer.Option(help="The share of each class that becomes test images.")] = 0.2,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Which images become test images.")] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Write nothing if a file cannot be used.")] = False,
    datasets: DatasetsFile = Path("datasets.yaml"),
) -> None:
    """Make a dataset of pictures in a folder, or of pixels in a CSV file.

    It writes four IDX files into datasets/NAME, and adds NAME to datasets.yaml. The pictures become grey. In a CSV
    file, a row has the label and then the pixels of one image, 0 to 255; the first row may be a header. A file that
    cannot be used is left out, with a sentence.
    """
    import shlex
    import tempfile

    from tools.digits import prepare as prepare_digit
    from tools.pack.dataset import Entry, check_name, gather, idx_files, mostly_light, split
    from tools.pack.sources import check_shape, csv_images, folder_images
    from tools.resizing import fit

    check_name(name)
    if not 0 < test_share < 1:
        raise UserError(f"--test-share is {test_share:g}; expected a number between 0 and 1, such as 0.2.")
    shape = None if size is None else check_shape(size)
    left_out = 0

    def leave_out(sentence: str) -> None:
        nonlocal left_out
        left_out += 1
        typer.echo(visible(f"left out: {sentence}"), err=True)

    if source.is_dir():
        preparation = fit if prepare == "fit" else prepare_digit
        images = folder_images(source, shape or (28, 28), preparation, leave_out)
    elif prepare == "digit":
        raise UserError("--prepare digit is for pictures; a CSV file has images already.")
    else:
        images = csv_images(source, shape)

    with tempfile.TemporaryDirectory() as temporary:
        gathered = gather(source, images, Path(temporary, "images"), invert)
        if strict and left_out:
            raise UserError(f"{source}: {left_out} of its files cannot be used. With --strict, nothing is written.")
        train, test = split(source, gathered, test_share, seed)
        files = idx_files(gathered, train, test)
        entry = Entry.of(name, gathered.classes, files)
        is_new = entry.add(datasets, files)
        if mostly_light(gathered.images):
            cure = "leave out --invert" if invert else "--invert"
            typer.echo(f"note: the images are mostly light; networks learn light on black better: {cure}.", err=True)

    rows, columns = gathered.images.shape[1:]
    folder = datasets.parent / "datasets" / name
    typer.echo(
        f"{folder}: {len(train):,} training and {len(test):,} test images of {rows} × {columns} pixels, "
        f"{len(gathered.classes)} classes."
    )
    if left_out:
        typer.echo(f"{left_out} files were left out.", err=True)
    typer.echo(f"{datasets}: {name} {'added' if is_new else 'was there already'}.")
    added, parent, file = (shlex.quote(str(path)) for path in (folder, folder.parent, datasets))
    typer.echo(f'Keep it:     dvc add {added} && git add {parent} {file} && git commit -m "Add {name}"')
    held_out = max(1, len(train) // 10)
    changes = {
        "download.dataset": name,
        "preprocess.validation_size": held_out,
        "train.iterations": min(max(len(train), 1000), 50_000),  # some 100 epochs, with the default batches
    }
    if (rest := len(train) - held_out) < DEFAULT_BATCH:
        changes["train.batch_size"] = max(1, rest // 10)
    typer.echo("Train on it: dvc exp run " + " ".join(f"-S {key}={value}" for key, value in changes.items()))


if __name__ == "__main__":
    main()
