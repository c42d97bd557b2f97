"""What exact arithmetic costs in accuracy: the pipeline's training over several seeds, beside float64 and float32.

python -m benchmarks.accuracy
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as the train stage does, before NumPy is imported

import statistics
from pathlib import Path

from benchmarks.float64 import Float64
from mlp.arithmetic import ARITHMETICS, Arithmetic
from mlp.layers import ACTIVATIONS
from mlp.network import init_network
from mlp.team import available_processes
from mlp.training import kept, measure, new_state, train
from pipeline.program.command import command
from pipeline.settings.params import load_params
from pipeline.store.artifacts import load_prepared
from pipeline.training.method import method_of

SEEDS = range(5)


def test_accuracy(A: Arithmetic, seed: int) -> float:
    """Train as the train stage does, but for the seed and the arithmetic; return the accuracy on the test images."""
    params = load_params(Path("params.yaml"))
    knobs = params.train
    training, test = (load_prepared(Path("data/prepared", f"{name}.npz")) for name in ("train", "test"))
    activation, processes = ACTIVATIONS[knobs.activation], available_processes()
    network = init_network(knobs.hidden_sizes, activation, knobs.weight_init_std, A, training.preparation, seed)
    method = method_of(params, training.preparation.image_shape)._replace(seed=seed)
    state = new_state(network, method)
    for _ in train(state, training.split, method, processes=processes):
        pass
    return measure(kept(state, method), test.split, processes).accuracy


@command
def main() -> None:
    """Print the table, in Markdown."""
    columns = {"exact": [], "float64": [], "float32": []}
    print(f"| seed | {' | '.join(columns)} |\n|---|---|---|---|")
    for seed in SEEDS:
        for name, column in columns.items():
            column.append(test_accuracy({**ARITHMETICS, "float64": Float64()}[name], seed))
        print(f"| {seed} | {' | '.join(f'{column[-1]:.4f}' for column in columns.values())} |", flush=True)
    spread = (f"{statistics.mean(column):.4f} ± {statistics.stdev(column):.4f}" for column in columns.values())
    print(f"| mean ± standard deviation | {' | '.join(spread)} |")


if __name__ == "__main__":
    main()
