"""Where the time of a cold `dvc repro` goes, stage by stage: nothing cached, the data at hand. Prints tables."""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from benchmarks.machine import ROOT, describe_machine, environment, table

STAGES = ["download", "preprocess", "train", "evaluate", "plot"]
AROUND = "outside the training loop and its accuracies, seconds"
HELP = "a stage's --help ÷ python -c 'import numpy, typer'"
TARGETS = {
    AROUND: 8.0,
    "accuracies after each epoch ÷ training loop": 1 / 3,
    "peak memory of the train stage, MiB": 600.0,
    HELP: 1.5,
}


def run_cold(folder: Path, data: Path) -> tuple[dict[str, dict], float]:
    """Reproduce the committed state in a clone in `folder`; return what each stage took, and the seconds of it all."""
    clone, log, programs = folder / "clone", folder / "log", folder / "programs"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    config = f"[core]\n    site_cache_dir = {folder}/site\n[cache]\n    dir = {folder}/cache\n"
    (clone / ".dvc" / "config.local").write_text(config)
    programs.mkdir()
    python = programs / "python"
    timed_stage = shlex.join([sys.executable, "-S", str(Path(__file__).with_name("timed_stage.py"))])
    python.write_text(f'#!/bin/sh\nexec {timed_stage} "$@"\n')
    python.chmod(0o755)
    settings = environment() | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "TIMED_STAGE_LOG": str(log),
        "DATA_MIRROR": str(data.resolve()),
        "DVC_NO_ANALYTICS": "1",
    }
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "--force", "--no-run-cache"],
        cwd=clone, env=settings, check=True, stdout=sys.stderr,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    took, inside = {}, {}
    for line in log.read_text().splitlines():
        facts = json.loads(line)
        if "stage" in facts:
            # What the two processes of training share counts twice
            facts["peak_mib"] += inside.pop("second_mib", 0.0)
            took[facts.pop("stage")] = facts | inside
            inside = {}
        else:
            inside = facts
    return took, seconds


def stages_table(took: dict[str, dict], seconds: float) -> str:
    """Return the table of the cold run; `seconds` is the time of all of it."""
    loop, accuracies = took["train"]["loop"], took["train"]["accuracies"]
    rows = []
    for stage, facts in took.items():
        own = facts["seconds"] - facts.get("loop", 0.0) - facts.get("accuracies", 0.0)
        rows.append([stage, f"{facts['seconds']:.2f}", f"{own:.2f}", f"{facts['peak_mib']:.0f}"])
    dvc = seconds - sum(facts["seconds"] for facts in took.values())
    rows += [
        ["DVC: start, hashing, caching, lock", f"{dvc:.2f}", f"{dvc:.2f}", ""],
        ["all", f"{seconds:.2f}", f"{seconds - loop - accuracies:.2f}", ""],
        ["of it the training loop", f"{loop:.2f}", "", ""],
        ["of it the accuracies after each epoch", f"{accuracies:.2f}", "", ""],
    ]
    return table(["", "seconds", "without loop and accuracies", "peak MiB"], rows)


def time_help(rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each stage's `--help`, and of the two imports that any stage needs, in each round."""
    commands = {"import numpy, typer": ["-c", "import numpy, typer"]}
    commands |= {stage: ["-m", f"stages.{stage}", "--help"] for stage in STAGES}
    seconds = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            if turn > 0:  # the first fills the file system's cache
                seconds[name].append(time.perf_counter() - start)
    return seconds


def main(
    data: Annotated[
        Path, typer.Option(envvar="DATA_MIRROR", help="The folder with the dataset's files, gzipped or not.")
    ] = Path("data/raw"),
    rounds: Annotated[int, typer.Option(min=1, help="Times that each --help is run.")] = 9,
) -> None:
    """Measure a cold run of the committed pipeline, and the start-up of its stages."""
    if not data.is_dir():
        sys.exit(f"error: {data}: no such folder; run `dvc repro download` to make it.")
    with tempfile.TemporaryDirectory() as folder:
        took, seconds = run_cold(Path(folder), data)
    helps = time_help(rounds)
    imports = helps.pop("import numpy, typer")
    ratios = {stage: median(a / b for a, b in zip(times, imports, strict=True)) for stage, times in helps.items()}

    loop, accuracies = took["train"]["loop"], took["train"]["accuracies"]
    measured = [seconds - loop - accuracies, accuracies / loop, took["train"]["peak_mib"], max(ratios.values())]
    print("# A cold `dvc repro`\n")
    print(stages_table(took, seconds))
    rows = [[stage, f"{median(helps[stage]):.2f}", f"{ratios[stage]:.2f}"] for stage in STAGES]
    print(table(["--help of", "seconds", "÷ import numpy, typer"], rows))
    rows = [
        [name, f"{bound:.2f}", f"{value:.2f}", "met" if value <= bound else "missed"]
        for (name, bound), value in zip(TARGETS.items(), measured, strict=True)
    ]
    print(table(["", "at most", "measured", ""], rows))
    print("\n".join(f"- {key}: {value}" for key, value in describe_machine().items()))


if __name__ == "__main__":
    typer.run(main)
