"""How much the fault tests do."""

import os

SCALE = float(os.environ.get("FAULTS_SCALE", "1"))  # how many times the usual number of kills
SEED = int(os.environ.get("FAULTS_SEED", "0"))


def times(number: int) -> int:
    """Return how often to do what is usually done `number` times."""
    return max(1, round(number * SCALE))
