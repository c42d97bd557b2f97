"""Images with their classes as a dataset of the pipeline: four IDX files, and an entry in datasets.yaml."""

import hashlib
import json
import math
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.images.hold_out import hold_out
from pipeline.program.errors import UserError, clip
from pipeline.program.files import write_bytes, written_whole
from pipeline.settings.datasets import SAVED_AS, load_dataset
from pipeline.settings.plain_yaml import load_plain_yaml, parse_plain_yaml
from pipeline.store.arrays import StoredRows
from tools.pack.sources import Labelled, in_order

FOLDER = "datasets"  # beside datasets.yaml
VALUES = {"false", "inf", "nan", "no", "null", "off", "on", "true", "yes"}  # to YAML or `dvc exp run -S`, no names

File = Callable[[], Iterator[bytes]]  # gives a file's content in blocks


class Gathered(NamedTuple):
    """All images, (n, rows, columns) uint8, their labels, (n,) uint8, and the names of the classes."""

    images: StoredRows
    labels: np.ndarray
    classes: tuple[str, ...]


def check_name(name: str) -> None:
    """Raise a UserError if `name` is not fit for a folder, a key in YAML and a command line."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", name):
        raise UserError(
            f"the name is {clip(repr(name))}; expected a letter, then letters, digits, - or _; at most 64 characters."
        )
    if name.lower() in VALUES:
        raise UserError(f"the name is {name}, which is a value in YAML or for `dvc exp run -S`; choose another.")


def gather(source: Path, images: Iterable[Labelled], spool: Path, invert: bool) -> Gathered:
    """Write the images into the file `spool`, one after the other, so that they need no memory.

    Raises:
        UserError: there are too few or too many classes, or one has no good name.
    """
    names: list[str] = []
    shape: tuple[int, ...] = ()
    with spool.open("wb") as file:
        for name, image in images:
            names.append(name)
            shape = image.shape
            file.write((255 - image if invert else image).tobytes())
    classes = in_order(source, names)
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers[name] for name in names], np.uint8)
    with spool.open("rb") as file:
        return Gathered(StoredRows(file, 0, (len(names), *shape), np.dtype(np.uint8)), labels, classes)


def split(source: Path, gathered: Gathered, test_share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the training and of the test images: two sorted arrays of integers.

    Each class gives its share of test images: at least one, and not all. The seed and the order of the images decide.

    Raises:
        UserError: a class has only one image.
    """
    train: list[np.ndarray] = []
    test: list[np.ndarray] = []
    for number, name in enumerate(gathered.classes):
        (places,) = np.nonzero(gathered.labels == number)
        n = len(places)
        if n < 2:
            raise UserError(f"{source}: the class {name} has 1 image; expected one to train on and one to test on.")
        kept, held_out = hold_out(n, min(max(round(n * test_share), 1), n - 1), seed)
        train.append(places[kept])
        test.append(places[held_out])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(test))


def mostly_light(images: StoredRows) -> bool:
    """Say whether the mean of all pixels is above the middle grey."""
    total = sum(int(block.sum(dtype=np.int64)) for block in images.blocks(np.arange(len(images))))
    return 2 * total > 255 * math.prod(images.shape)


def idx_files(gathered: Gathered, train: np.ndarray, test: np.ndarray) -> dict[str, File]:
    """Return the content of the four files, by their keys in datasets.yaml."""
    files: dict[str, File] = {}
    for part, places in (("train", train), ("test", test)):
        files[f"{part}_images"] = _idx_images(gathered.images, places)
        files[f"{part}_labels"] = _idx_labels(gathered.labels[places])
    return files


def _idx_images(images: StoredRows, places: np.ndarray) -> File:
    def content() -> Iterator[bytes]:
        yield struct.pack(">2x2B3I", 8, 3, len(places), *images.shape[1:])
        for block in images.blocks(places):
            yield block.tobytes()

    return content


def _idx_labels(labels: np.ndarray) -> File:
    def content() -> Iterator[bytes]:
        yield struct.pack(">2x2BI", 8, 1, len(labels))
        yield labels.tobytes()

    return content


class Entry(NamedTuple):
    """A dataset's entry in datasets.yaml: its name, its classes, and the length and SHA-256 of each file."""

    name: str
    classes: tuple[str, ...]
    files: dict[str, tuple[int, str]]

    @classmethod
    def of(cls, name: str, classes: tuple[str, ...], files: dict[str, File]) -> "Entry":
        """Return the entry of some files."""
        return cls(name, classes, {key: _described(content) for key, content in files.items()})

    def __str__(self) -> str:
        lines = [
            f"{self.name}:",
            f"  classes: {json.dumps(self.classes, ensure_ascii=False)}",  # a list in JSON is one in YAML
            f"  mirrors: [{FOLDER}/{self.name}]",
            "  files:",
        ]
        for key, (length, sha256) in self.files.items():
            lines += [
                f"    {key}:",
                f"      name: {SAVED_AS[key]}",
                f"      bytes: {length}",
                f"      sha256: {sha256}",
            ]
        return "\n".join(lines) + "\n"

    def add(self, datasets: Path, files: dict[str, File]) -> bool:
        """Write the files, then the entry at the end of the file `datasets`. Return whether the entry is new.

        Raises:
            UserError: `datasets` has another dataset of this name, or an entry at its end would not be read.
        """
        entries = load_plain_yaml(datasets) or {}  # None, if the file has only comments
        text = datasets.read_bytes()
        is_new = not isinstance(entries, dict) or self.name not in entries
        if is_new:
            text += b"\n" * (2 if text[-1:] not in (b"\n", b"") else 1) + str(self).encode()
            self._check_added(datasets, entries, text.decode())
        else:
            self._check_same(datasets)
        for key, content in files.items():
            with written_whole(datasets.parent / FOLDER / self.name / SAVED_AS[key]) as file:
                file.writelines(content())
        if is_new:
            write_bytes(datasets, text)
        return is_new

    def _check_added(self, datasets: Path, entries: object, text: str) -> None:
        try:
            read = parse_plain_yaml(text)
        except UserError:
            read = None
        if not isinstance(read, dict) or {key: read[key] for key in read if key != self.name} != entries:
            raise UserError(
                f"{datasets}: a dataset cannot be added at its end; expected one dataset below the other, unindented.",
                path=datasets,
            )

    def _check_same(self, datasets: Path) -> None:
        there = load_dataset(datasets, self.name)
        sums = {key: getattr(there.files, key).sha256 for key in SAVED_AS}
        if there.classes != self.classes or sums != {key: sha256 for key, (_, sha256) in self.files.items()}:
            raise UserError(
                f"{datasets} has another dataset {self.name}; choose another name, or remove that entry.",
                path=datasets,
                about=self.name,
            )


def _described(content: File) -> tuple[int, str]:
    """Return the length and the SHA-256 of a file."""
    length, digest = 0, hashlib.sha256()
    for block in content():
        length += len(block)
        digest.update(block)
    return length, digest.hexdigest()
