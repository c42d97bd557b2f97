"""The loop over epochs of mlp/training.py, for a team of processes."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from mlp import training as undivided
from mlp.divided.batches import Batches
from mlp.divided.pace import Pace
from mlp.divided.step import DividedStep
from mlp.divided.team import LEADER, Team, cut_evenly, shared
from mlp.layers import cross_entropy
from mlp.network import MLP, step
from mlp.prediction import CHUNK, quiet, score_of, terms_of
from mlp.protocol import Split
from mlp.regularization import Mask
from mlp.training import DivergedError, Epoch, Method, State


def train(
    state: State, training: Split, method: Method, watched: Sequence[Split] = (), processes: int = 1
) -> Iterator[Epoch]:
    """Train a multi-layer perceptron as `mlp.training.train` does, by several processes.

    In exact arithmetic the bits are the same. Then as many of the `processes` work as are fastest
    now. All need a BLAS of one thread. The parameters become arrays in shared memory.

    Raises:
        ValueError, ArithmeticError, DivergedError: those of `mlp.training.train`.
        ChildProcessError: a process ended early, or hangs.
    """
    undivided.check_arguments(state.network, training, method, watched)
    team = Team(processes)
    training = method.smoothed(training, state.network)
    loop = _Loop(state, training, method, watched, team)
    with team.start(loop.take_steps, loop.evaluate):
        while not undivided.is_finished(state, method, loop.batches.count):
            try:
                yield loop.epoch()
            except FloatingPointError:
                loop.copy_back()
                layer = undivided.failing_layer(state.network)
                raise DivergedError(loop.iteration, layer) from None


class _Loop:
    """A training in progress. The team runs its tasks `take_steps` and `evaluate`."""

    def __init__(
        self, state: State, training: Split, method: Method, watched: Sequence[Split], team: Team
    ):
        self.state, self.method, self.team = state, method, team
        network, optimizer, size = state.network, method.optimizer, method.batch_size
        if not isinstance(network, MLP):
            raise ValueError(f"{network} is no multi-layer perceptron; expected one to divide")
        self.network = network
        network.weights[:] = map(shared, network.weights)
        network.biases[:] = map(shared, network.biases)
        state.opt_state[:] = [[shared(array) for array in arrays] for arrays in state.opt_state]

        is_black_0 = network.preparation.shift == 0.0
        self.batches = Batches(training, size, method.seed, method.distortion, is_black_0, team)
        # Of the first layer, the parameters in the order of the divided pixels
        pixels = self.batches.pixels
        first = shared(network.weights[0][pixels])
        self.divided = replace(network, weights=[first, *network.weights[1:]])
        first_state = [shared(array[pixels]) for array in state.opt_state[0]]
        self.opt_state = [first_state, *state.opt_state[1:]]
        images, ends = self.batches.images, self.batches.ends
        self.divided_step = DividedStep(
            self.divided, images, ends, size, optimizer, self.opt_state, team
        )

        self.span = shared(np.zeros(2, np.int64))  # iterations before and after the steps to take
        self.pace, self.deadline = Pace(len(team.parts)), 0.0
        shape, dtype = (2, self.batches.count, size), network.arithmetic.dtype
        self.terms = shared(np.zeros(shape, dtype))  # of the loss
        self.watched, self.measured = watched, []  # the arrays of `terms_of` for each
        for split in watched:
            n = len(split.labels)
            self.measured.append((shared(np.zeros((2, n), dtype)), shared(np.zeros(n, np.bool_))))

    @quiet()
    def epoch(self) -> Epoch:
        """Take the remaining steps of an epoch; return its results. Errors: see `Team.run`."""
        state, count = self.state, self.batches.count
        start = state.iteration
        number, taken = divmod(start, count)
        after = min((number + 1) * count, self.method.iterations)
        while start < after:
            processes, seconds = self.pace.next()
            began = time.perf_counter()
            self.deadline, self.span[:] = began + seconds, (start, after)
            self.team.run(0, processes)
            end = int(self.span[1])
            self.pace.tell(processes, (time.perf_counter() - began) / (end - start))
            start = end
        self.copy_back()
        if self.watched:
            self.team.run(1, self.pace.best)
        terms = self.terms[:, taken : after - number * count].reshape(2, -1)
        loss = cross_entropy(self.network.arithmetic, terms)
        state.iteration = after
        scores = [score_of(self.network, terms, right) for terms, right in self.measured]
        return undivided.finish_epoch(state, self.method, number + 1, loss, scores)

    def copy_back(self) -> None:
        """Put the parameters of the first layer, and its state, into their usual order."""
        pixels = self.batches.pixels
        self.network.weights[0][pixels] = self.divided.weights[0]
        for whole, divided in zip(self.state.opt_state[0], self.opt_state[0], strict=True):
            whole[pixels] = divided

    @quiet()
    def take_steps(self) -> None:
        # In exact arithmetic all divisions have the same bits, and one process is fastest undivided
        is_whole = len(self.team.parts) == len(self.batches.images)
        alone = is_whole and self.network.arithmetic.name == "exact"
        iteration = int(self.span[0])
        while iteration < self.span[1]:
            if LEADER in self.team.parts and time.perf_counter() > self.deadline:
                self.span[1] = iteration + 1  # the others see it after a barrier of this step
            self.iteration = iteration + 1
            epoch, number = divmod(iteration, self.batches.count)
            rows, t = self.batches.batch(epoch, number)
            masks, terms = self.masks(iteration), self.terms[:, number]
            if alone:
                X, optimizer = self.batches.pixels_of(rows), self.method.optimizer
                terms[...] = step(self.divided, X, t, optimizer, self.opt_state, iteration, masks)
            else:
                self.divided_step(rows, t, terms, iteration, masks)
            iteration += 1

    def masks(self, iteration: int) -> list[Mask]:
        """Return the masks of a step, the first one for the pixels in their divided order."""
        sizes, method = self.network.layer_inputs, self.method
        first, *later = method.dropout.masks(sizes, method.batch_size, method.seed, iteration)
        if first.keep is not None:
            keep = np.take(first.keep, self.batches.pixels, axis=1, mode="clip")
            first = first._replace(keep=keep)
        return [first, *later]

    @quiet()
    def evaluate(self) -> None:
        parts = len(self.batches.images)
        for (images, labels), (terms, right) in zip(self.watched, self.measured, strict=True):
            for part in self.team.parts:
                whole = cut_evenly(len(labels), parts)[part]
                for start in range(whole.start, whole.stop, CHUNK):
                    rows = slice(start, min(start + CHUNK, whole.stop))
                    found = terms_of(self.network, images[rows], labels[rows])
                    terms[:, rows], right[rows] = found
