"""How a gradient changes a parameter."""

from typing import NamedTuple

import numpy as np


class GradientDescent(NamedTuple):
    """Gradient descent: w ← w − η ∂L/∂w."""

    learning_rate: float  # η

    def update(self, parameter: np.ndarray, gradient: np.ndarray) -> None:
        """Change `parameter`, of any shape, in place. `gradient`, of the same shape, is overwritten.

        Each number changes by itself, so that a part of a parameter may be given alone.
        """
        gradient *= self.learning_rate
        parameter -= gradient
