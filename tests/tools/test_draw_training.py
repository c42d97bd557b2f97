"""The page trains with Python's bits: its scripts run here in Node, without a page."""

import hashlib

import pytest

from mlp.optimizers import SGD, Optimizer, Schedule
from mlp.prediction import measure
from mlp.protocol import Split
from mlp.random import SAMPLE, permutation, stream
from pipeline.store.artifacts import save_model
from tests.support import project
from tests.support.networks import MINMAX, digits, new_network, run
from tests.support.node import javascript, needs_node

PLAIN = {
    key.partition(".")[2]: value for key, value in project.PLAIN.items() if key.startswith("train.")
}
PLAIN |= {"batch_size": 50, "iterations": 550, "learning_rate": 0.5}
TANH, RELU = (
    {"activation": "tanh", "weight_init_std": "glorot"},
    {"activation": "relu", "weight_init_std": "he"},
)
MOMENTUM = {"momentum": 0.9, "learning_rate": 0.02}
TRAININGS = {
    "sigmoid": {},
    "tanh, momentum": {**TANH, **MOMENTUM},
    "relu, three hidden layers, momentum": {**RELU, **MOMENTUM, "hidden_sizes": [30, 20, 10]},
    "no hidden layer, the largest seed, an odd batch": {
        "hidden_sizes": [], "seed": 2**32 - 1, "batch_size": 33,
    },
    "tanh, two hidden layers": {**TANH, "hidden_sizes": [7, 12]},
    # The largest weight belongs to a pixel that is always black. It decides the grid, too
    "sigmoid, a black pixel's weight above a power of two": {"seed": 8, "weight_init_std": 0.01554},
    "relu, batches of one": {**RELU, "batch_size": 1, "learning_rate": 0.01},
}  # fmt: skip
STEPS = (1, 10, 550)


def as_json(split: Split) -> dict:
    return {"images": split.images.ravel().tolist(), "labels": split.labels.argmax(axis=1).tolist()}


@needs_node
@pytest.mark.parametrize("changes", TRAININGS.values(), ids=TRAININGS)
def test_training_in_javascript_has_the_bits_of_python(changes, tmp_path):
    """The model's file after 1, 10 and 550 steps, and the loss and the scores of each epoch."""
    settings = PLAIN | changes
    train, test = digits("train"), digits("test")
    validation = Split(test.images[:70], test.labels[:70])
    there = javascript(
        """(() => {
          const images = ({images, labels}) => new Images(Uint8Array.from(images), labels, 784);
          const [train, validation, test] = [data.train, data.validation, data.test].map(images);
          const training = new Training(data.settings, {train, validation, test}, data.preparation);
          const run = training.run(), files = [];
          while (!run.next().done) {
            if (!data.steps.includes(training.iteration) || files[training.iteration]) continue;
            files[training.iteration] = md5(modelFile(training.network));
          }
          const made = data.steps.map(steps => files[steps]);
          return {files: made, epochs: training.epochs, test: training.test};
        })()""",
        {
            "settings": settings,
            "steps": STEPS,
            "train": as_json(train),
            "validation": as_json(validation),
            "test": as_json(test),
            "preparation": {"scale": 1 / 255, "image_shape": [28, 28], "classes": MINMAX.classes},
        },
    )
    # As the pipeline trains
    s, seed = settings, settings["seed"]
    optimizer = Optimizer(Schedule(s["learning_rate"]), SGD(s["momentum"]))
    some = sorted(permutation(stream(seed, SAMPLE), len(train.labels))[: len(validation.labels)])
    watched = Split(train.images[some], train.labels[some]), validation
    for steps, md5 in zip(STEPS, there["files"], strict=True):
        network = new_network(
            "exact", s["hidden_sizes"], s["activation"], s["weight_init_std"], seed=seed
        )
        epochs = run(
            network,
            steps,
            s["batch_size"],
            seed=seed,
            training=train,
            watched=watched,
            optimizer=optimizer,
        )
        save_model(tmp_path / "mlp.npz", network)
        assert hashlib.md5((tmp_path / "mlp.npz").read_bytes()).hexdigest() == md5, (
            f"after {steps} steps"
        )
    assert len(there["epochs"]) == len(epochs)
    for found, epoch in zip(there["epochs"], epochs, strict=True):
        assert (found["epoch"], found["iteration"], found["loss"]) == epoch[:3]
        assert found["scores"] == [score._asdict() for score in epoch.scores]
    assert there["test"] == measure(network, test)._asdict()
