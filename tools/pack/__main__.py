"""Make a dataset of your own pictures: `python -m tools.pack photos flowers`."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from pipeline.program.command import DatasetsFile, command
from pipeline.program.errors import UserError, note


@command
def main(
    source: Annotated[Path, Argument(help="A folder with a subfolder per class, or a CSV file.")],
    name: Annotated[str, Argument(help="The dataset's name.")],
    size: Annotated[
        str | None, Option(metavar="ROWSxCOLUMNS", help="Such as 28x20.", show_default="28x28")
    ] = None,
    prepare: Annotated[
        Literal["fit", "digit"], Option(help="Keep all of a picture, or find what is drawn.")
    ] = "fit",
    invert: Annotated[bool, Option("--invert", help="Swap light and dark.")] = False,
    test_share: Annotated[float, Option(help="The share of each class for testing.")] = 0.2,
    seed: Annotated[int, Option(min=0, max=2**32 - 1, help="Which images become test images.")] = 0,
    datasets: DatasetsFile = Path("datasets.yaml"),
) -> None:
    """Make a dataset of pictures in a folder, or of pixels in a CSV file.

    It writes four IDX files into datasets/NAME, and adds NAME to datasets.yaml. Pictures become
    grey images of --size, rows × columns. With --prepare digit, a drawn digit or letter is found;
    tools.predict then does the same. In a CSV file, a row has the label and then the pixels of one
    image, 0 to 255; the first row may be a header. Without --size its images are square. A file
    that cannot be used is left out, with a sentence.
    """
    import shlex
    import tempfile

    from tools.pack.dataset import add, check_name, entry_of, gather, split, write_idx_files
    from tools.pack.images import csv_images, folder_images, shape_of

    check_name(name)
    if not 0 < test_share < 1:
        expected = "a number between 0 and 1, such as 0.2"
        raise UserError(f"--test-share is {test_share:g}; expected {expected}.")
    shape = None if size is None else shape_of(size)
    flags = {"whole": prepare == "fit", "inverted": invert}
    if source.is_dir():
        images = folder_images(source, shape or (28, 28), **flags)
    elif prepare == "digit":
        raise UserError("--prepare digit is for pictures; a CSV file has images already.")
    else:
        images, flags = csv_images(source, shape, invert), {}  # its images are no pictures

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        gathered = gather(source, images, folder / "spool")
        parts = split(source, gathered, test_share, seed)
        write_idx_files(folder, gathered, parts)
        is_new = add(datasets, name, entry_of(name, gathered.classes, flags, folder), folder)
        is_light = gathered.images.mean() > 127.5

    if is_light:
        cure = "leave out --invert" if invert else "--invert"
        note(f"note: the images are mostly light; networks learn light on black better: {cure}.")
    training = len(parts["train"])
    rows, columns = gathered.images.shape[1:]
    folder = datasets.parent / "datasets" / name
    counts = f"{training:,} training and {len(parts['test']):,} test images"
    size = f"{rows} × {columns} pixels"
    print(f"{folder}: {counts} of {size}, {len(gathered.classes)} classes.")
    print(f"{datasets}: {name} {'added' if is_new else 'was there already'}.")
    added, parent, file = (shlex.quote(str(path)) for path in (folder, folder.parent, datasets))
    print(f'Keep it:     dvc add {added} && git add {parent} {file} && git commit -m "Add {name}"')
    held_out = max(1, training // 10)
    iterations = min(max(2 * training, 2000), 50_000)  # some 200 epochs, with the default batches
    # With the defaults for MNIST, few images of many classes teach nothing
    values = f"train.weight_init_std=glorot train.learning_rate=0.5 train.iterations={iterations}"
    changes = f"-S download.dataset={name} -S preprocess.validation_size={held_out}"
    changes += "".join(f" -S {value}" for value in values.split())
    if (rest := training - held_out) < 100:  # the default batch
        changes += f" -S train.batch_size={max(1, rest // 10)}"
    print(f"Train on it: dvc exp run {changes}")


if __name__ == "__main__":
    main()
