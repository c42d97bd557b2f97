"""How time and memory of whole stages grow: with the images, with the hidden layer, with the batch."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks.machine import ROOT, describe_machine, environment, seconds, table, training

RAW, PREPARED = Path("data", "raw"), Path("data", "prepared")
TIMES = [1, 4, 16]  # as many images as MNIST has
HIDDEN = [50, 100, 200, 400, 800, 1600, 3200]  # neurons
BATCHES = [10, 100, 1000, 10_000]  # images
STEPS = 1000


def megabytes(command: list[str]) -> float:
    """Run a command and return its memory at the peak, of all processes together; what they share counts once.

    It looks a hundred times a second, which slows the stage down.
    """
    process = psutil.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):  # one has ended in the meantime
            peak = max(peak, sum(member.memory_full_info().pss for member in [process, *process.children()]))
        time.sleep(0.01)
    return peak / 1e6


def repeat_images(raw: Path, folder: Path, times: int) -> None:
    """Write the training set several times over into the files of another."""
    for name in os.listdir(raw):
        content = (raw / name).read_bytes()
        start = 4 + 4 * content[3]  # the header of an IDX file: four bytes, the last the number of lengths, and these
        repeats = times if name.startswith("train") else 1
        count = np.frombuffer(content, ">u4", 1, 4)[0] * repeats
        with (folder / name).open("wb") as file:
            file.write(content[:4] + np.array(count, ">u4").tobytes() + content[8:start])
            for _ in range(repeats):
                file.write(content[start:])


def images_table(sizes: list[int]) -> str:
    """Return the table of growth with the number of images, in multiples of those that there are."""
    rows = []
    for times in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            repeat_images(RAW, folder, times)
            splits = [str(folder / f"{split}.npz") for split in ("train", "validation", "test")]
            stages = [
                [sys.executable, "-m", "stages.preprocess", str(folder), *splits],
                training(folder, folder, iterations=STEPS),
            ]
            took = [f"{seconds(command):.1f}" for command in stages]
            peaks = [megabytes(command) for command in stages]
            images = (folder / "train-images-idx3-ubyte").stat().st_size / 1e6
        rows.append([f"{60_000 * times:,}", *(f"{cell:.0f}" for cell in (images, *peaks)), *took])
    header = ["images", "their MB", "preprocess, peak MB", "train, peak MB", "preprocess, s", f"train {STEPS} steps, s"]
    return table(header, rows)


def steps_table(title: str, key: str, values: list[int]) -> str:
    """Return the table of growth with a parameter of the train stage. A step has its share of the evaluation."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for value in values:
            row = [f"{value:,}"]
            for arithmetic in ("exact", "float32"):
                changes = {key: [value] if key == "hidden_sizes" else value, "arithmetic": arithmetic}
                one, all_steps, some = (
                    training(PREPARED, Path(name), iterations=steps, **changes) for steps in (1, STEPS + 1, 50)
                )
                around, whole, peak = seconds(one), seconds(all_steps), megabytes(some)
                row += [f"{1e3 * (whole - around) / STEPS:.2f}", f"{peak:.0f}"]
            rows.append(row)
    return table([title, "exact: ms a step", "peak MB", "float32: ms a step", "peak MB"], rows)


def report(quick: bool) -> tuple[str, list[str]]:
    """Measure whole stages at several sizes. Return the page; there are no limits to miss."""
    sizes, hidden, batches = (values[:1] if quick else values for values in (TIMES, HIDDEN, BATCHES))
    parts = [
        "# Growth\n",
        f"`make bench` writes this file. Whole stages, {STEPS} steps of training, the rest as in `params.yaml`.",
        "Memory is that of both processes; what they share counts once. A step's time has its share of the evaluation",
        "after each epoch, and is without the stage's beginning and end.\n",
        images_table(sizes),
        steps_table("neurons", "hidden_sizes", hidden),
        steps_table("images in a batch", "batch_size", batches),
        *(f"- {key}: {value}" for key, value in describe_machine().items()),
        "",
    ]
    return "\n".join(parts), []
