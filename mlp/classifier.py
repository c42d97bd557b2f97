"""The network behind the interface of scikit-learn's classifiers. It needs NumPy alone."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from mlp.network import init_network
from mlp.optimizers import SGD, Optimizer, Schedule
from mlp.prediction import predict, quiet
from mlp.protocol import Preparation, Split
from mlp.training import Method, new_state, train


@dataclass(eq=False)
class Classifier:
    """A multi-layer perceptron for images of bytes, trained by mini-batch gradient descent.

    The same arguments and images give the same bits on every machine. Pixels become numbers from 0
    to 1. After `fit`, `classes_` has the labels that were seen, and `network_` the network.
    """

    hidden_sizes: Sequence[int] = (50,)
    activation: str = "sigmoid"  # or tanh, relu
    weight_init_std: float | str = "glorot"  # or he, or a number
    epochs: int = 10
    batch_size: int = 100
    learning_rate: float = 0.5
    momentum: float = 0.0
    arithmetic: str = "exact"  # or float32
    seed: int = 0

    def fit(self, images: np.ndarray, labels: np.ndarray) -> Self:
        """Learn from images, (n, features) uint8, and their labels, (n,).

        Raises:
            ValueError: an argument is wrong; the text says which.
            DivergedError: a number is no longer finite; see `mlp.training.train`.
        """
        images, labels = np.asarray(images), np.asarray(labels)
        if images.ndim != 2 or labels.shape != images.shape[:1]:
            found = f"found images {images.shape} and labels {labels.shape}"
            raise ValueError(f"expected images (n, features) and labels (n,); {found}")
        self.classes_, indices = np.unique(labels, return_inverse=True)
        names = tuple(map(str, self.classes_))
        preparation = Preparation(0.0, 1 / 255, (1, images.shape[1]), names)
        self.network_ = init_network(
            self.hidden_sizes,
            self.activation,
            self.weight_init_std,
            self.arithmetic,
            preparation,
            self.seed,
        )
        batch_size = min(self.batch_size, len(images))
        steps = self.epochs * (len(images) // max(batch_size, 1))
        optimizer = Optimizer(Schedule(self.learning_rate), SGD(self.momentum))
        method = Method(
            iterations=steps, batch_size=batch_size, seed=self.seed, optimizer=optimizer
        )
        one_hot = np.eye(len(names), dtype=np.uint8)[indices]
        for _ in train(new_state(self.network_, method), Split(images, one_hot), method):
            pass
        return self

    @quiet()
    def predict_proba(self, images: np.ndarray) -> np.ndarray:
        """Return the probability of each of `classes_`, (n, classes), for images like those of
        `fit`.
        """
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
        for name, value in arguments.items():
            if name not in self.get_params():
                raise ValueError(f"there is no argument {name}")
            setattr(self, name, value)
        return self
