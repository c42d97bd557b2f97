"""Training by several processes, with the bits of `mlp.training.train`. See docs/parallel.md.

Reading it is optional. Nothing else in mlp knows this folder: without it, one process trains the
same network.
"""

from mlp.divided.training import train

__all__ = ["train"]
