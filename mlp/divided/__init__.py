"""Training by several processes, with the bits of `mlp.training.train`. Optional reading:
docs/parallel.md.

Nothing else in mlp knows this folder. Without it, one process trains the same network.
"""

from mlp.divided.training import train

__all__ = ["train"]
