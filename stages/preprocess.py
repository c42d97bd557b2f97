"""Turn the dataset's IDX files into training, validation and test arrays."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import UserError, one_sentence_errors

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
@one_sentence_errors
def preprocess(
    raw: Annotated[Path, typer.Argument(help="Folder with the four IDX files.")] = Path("data/raw"),
    train: Annotated[Path, typer.Argument(help="Where the training images go.")] = Path("data/prepared/train.npz"),
    validation: Annotated[
        Path, typer.Argument(help="Where the images go that are held out of training to watch it.")
    ] = Path("data/prepared/validation.npz"),
    test: Annotated[Path, typer.Argument(help="Where the test images go.")] = Path("data/prepared/test.npz"),
    params: Annotated[Path, typer.Option(help="Parameter file: dataset, scaling, validation_size and seed.")] = Path(
        "params.yaml"
    ),
    datasets: Annotated[Path, typer.Option(help="Dataset file: the names of the classes.")] = Path("datasets.yaml"),
) -> None:
    """Check the images, hold some out for validation, flatten them and one-hot encode their labels.

    Pixels stay bytes on disk. Beside them stand the shift and the scale of the chosen scaling: the network's input is
    (byte - shift) * scale, formed when a mini-batch is.
    """
    import math

    import numpy as np

    from mlp.random import permutation
    from pipeline.arrays import Blocks, save_arrays
    from pipeline.idx import check_counts, read_images, read_labels
    from pipeline.one_hot import one_hot
    from pipeline.params import load_params
    from pipeline.scaling import scaling_of
    from pipeline.sources import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, load_dataset

    settings = load_params(params)
    classes = load_dataset(datasets, settings.download.dataset).classes
    knobs = settings.preprocess

    splits = []
    for images_name, labels_name in [(TRAIN_IMAGES, TRAIN_LABELS), (TEST_IMAGES, TEST_LABELS)]:
        images, labels = read_images(raw / images_name), read_labels(raw / labels_name, len(classes))
        check_counts(images, labels, raw / images_name, raw / labels_name)
        splits.append((images, labels))
    (images, labels), (test_images, test_labels) = splits
    if images.shape[1:] != test_images.shape[1:]:
        raise UserError(
            f"{raw / TEST_IMAGES}: expected images of {images.shape[1]} × {images.shape[2]} pixels as in "
            f"{TRAIN_IMAGES}, found {test_images.shape[1]} × {test_images.shape[2]}."
        )
    if knobs.validation_size >= len(images):
        raise UserError(
            f"{params}: preprocess.validation_size is {knobs.validation_size}; expected less than the {len(images)} "
            f"images in {raw / TRAIN_IMAGES}, so that some are left to train on."
        )

    # Sorted, so that the images keep their order: training shuffles them anyway
    order = permutation(np.random.PCG64(knobs.seed), len(images))
    held_out = np.sort(order[: knobs.validation_size])
    kept = np.sort(order[knobs.validation_size :])
    shift, scale = scaling_of(images.blocks(kept), knobs.scaling)

    features = math.prod(images.shape[1:])
    for path, all_images, all_labels, rows in [
        (train, images, labels, kept),
        (validation, images, labels, held_out),
        (test, test_images, test_labels, np.arange(len(test_images))),
    ]:
        save_arrays(
            path,
            images=Blocks((len(rows), features), all_images.dtype, all_images.blocks(rows)),
            labels=one_hot(all_labels[rows], len(classes)),
            shift=np.float64(shift),
            scale=np.float64(scale),
            image_shape=np.array(images.shape[1:], np.int64),
            classes=np.array(classes),
        )


if __name__ == "__main__":
    app()
