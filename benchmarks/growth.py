"""How time and memory of whole stages grow with the images, the hidden layer and the batch."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.machine import ROOT, describe_machine, environment, seconds, table, training

RAW, PREPARED = Path("data", "raw"), Path("data", "prepared")
TIMES = [1, 4, 16]  # as many images as MNIST has
HIDDEN = [50, 100, 200, 400, 800, 1600, 3200]  # neurons
BATCHES = [10, 100, 1000, 10_000]  # images
NETWORKS = [50, 800]  # neurons, to compare numbers of processes
PROCESSES = [1, 2, 3, 4]
STEPS = 1000


def megabytes(command: list[str]) -> float:
    """Run a command and return its processes' memory at the peak; what they share counts once.

    Pages of mapped files don't count: the system takes them back when it needs memory. It looks a
    hundred times a second, which slows the stage down. Linux only.
    """
    process = psutil.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        with contextlib.suppress(psutil.Error, OSError):  # one has ended in the meantime
            members = [process, *process.children()]
            peak = max(peak, sum(own_kilobytes(member.pid) for member in members))
        time.sleep(0.01)
    return peak * 1024 / 1e6


def own_kilobytes(pid: int) -> int:
    """Return the memory of a process in KiB, its share of what it shares, without mapped files."""
    lines = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    return sum(int(words[1]) for words in lines if words[0] in ("Pss_Anon:", "Pss_Shmem:"))


def repeat_images(raw: Path, folder: Path, times: int) -> None:
    """Write the training set several times over into the files of another."""
    for name in os.listdir(raw):
        content = (raw / name).read_bytes()
        # The header of an IDX file: four bytes, the last the number of lengths, and these
        start = 4 + 4 * content[3]
        repeats = times if name.startswith("train") else 1
        count = np.frombuffer(content, ">u4", 1, 4)[0] * repeats
        with (folder / name).open("wb") as file:
            file.write(content[:4] + np.array(count, ">u4").tobytes() + content[8:start])
            for _ in range(repeats):
                file.write(content[start:])


def images_table(sizes: list[int]) -> str:
    """Return the table of growth with the number of images, in multiples of MNIST's."""
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
    header = ["images", "their MB", "preprocess, peak MB", "train, peak MB"]
    return table([*header, "preprocess, s", f"train {STEPS} steps, s"], rows)


def steps_table(title: str, key: str, values: list[int]) -> str:
    """Return the table of growth with a parameter of the train stage."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for value in values:
            row = [f"{value:,}"]
            changes: dict[str, Any] = {key: [value] if key == "hidden_sizes" else value}
            for arithmetic in ("exact", "float32"):
                changes["arithmetic"] = arithmetic
                peak = megabytes(training(PREPARED, Path(name), **changes, iterations=50))
                row += [f"{milliseconds(Path(name), **changes):.2f}", f"{peak:.0f}"]
            rows.append(row)
    return table([title, "exact: ms a step", "peak MB", "float32: ms a step", "peak MB"], rows)


def processes_table(numbers: list[int]) -> str:
    """Return the table of a step's milliseconds by the number of processes."""
    rows = []
    kinds = [(hidden, arithmetic) for hidden in NETWORKS for arithmetic in ("exact", "float32")]
    with tempfile.TemporaryDirectory() as name:
        for number in numbers:
            times = [
                milliseconds(Path(name), number, hidden_sizes=[hidden], arithmetic=arithmetic)
                for hidden, arithmetic in kinds
            ]
            rows.append([str(number), *(f"{time:.2f}" for time in times)])
    header = [f"784-{hidden}-10, {arithmetic}" for hidden, arithmetic in kinds]
    return table(["processes", *header], rows)


def milliseconds(folder: Path, processes: int | None = None, **changes: Any) -> float:
    """Return a step's time, with its share of evaluation, without the stage's start and end."""
    settings = {"TRAIN_PROCESSES": str(processes)} if processes else {}
    one = training(PREPARED, folder, iterations=1, **changes)
    many = training(PREPARED, folder, iterations=STEPS + 1, **changes)
    return 1e3 * (seconds(many, **settings) - seconds(one, **settings)) / STEPS


def report(quick: bool) -> tuple[str, list[str]]:
    """Measure whole stages at several sizes. Return the page; there are no limits to miss."""
    lists = (TIMES, HIDDEN, BATCHES, PROCESSES)
    sizes, hidden, batches, processes = (values[:1] if quick else values for values in lists)
    parts = [
        "# Growth\n",
        f"`make bench` writes this file. Whole stages, {STEPS} steps of training, the rest as in "
        "`params.yaml`.",
        "Memory is that of all processes; what they share counts once, mapped files do not. A "
        "step's time has its",
        "share of the evaluation after each epoch, and is without the stage's beginning and end.\n",
        images_table(sizes),
        steps_table("neurons", "hidden_sizes", hidden),
        steps_table("images in a batch", "batch_size", batches),
        "Milliseconds of a step by the number of processes:\n",
        processes_table(processes),
        *(f"- {key}: {value}" for key, value in describe_machine().items()),
        "",
    ]
    return "\n".join(parts), []
