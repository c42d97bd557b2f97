"""The mini-batches of each epoch: which images, in which order, and distorted or not."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlp.distortions import Distortion
from mlp.network import Split
from mlp.random import ORDER, permutation, stream
from mlp.team import Team, cut_evenly, shared

ROWS = 1000  # images read or copied at once: they fit into the processor's cache


@dataclass
class Batches:
    """The training images in mini-batches. Each epoch has a new order, and leaves out a remainder
    below a batch.

    Distorted images are made a block of batches ahead, by all processes together.

    Attributes:
        pixels: the pixels that are trained, those of one part of the team after those of another.
        images: one array for each part, (n, pixels) uint8: its pixels of all training images, or of
            distorted ones.
        ends: one array for each part: how many of its pixels each image needs, (n,). Its others are
            black.
        count: batches in an epoch.
    """

    training: Split
    batch_size: int
    seed: int
    distortion: Distortion | None
    all_pixels: bool  # whether to train the pixels, too, that are black in all images
    black_adds_nothing: bool  # whether a black pixel's input is 0
    team: Team

    def __post_init__(self) -> None:
        originals, parts = self.training.images, self.team.parts
        self.count = len(originals) // self.batch_size
        by_use = pixels_by_use(originals, self.all_pixels or self.distortion is not None)
        self._parts = [by_use[part :: len(parts)] for part in parts]
        self.pixels = np.concatenate(self._parts)
        if self.distortion is None:
            self.images = columns(originals, self._parts)
        else:
            self._block = max(ROWS // self.batch_size, 1)  # batches
            (self._originals,) = columns(originals, [np.arange(originals.shape[1])])
            rows = self._block * self.batch_size
            self.images = [
                shared(np.zeros((rows, len(pixels)), np.uint8)) for pixels in self._parts
            ]
        self.ends = [shared(self._ends(part)) for part in self.images]
        self._epoch = -1
        # The block in `images`, counted from the first of the first epoch
        self._made = shared(np.array([-1]))

    def batch(self, epoch: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of `images` that a batch of an epoch has, both from 0, and their
        labels.
        """
        if epoch != self._epoch:
            self._epoch, self._order = (
                epoch,
                permutation(stream(self.seed, ORDER, epoch), len(self.training.labels)),
            )
            # Column by column in memory, as the logits in `softmax`
            self._labels = self.training.labels.T[:, self._order].T
        first = number * self.batch_size
        labels = self._labels[first : first + self.batch_size]
        if self.distortion is None:
            return self._order[first : first + self.batch_size], labels
        block, place = divmod(number, self._block)
        made = self._epoch * self.count + block
        if self._made[0] != made:
            self._distort(self.distortion, block)
            # By all of them, after they have met: till then, each sees that it is not made
            self._made[0] = made
        return np.arange(place * self.batch_size, (place + 1) * self.batch_size), labels

    def pixels_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the trained pixels of some rows of `images`, (rows, pixels) uint8."""
        parts = [images[rows] for images in self.images]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _distort(self, distortion: Distortion, block: int) -> None:
        """Put the distorted images of a block into `images`.

        Each process makes some of them, all of their pixels.
        """
        start = block * len(self.images[0])
        order = self._order[start : min(start + len(self.images[0]), self.count * self.batch_size)]
        for part in self.team.parts:
            rows = cut_evenly(len(order), len(self.images))[part]
            made = distortion.distort(
                self._originals[order[rows]], self.seed, self._epoch, start + rows.start
            )
            for images, pixels in zip(self.images, self._parts, strict=True):
                np.take(made, pixels, axis=1, out=images[rows], mode="clip")
        self.team.meet()
        for part in self.team.parts:
            self.ends[part][: len(order)] = self._ends(self.images[part][: len(order)])

    def _ends(self, images: np.ndarray) -> np.ndarray:
        return ends(images) if self.black_adds_nothing else np.full(len(images), images.shape[1])


def pixels_by_use(images: np.ndarray, black_too: bool = False) -> np.ndarray:
    """Return the pixels that are lit in some of the images, (n, features) uint8, the most often lit
    ones first.

    If `black_too`, those that are black in all images follow.
    """
    counts = np.zeros(images.shape[1], np.int64)
    for start in range(0, len(images), ROWS):
        counts += np.count_nonzero(images[start : start + ROWS], axis=0)
    return np.argsort(-counts, kind="stable")[
        : len(counts) if black_too else np.count_nonzero(counts)
    ]


def columns(images: np.ndarray, parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the pixels of each part, from images, (n, features) uint8: one array, (n, pixels), for
    each part.
    """
    found = [np.empty((len(images), len(pixels)), np.uint8) for pixels in parts]
    for start in range(0, len(images), ROWS):
        rows = images[start : start + ROWS]
        for some, pixels in zip(found, parts, strict=True):
            np.take(rows, pixels, axis=1, out=some[start : start + ROWS], mode="clip")
    return found


def ends(images: np.ndarray) -> np.ndarray:
    """Return how many pixels each of the images, (n, pixels) uint8, has up to its last lit one:
    (n,).
    """
    found = np.full(len(images), images.shape[1])
    for start in range(0, len(images) if images.size else 0, ROWS):
        found[start : start + ROWS] -= (images[start : start + ROWS, ::-1] != 0).argmax(axis=1)
    return found
