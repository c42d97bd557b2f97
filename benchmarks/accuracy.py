"""What exact arithmetic costs in accuracy: the pipeline's training over several seeds, beside float64 and float32.

python -m benchmarks.accuracy
"""

import statistics
from pathlib import Path

import numpy as np

from mlp.arithmetic import ARITHMETICS, Float32
from mlp.network import accuracy, init_network, logits
from mlp.team import available_processes
from mlp.training import train
from pipeline.artifacts import load_prepared
from pipeline.params import load_params

SEEDS = range(5)


class Float64(Float32):
    """Plain float64, for comparison."""

    dtype = np.float64


def test_accuracy(arithmetic: str, seed: int) -> float:
    """Train as the train stage does, but for the seed and the arithmetic; return the accuracy on the test images."""
    knobs = load_params(Path("params.yaml")).train
    names = ("train", "validation", "test")
    training, validation, test = (load_prepared(Path("data/prepared", f"{name}.npz")) for name in names)
    source = np.random.PCG64(seed)
    network = init_network(
        [training.split.images.shape[1], *knobs.hidden_sizes, len(training.classes)],
        knobs.activation,
        knobs.weight_init_std,
        training.shift,
        training.scale,
        arithmetic,
        source,
    )
    splits, processes = (training.split, validation.split), available_processes()
    for _ in train(network, *splits, knobs.iterations, knobs.batch_size, knobs.learning_rate, source, processes):
        pass
    return accuracy(logits(network, test.split.images).argmax(axis=1), test.split.labels)


def main() -> None:
    """Print the table, in Markdown."""
    ARITHMETICS["float64"] = Float64()
    print("| seed | exact | float64 | float32 |\n|---|---|---|---|")
    columns = {"exact": [], "float64": [], "float32": []}
    for seed in SEEDS:
        for arithmetic, column in columns.items():
            column.append(test_accuracy(arithmetic, seed))
        print(f"| {seed} | {' | '.join(f'{column[-1]:.4f}' for column in columns.values())} |", flush=True)
    spread = (f"{statistics.mean(column):.4f} ± {statistics.stdev(column):.4f}" for column in columns.values())
    print(f"| mean ± standard deviation | {' | '.join(spread)} |")


if __name__ == "__main__":
    main()
