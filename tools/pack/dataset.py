"""Images as a dataset of the pipeline: four IDX files, and an entry in datasets.yaml."""

import json
import re
import struct
from collections.abc import Iterable
from pathlib import Path
from shutil import copyfileobj
from typing import NamedTuple

import numpy as np

from pipeline.images.prepare import hold_out
from pipeline.program.errors import UserError, clip
from pipeline.program.files import sha256_of, write_bytes, written_whole
from pipeline.settings.checked import load_plain_yaml, parse_plain_yaml
from pipeline.settings.datasets import SAVED_AS
from tools.pack.images import Labelled, in_order

FOLDER = "datasets"  # beside datasets.yaml
# To YAML or `dvc exp run -S`, no names
VALUES = {"false", "inf", "nan", "no", "null", "off", "on", "true", "yes"}


class Gathered(NamedTuple):
    """All images, (n, rows, columns) uint8, their labels, (n,) uint8, and the classes' names."""

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]


def check_name(name: str) -> None:
    """Raise a UserError if `name` is not fit for a folder, a key in YAML and a command line."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", name) or name.lower() in VALUES:
        expected = "a letter, then at most 63 letters, digits, - or _, and not yes or the like"
        raise UserError(f"the name is {clip(repr(name))}; expected {expected}.")


def gather(source: Path, images: Iterable[Labelled], spool: Path) -> Gathered:
    """Write the images into the file `spool`, one after the other, so that they need no memory."""
    names, shape = list[str](), ()
    with spool.open("wb") as file:
        for name, image in images:
            names.append(name)
            shape = image.shape
            file.write(image.tobytes())
    classes = in_order(source, names)
    labels = np.array([classes.index(name) for name in names], np.uint8)
    return Gathered(np.memmap(spool, np.uint8, "r", 0, (len(names), *shape)), labels, classes)


def split(source: Path, gathered: Gathered, test_share: float, seed: int) -> dict[str, np.ndarray]:
    """Return the places of the training and of the test images: sorted arrays of integers.

    Each class gives its share of test images: at least one, and not all. The seed and the order of
    the images decide. A UserError says that a class has only one image.
    """
    is_test = np.zeros(len(gathered.labels), bool)
    for number, name in enumerate(gathered.classes):
        places = np.flatnonzero(gathered.labels == number)
        n = len(places)
        if n < 2:
            expected = "one to train on and one to test on"
            raise UserError(f"{source}: the class {name} has 1 image; expected {expected}.")
        _, held_out = hold_out(n, min(max(round(n * test_share), 1), n - 1), seed)
        is_test[places[held_out]] = True
    return {"train": np.flatnonzero(~is_test), "test": np.flatnonzero(is_test)}


def write_idx_files(folder: Path, gathered: Gathered, parts: dict[str, np.ndarray]) -> None:
    """Write the four files into `folder`, by their keys in datasets.yaml."""
    images, labels = gathered.images, gathered.labels
    for part, places in parts.items():
        with (folder / f"{part}_images").open("wb") as file:
            file.write(struct.pack(">2x2B3I", 8, 3, len(places), *images.shape[1:]))
            for start in range(0, len(places), 1000):
                file.write(images[places[start : start + 1000]].tobytes())
        header = struct.pack(">2x2BI", 8, 1, len(places))
        (folder / f"{part}_labels").write_bytes(header + labels[places].tobytes())


def entry_of(name: str, classes: tuple[str, ...], flags: dict[str, bool], folder: Path) -> str:
    """Return the entry in datasets.yaml of the four files in `folder`."""
    # a list in JSON is one in YAML
    lines = [f"{name}:", f"  classes: {json.dumps(classes, ensure_ascii=False)}"]
    lines += [f"  {flag}: true" for flag, is_set in flags.items() if is_set]
    lines += [f"  mirrors: [{FOLDER}/{name}]", "  files:"]
    for key, saved_as in SAVED_AS.items():
        size, sha256 = (folder / key).stat().st_size, sha256_of(folder / key)
        lines.append(f"    {key}: {{name: {saved_as}, bytes: {size}, sha256: {sha256}}}")
    return "\n".join(lines) + "\n"


def add(datasets: Path, name: str, entry: str, folder: Path) -> bool:
    """Copy the files of `folder` beside `datasets`, then add the entry. Return whether it is new.

    Raises:
        UserError: `datasets` has another one of this name, or an entry would not be read.
    """
    entries, added = load_plain_yaml(datasets), parse_plain_yaml(entry)
    text = datasets.read_bytes()
    is_new = not isinstance(entries, dict) or name not in entries
    if is_new:
        text += b"\n" * (2 if text[-1:] not in (b"\n", b"") else 1) + entry.encode()
        try:  # without entries, it is None
            is_read = parse_plain_yaml(text.decode()) == (entries or {}) | added
        except (UserError, TypeError):  # not YAML; no mapping
            is_read = False
        if not is_read:
            what = "a dataset cannot be added at its end"
            raise UserError(f"{datasets}: {what}; expected one below the other, unindented.")
    else:
        old, own = entries[name], {"mirrors": added[name]["mirrors"]}
        if not isinstance(old, dict) or old | own != added[name]:
            cure = "choose another name, or remove that entry"
            raise UserError(f"{datasets} has another dataset {name}; {cure}.")
    for key, saved_as in SAVED_AS.items():
        target = datasets.parent / FOLDER / name / saved_as
        with (folder / key).open("rb") as file, written_whole(target) as copy:
            copyfileobj(file, copy)
    if is_new:
        write_bytes(datasets, text)
    return is_new
