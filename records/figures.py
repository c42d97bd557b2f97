"""Draw what the records show: digits as training distorts them, and the mistakes that five networks have in common."""

from pipeline.program.command import command
from records.ledger import HERE, SEEDS

RECORD = "simard-elastic"
SHOWN, EPOCHS = 10, 5  # training images, and how many distortions of each


@command
def main() -> None:
    """Draw distorted training images, and the test images that a committee and each of its networks get wrong."""
    import numpy as np  # here, so that --help answers at once

    from pipeline.drawing.figures import draw_misclassified, draw_training_images, save_figures, use_own_settings
    from pipeline.fitting.fit import distorted
    from pipeline.program.files import read_json
    from pipeline.settings.params import load_params
    from pipeline.store.artifacts import load_misclassified, load_prepared

    settings, prepared = load_params(HERE / f"{RECORD}.yaml"), load_prepared(HERE / "prepared" / "mnist" / "train.npz")
    shape, images = prepared.preparation.image_shape, prepared.split.images[:SHOWN]
    results = [read_json(HERE / "results" / f"{RECORD}-{seed}.json") for seed in SEEDS]
    wrong = set.intersection(*({place for place, _, _ in result["wrong"]} for result in results))
    mistakes = load_misclassified(HERE / "evaluation" / f"committee-{RECORD}" / "misclassified.npz")
    common = np.isin(mistakes.place, sorted(wrong))
    columns = ("images", "actual", "predicted", "probability", "place")
    mistakes = mistakes._replace(**{name: getattr(mistakes, name)[common] for name in columns})

    use_own_settings()
    first = draw_training_images(images, distorted(settings, images, shape, EPOCHS), shape)
    second = draw_misclassified(mistakes, common.sum())
    (above,), (axes,) = first.axes, second.axes
    above.set_title(above.get_title().replace("Training images", f"The first {SHOWN} training images"))
    title = f"The {common.sum()} mistakes that all {len(results)} networks and their committee make"
    axes.set_title("\n".join([title, *axes.get_title().split("\n")[1:]]), size=10)
    save_figures(HERE / "figures", settings.plot.dpi, distorted=first, mistakes=second)


if __name__ == "__main__":
    main()
