"""Plain float64, for comparison: the formulas as they stand, without grids."""

import numpy as np

from mlp.arithmetic import Arithmetic


class Float64(Arithmetic):
    """NumPy's own operations in float64."""

    name = "float64"
    dtype = np.float64
