"""Files that the stages read and write, made by the tests."""

import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pipeline.store import artifacts
from tests.support.networks import MINMAX, digits

W1, W2 = np.full((6, 4), 0.5), np.full((4, 3), 0.5)
KIND = {"image_shape": np.array([2, 3], np.int64), "classes": np.array(["a", "b", "c"])}
SCALED = KIND | {"shift": np.float64(33.5), "scale": np.float64(0.01)}
LAYERS = {"weights_1": W1, "biases_1": np.zeros(4), "weights_2": W2, "biases_2": np.zeros(3)}
MODEL = LAYERS | SCALED | {"activation": np.array("sigmoid"), "arithmetic": np.array("exact")}
PREPARED = SCALED | {
    "images": np.arange(24, dtype=np.uint8).reshape(4, 6),
    "labels": np.eye(3, dtype=np.uint8)[[0, 1, 2, 1]],
}
MISCLASSIFIED = KIND | {
    "images": np.arange(12, dtype=np.uint8).reshape(2, 6),
    "actual": np.array([2, 0], np.int64),
    "predicted": np.array([1, 1], np.int64),
    "probability": np.array([0.75, 0.5]),
    "place": np.array([7, 3], np.int64),
}


def save_prepared(path, images, labels, **changes):
    """Write a prepared split, as the preprocess stage does, of digits unless `changes` say more."""
    artifacts.save_prepared(path, images, labels, replace(MINMAX, **changes))


def contents(folder) -> dict[str, bytes]:
    """Return the content of each file below a folder, by its path there."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@contextmanager
def memory_below(limit: int) -> Iterator[None]:
    """Fail if Python allocates more than so many bytes inside the block."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def idx(array: np.ndarray) -> bytes:
    """Return the bytes of an IDX file with these numbers, from 0 to 255."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def save_pictures(folder: Path, part: str) -> None:
    """Write the "train" or "test" images as pictures: a folder of even digits, one of odd ones."""
    images, labels = digits(part)
    for number, (image, label) in enumerate(zip(images, labels.argmax(axis=1), strict=True)):
        path = folder / ("odd" if label % 2 else "even") / f"{part}-{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.reshape(28, 28)).save(path)


def drawn(ink="black", paper="white", scale=1, at=(0, 0), mode="RGB"):
    """Draw a seven, in one or two colours."""
    seven = Image.new("1", (30, 40))
    draw = ImageDraw.Draw(seven)
    draw.line([(5, 5), (24, 5), (12, 35)], 1, 4)
    seven = seven.resize((30 * scale, 40 * scale), Image.Resampling.NEAREST)
    picture = Image.new("RGB", (30 * scale + 2 * max(at), 40 * scale + 2 * max(at)), paper)
    picture.paste(ink, at, seven)
    return picture.convert(mode)
