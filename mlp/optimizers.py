"""How a gradient changes a parameter."""

from typing import NamedTuple

import numpy as np


class GradientDescent(NamedTuple):
    """Gradient descent: w ← w − η ∂L/∂w."""

    learning_rate: float  # η

    def update(self, parameter: np.ndarray, gradient: np.ndarray) -> None:
        """Change `parameter`, an array of any shape, in place. Overwrite `gradient`, which has the same shape.

        The change is elementwise, so the arrays may also be parts of a parameter and its gradient.
        """
        gradient *= self.learning_rate
        parameter -= gradient
