"""The network behind the interface of scikit-learn's classifiers. It needs NumPy alone."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np

from mlp.network import MLP
from mlp.optimizers import Optimizer, Schedule
from mlp.prediction import predict, quiet
from mlp.protocol import Preparation, Split
from mlp.training import Method, new_state, train


@dataclass(eq=False)
class Classifier:
    """A multi-layer perceptron for images of bytes. The same arguments give the same bits."""

    hidden_sizes: Sequence[int] = (50,)
    activation: str = "sigmoid"  # or tanh, relu
    weight_init_std: float | str = "glorot"  # or he, or a number
    epochs: int = 10
    batch_size: int = 100
    learning_rate: float = 0.5
    arithmetic: str = "exact"  # or float32
    seed: int = 0

    def fit(self, images: np.ndarray, labels: np.ndarray) -> Self:
        """Learn from images, (n, features) uint8, and labels, (n,). Errors are those of `train`."""
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        one_hot = np.eye(len(self.classes_), dtype=np.uint8)[numbers]
        shape, names = (1, np.shape(images)[-1]), tuple(map(str, self.classes_))
        preparation = Preparation(0.0, 1 / 255, shape, names)
        self.network_ = MLP.new(self, preparation)
        size, optimizer = self.batch_size, Optimizer(Schedule(self.learning_rate))
        n = self.epochs * (len(images) // size)
        method = Method(iterations=n, batch_size=size, seed=self.seed, optimizer=optimizer)
        split = Split(np.asarray(images), one_hot)
        list(train(new_state(self.network_, method), split, method))
        return self

    @quiet()
    def predict_proba(self, images: np.ndarray) -> np.ndarray:
        """Return the probability of each of `classes_`, (n, classes), for images."""
        return predict(self.network_, np.asarray(images))[0]

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the most probable label of each image, (n,)."""
        return self.classes_[self.predict_proba(images).argmax(axis=1)]

    def score(self, images: np.ndarray, labels: np.ndarray) -> float:
        """Return the share of the images whose label is predicted."""
        return np.count_nonzero(self.predict(images) == np.asarray(labels)) / len(labels)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def set_params(self, **arguments: Any) -> Self:
        """Change arguments by name."""
        vars(self).update(vars(replace(self, **arguments)))
        return self

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn, which alone asks, that this is a classifier."""
        tags = sys.modules["sklearn.utils"]
        kind = tags.ClassifierTags()
        return tags.Tags("classifier", tags.TargetTags(required=True), classifier_tags=kind)
