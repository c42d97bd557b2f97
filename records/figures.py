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

    settings = load_params(HERE / f"{RECORD}.yaml")
    prepared = load_prepared(HERE / "prepared" / "mnist" / "train.npz")
    shape = prepared.preparation.image_shape
    shown = prepared.split.images[:SHOWN]
    made = distorted(settings, shown, shape, EPOCHS)

    results = [read_json(HERE / "results" / f"{RECORD}-{seed}.json") for seed in SEEDS]
    wrong = set.intersection(*({place for place, _, _ in result["wrong"]} for result in results))
    mistakes = load_misclassified(HERE / "evaluation" / f"committee-{RECORD}" / "misclassified.npz")
    common = np.isin(mistakes.place, sorted(wrong))
    columns = ("images", "actual", "predicted", "probability", "place")
    mistakes = mistakes._replace(**{name: getattr(mistakes, name)[common] for name in columns})
    title = f"The {common.sum()} mistakes that all {len(results)} networks and their committee make"

    use_own_settings()
    first = draw_training_images(shown, made, shape)
    (axes,) = first.axes
    axes.set_title(axes.get_title().replace("Training images", f"The first {SHOWN} training images"))
    common_mistakes = draw_misclassified(mistakes, common.sum())
    (axes,) = common_mistakes.axes
    _, _, explained = axes.get_title().partition("\n")
    axes.set_title(f"{title}\n{explained}", size=10)
    save_figures(HERE / "figures", settings.plot.dpi, distorted=first, mistakes=common_mistakes)


if __name__ == "__main__":
    main()
