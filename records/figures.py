"""Draw what the records show: digits as training distorts them, and the mistakes that five networks have in common."""

from pipeline.program.command import command
from records.ledger import HERE, SEEDS

RECORD = "simard-elastic"
SHOWN, EPOCHS = 10, 5  # training images, and how many distortions of each


@command
def main() -> None:
    """Draw distorted training images, and the test images that a committee and each of its networks get wrong."""
    import numpy as np  # here, so that --help answers at once

    from pipeline.drawing.figures import draw_misclassified, draw_training_images, picture, use_own_settings
    from pipeline.program.files import read_json, write_bytes
    from pipeline.settings.params import load_params
    from pipeline.store.artifacts import load_misclassified, load_prepared
    from pipeline.training.method import distortion_of

    settings = load_params(HERE / f"{RECORD}.yaml")
    prepared = load_prepared(HERE / "prepared" / "mnist" / "train.npz")
    shape = prepared.preparation.image_shape
    shown = prepared.split.images[:SHOWN]
    distortion = distortion_of(settings, shape)
    assert distortion
    made = [distortion.distort(shown, seed=0, epoch=epoch, first=0).reshape(-1, *shape) for epoch in range(EPOCHS)]

    results = [read_json(HERE / "results" / f"{RECORD}-{seed}.json") for seed in SEEDS]
    wrong = set.intersection(*({place for place, _, _ in result["wrong"]} for result in results))
    mistakes = load_misclassified(HERE / "evaluation" / f"committee-{RECORD}" / "misclassified.npz")
    common = np.isin(mistakes.place, sorted(wrong))
    columns = ("images", "actual", "predicted", "probability", "place")
    mistakes = mistakes._replace(**{name: getattr(mistakes, name)[common] for name in columns})
    title = f"The {common.sum()} mistakes that all {len(results)} networks and their committee make"

    use_own_settings()
    distorted = draw_training_images(shown.reshape(-1, *shape), made, f"The first {SHOWN} training images")
    for name, figure in (("distorted", distorted), ("mistakes", draw_misclassified(mistakes, common.sum(), title))):
        write_bytes(HERE / "figures" / f"{name}.png", picture(figure, settings.plot.dpi))


if __name__ == "__main__":
    main()
