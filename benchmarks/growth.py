"""How time and memory grow: with the images, with the hidden layer, with the batch. Writes growth.md.

python -m benchmarks.growth
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer
import yaml

from benchmarks.machine import ROOT, describe_machine, environment, seconds, table

TIMES = [1, 4, 16]  # as many images as MNIST has
HIDDEN = [50, 100, 200, 400, 800, 1600, 3200]  # neurons
BATCHES = [10, 100, 1000, 10_000]  # images
STEPS = 1000
AT_MOST = 1.3, 100  # memory: times the bytes of the images, and MB more
DISTORTED = {"hidden_sizes": [800], "activation": "relu", "weight_init_std": "he", "momentum": 0.9}
STRENGTH = {"rotation": 15, "shear": 15, "scaling": 15, "elastic": 1}
DISTORTED_AT_MOST = 200  # MB more, in place of 100


def stage(name: str, arguments: list[Path], params: Path) -> list[str]:
    """Return the command that runs a stage."""
    return [sys.executable, "-m", f"stages.{name}", *map(str, arguments), "--params", str(params)]


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


def write_params(
    folder: Path, source: Path = ROOT / "params.yaml", distort: Mapping[str, float] | None = None, **train: Any
) -> Path:
    """Write `params.yaml` with other values for training, and for distortions if given, into a folder."""
    params = yaml.safe_load(source.read_text())
    params["train"] |= {"iterations": STEPS} | train
    if distort:
        params["distort"] |= distort
    folder.mkdir(exist_ok=True)
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(params))
    return path


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


def images_table(sizes: list[int], raw: Path) -> str:
    """Return the table of growth with the number of images, in multiples of those that there are."""
    rows = []
    for times in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            repeat_images(raw, folder, times)
            params = write_params(folder)
            splits = [folder / f"{split}.npz" for split in ("train", "validation", "test")]
            results = [folder / "mlp.npz", folder / "training"]
            stages = [
                stage("preprocess", [folder, *splits], params),
                stage("train", [*splits[:2], *results], params),
            ]
            took = [f"{seconds(command):.1f}" for command in stages]
            peaks = [megabytes(command) for command in stages]
            images = (folder / "train-images-idx3-ubyte").stat().st_size / 1e6
        factor, more = AT_MOST
        bound = factor * images + more
        cells = [f"{cell:.0f}" for cell in (images, *peaks, bound)]
        rows.append([f"{60_000 * times:,}", *cells, "met" if max(peaks) <= bound else "missed", *took])
    header = ["images", "their MB", "preprocess, peak MB", "train, peak MB", "at most", ""]
    return table([*header, "preprocess, s", f"train {STEPS} steps, s"], rows)


def training_table(what: str, values: list[int], prepared: Path) -> str:
    """Return the table of growth with a knob of the train stage: the time of a step and of its share of evaluation."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results = [folder / "mlp.npz", folder / "training"]
        arguments = [prepared / "train.npz", prepared / "validation.npz", *results]
        for value in values:
            row = [f"{value:,}"]
            for arithmetic in ("exact", "float32"):
                knobs = {what: [value] if what == "hidden_sizes" else value, "arithmetic": arithmetic}
                one, all_steps, some = (
                    stage("train", arguments, write_params(folder / str(steps), **knobs, iterations=steps))
                    for steps in (1, STEPS + 1, 50)
                )
                around, whole, peak = seconds(one), seconds(all_steps), megabytes(some)
                row += [f"{1e3 * (whole - around) / STEPS:.2f}", f"{peak:.0f}"]
            rows.append(row)
    title = {"hidden_sizes": "neurons", "batch_size": "images in a batch"}[what]
    return table([title, "exact: ms a step", "peak MB", "float32: ms a step", "peak MB"], rows)


def distorted_table(prepared: Path, images: float) -> str:
    """Return the table of the memory that training with distortions needs. `images` is the MB of the images."""
    factor, _ = AT_MOST
    bound = factor * images + DISTORTED_AT_MOST
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = [prepared / "train.npz", prepared / "validation.npz", folder / "mlp.npz", folder / "training"]
        for arithmetic in ("exact", "float32"):
            params = write_params(folder, distort=STRENGTH, arithmetic=arithmetic, **DISTORTED)
            peak = megabytes(stage("train", arguments, params))
            rows.append([arithmetic, f"{peak:.0f}", f"{bound:.0f}", "met" if peak <= bound else "missed"])
    return table(["784-800-10, momentum, distortions", "train, peak MB", "at most", ""], rows)


def main(
    quick: Annotated[bool, typer.Option(help="The smallest of each, to see that all run; no file.")] = False,
) -> None:
    """Measure whole stages at several sizes and print the tables."""
    raw, prepared = ROOT / "data" / "raw", ROOT / "data" / "prepared"
    if not (raw.is_dir() and prepared.is_dir()):
        sys.exit("error: data/raw or data/prepared: no such folder; run `dvc repro preprocess` to make both.")
    sizes = [values[:1] if quick else values for values in (TIMES, HIDDEN, BATCHES)]
    parts = [
        "# Growth\n",
        f"`make bench` writes this file. Whole stages, {STEPS} steps of training, all other knobs as in `params.yaml`.",
        "Memory is that of both processes; what they share counts once. A step's time has its share of the evaluation",
        "after each epoch, and is without the stage's beginning and end.\n",
        images_table(sizes[0], raw),
        distorted_table(prepared, (raw / "train-images-idx3-ubyte").stat().st_size / 1e6),
        training_table("hidden_sizes", sizes[1], prepared),
        training_table("batch_size", sizes[2], prepared),
        *(f"- {key}: {value}" for key, value in describe_machine().items()),
    ]
    text = "\n".join(parts) + "\n"
    print(text)
    if not quick:
        Path(__file__).with_name("growth.md").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    typer.run(main)
