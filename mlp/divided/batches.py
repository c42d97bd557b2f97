"""The mini-batches of each epoch for a team: which images, in which order, and distorted or not."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlp.distortions import Distortion
from mlp.divided.team import Team, cut_evenly, shared
from mlp.protocol import Split
from mlp.random import ORDER, permutation, stream

ROWS = 1000  # images read or copied at once: they fit into the processor's cache


@dataclass
class Batches:
    """The training images in mini-batches, their pixels divided among the parts of a team.

    Distorted images are made a block of batches ahead, by all processes together.

    Attributes:
        pixels: the order of the pixels, those of one part of the team after those of another.
        images: its pixels, (n, pixels) uint8, of all images, or of distorted ones; for each part.
        ends: how many of its pixels each image needs, (n,), for each part. The others are black.
        count: batches in an epoch.
    """

    training: Split
    batch_size: int
    seed: int
    distortion: Distortion | None
    is_black_0: bool  # whether a black pixel's input is 0
    team: Team

    def __post_init__(self) -> None:
        originals, parts = self.training.images, self.team.parts
        self.count = len(originals) // self.batch_size
        by_use = pixels_by_use(originals)
        self._parts = [by_use[part :: len(parts)] for part in parts]
        self.pixels = np.concatenate(self._parts)
        if self.distortion is None:
            self.images = columns(originals, self._parts)
        else:
            self._block = max(ROWS // self.batch_size, 1)  # batches
            (self._originals,) = columns(originals, [np.arange(originals.shape[1])])
            rows = self._block * self.batch_size
            shapes = [(rows, len(pixels)) for pixels in self._parts]
            self.images = [shared(np.zeros(shape, np.uint8)) for shape in shapes]
        self.ends = [shared(self._ends(part)) for part in self.images]
        self._epoch = -1
        self._made = shared(np.array([-1]))  # the block in `images`, from 0 in the first epoch

    def batch(self, epoch: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of `images` in a batch, and their labels. All numbers are from 0."""
        if epoch != self._epoch:
            order = permutation(stream(self.seed, ORDER, epoch), len(self.training.labels))
            self._epoch, self._order = epoch, order
            # Column by column in memory, as the logits in `softmax`
            self._labels = self.training.labels.T[:, order].T
        first = number * self.batch_size
        labels = self._labels[first : first + self.batch_size]
        if self.distortion is None:
            return self._order[first : first + self.batch_size], labels
        block, place = divmod(number, self._block)
        made = self._epoch * self.count + block
        if self._made[0] != made:
            self._distort(self.distortion, block)
            # All write it, after a barrier: till then, each sees that the block is not made
            self._made[0] = made
        return np.arange(place * self.batch_size, (place + 1) * self.batch_size), labels

    def pixels_of(self, rows: np.ndarray) -> np.ndarray:
        """Return some rows of `images` with the pixels of all parts, (rows, pixels) uint8."""
        return np.concatenate([images[rows] for images in self.images], axis=1)

    def _distort(self, distortion: Distortion, block: int) -> None:
        """Put the distorted images of a block into `images`. Each process makes some of them."""
        start = block * len(self.images[0])
        stop = min(start + len(self.images[0]), self.count * self.batch_size)
        order = self._order[start:stop]
        for part in self.team.parts:
            rows = cut_evenly(len(order), len(self.images))[part]
            first = start + rows.start
            made = distortion.distort(self._originals[order[rows]], self.seed, self._epoch, first)
            for images, pixels in zip(self.images, self._parts, strict=True):
                np.take(made, pixels, axis=1, out=images[rows], mode="clip")
        self.team.barrier()
        for part in self.team.parts:
            self.ends[part][: len(order)] = self._ends(self.images[part][: len(order)])

    def _ends(self, images: np.ndarray) -> np.ndarray:
        return ends(images) if self.is_black_0 else np.full(len(images), images.shape[1])


def pixels_by_use(images: np.ndarray) -> np.ndarray:
    """Return the numbers of the pixels of images, (n, features) uint8: the most often lit first."""
    counts = np.zeros(images.shape[1], np.int64)
    for start in range(0, len(images), 255):  # a byte can count them, which is fastest
        lit = images[start : start + 255] != 0
        counts += lit.sum(axis=0, dtype=np.uint8)
    return np.argsort(-counts, kind="stable")


def columns(images: np.ndarray, parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the pixels of each part, from images, (n, features) uint8: (n, pixels) each."""
    found = [np.empty((len(images), len(pixels)), np.uint8) for pixels in parts]
    for start in range(0, len(images), ROWS):
        rows = images[start : start + ROWS]
        for some, pixels in zip(found, parts, strict=True):
            np.take(rows, pixels, axis=1, out=some[start : start + ROWS], mode="clip")
    return found


def ends(images: np.ndarray) -> np.ndarray:
    """Return how many pixels, (n,), images, (n, pixels) uint8, have up to the last lit one."""
    found = np.zeros(len(images), np.int64)
    for start in range(0, len(images) if images.size else 0, ROWS):
        # Bits are an eighth of the bytes to search
        bits = np.packbits(images[start : start + ROWS], axis=1, bitorder="little")
        last = bits.shape[1] - 1 - (bits != 0)[:, ::-1].argmax(axis=1)  # byte with a bit that is 1
        byte = bits[np.arange(len(bits)), last]
        found[start : start + ROWS] = np.where(byte, 8 * last + np.frexp(byte)[1], 0)
    return found
