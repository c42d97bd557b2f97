"""Draw what the records show: digits as training distorts them, and the mistakes that five networks have in common."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.program.command import command

SHOWN, EPOCHS = 10, 5  # training images, and how many distortions of each


@command
def main(
    params: Annotated[Path, typer.Argument(help="A record with distortions.")],
    images: Annotated[Path, typer.Argument(help="The training images.")],
    evaluation: Annotated[Path, typer.Argument(help="What the committee's evaluation wrote.")],
    results: Annotated[list[Path], typer.Argument(help="The results of the committee's networks.")],
    distorted: Annotated[Path, typer.Option(help="Output: the figure of distorted digits.")],
    mistakes: Annotated[Path, typer.Option(help="Output: the figure of the mistakes that all make.")],
) -> None:
    """Draw distorted training images, and the test images that a committee and each of its networks get wrong."""
    import numpy as np  # here, so that --help answers at once

    from pipeline.drawing.figures import draw_misclassified, draw_training_images, picture, use_own_settings
    from pipeline.program.files import read_json, write_bytes
    from pipeline.settings.params import load_params
    from pipeline.store.artifacts import load_misclassified, load_prepared
    from pipeline.training.method import distortion_of

    settings = load_params(params)
    prepared = load_prepared(images)
    shape = prepared.preparation.image_shape
    shown = prepared.split.images[:SHOWN]
    distortion = distortion_of(settings, shape)
    made = [distortion.distort(shown, seed=0, epoch=epoch, first=0) for epoch in range(EPOCHS)] if distortion else []

    wrong = set.intersection(*({place for place, _, _ in read_json(path)["wrong"]} for path in results))
    every = load_misclassified(evaluation / "misclassified.npz")
    chosen = np.isin(every.place, sorted(wrong))
    columns = {name: getattr(every, name)[chosen] for name in ("images", "actual", "predicted", "probability", "place")}

    common = int(np.count_nonzero(chosen))
    title = f"The {common} mistakes that all {len(results)} networks and their committee make"

    use_own_settings()
    for path, figure in (
        (distorted, draw_training_images(shown.reshape(-1, *shape), [some.reshape(-1, *shape) for some in made])),
        (mistakes, draw_misclassified(every._replace(**columns), common, title)),
    ):
        write_bytes(path, picture(figure, settings.plot.dpi))


if __name__ == "__main__":
    main()
