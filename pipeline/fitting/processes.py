"""How many processes train: as TRAIN_PROCESSES says, or as many as help."""

import contextlib
import itertools
import os
import sys
from pathlib import Path

from mlp.network import MLP
from mlp.protocol import Network
from pipeline.program.errors import UserError, clip

PROCESSES = "TRAIN_PROCESSES"  # the environment variable that sets the number
MOST = 64
# A container's share of the processor: microseconds of processor time in a period
QUOTA = Path("/sys/fs/cgroup/cpu.max")
# Products of a step for each process. With fewer, on two cores, they meet for longer than they save
LEAST_PRODUCTS = {"exact": 300_000, "float32": 1_000_000}


def available_processes() -> int:
    """Return how many cores this process may use; 1 where no BLAS survives a fork (macOS)."""
    if sys.platform != "linux":
        return 1
    cores = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):  # there is no quota
        quota, period = QUOTA.read_text().split()
        cores = min(cores, int(quota) // int(period))
    return max(cores, 1)


def helpful_processes(network: Network, batch_size: int) -> int:
    """Return how many processes help to train a network: 1, unless mlp.divided can divide it."""
    if not isinstance(network, MLP):
        return 1
    sizes = [*network.layer_inputs, len(network.preparation.classes)]
    products = sum(batch_size * m * n for m, n in itertools.pairwise(sizes))
    helpful = products // LEAST_PRODUCTS[network.arithmetic.name]
    return min(available_processes(), max(helpful, 1))


def processes_for(network: Network, batch_size: int) -> int:
    """Return how many processes share a step: as TRAIN_PROCESSES says, or as many as help.

    Raises:
        UserError: TRAIN_PROCESSES is no number from 1 to 64.
    """
    if not (text := os.environ.get(PROCESSES)):
        return helpful_processes(network, batch_size)
    if not (text.isdecimal() and 1 <= int(text) <= MOST):
        raise UserError(f"{PROCESSES} is {clip(text)}; expected a whole number from 1 to {MOST}.")
    return int(text) if isinstance(network, MLP) else 1
