"""Stands in for `python` while DVC runs a stage: runs the stage in a process of its own, and notes what it took.

Every call appends a line of JSON to the file that TIMED_STAGE_LOG names: stage, wall-clock seconds, peak memory; of the
train stage also the seconds in the training loop and in the accuracies after each epoch, and the memory of its second
process. This file imports nothing that takes time to import.
"""

import json
import os
import resource
import runpy
import sys
import time
from collections.abc import Callable


def note(facts: dict) -> None:
    with open(os.environ["TIMED_STAGE_LOG"], "a") as log:
        log.write(json.dumps(facts) + "\n")


def mebibytes(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def run_stage(arguments: list[str]) -> int:
    """Run `python -m stage …` and return its exit code."""
    module = arguments[arguments.index("-m") + 1]
    inside = [__file__, "--inside"] if module == "stages.train" else []
    command = [sys.executable, *inside, *arguments]
    start = time.perf_counter()
    process = os.posix_spawn(sys.executable, command, os.environ)
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - start
    note({"stage": module.removeprefix("stages."), "seconds": seconds, "peak_mib": mebibytes(usage)})
    return os.waitstatus_to_exitcode(status)


def run_inside(arguments: list[str]) -> None:
    """Run the train stage in this process, as `python -m` would, with a clock on training and on its accuracies."""
    sys.path[0] = os.getcwd()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as the stage does, before NumPy is imported
    from mlp import training

    seconds = {"epochs": 0.0, "accuracies": 0.0, "measure": 0.0}

    def time_calls(owner: object, name: str, label: str, counts: Callable[..., bool] = lambda *_: True) -> None:
        function = getattr(owner, name)

        def timed(*args):
            start = time.perf_counter()
            try:
                return function(*args)
            finally:
                if counts(*args):
                    seconds[label] += time.perf_counter() - start

        setattr(owner, name, timed)

    time_calls(training._Loop, "epoch", "epochs")
    time_calls(training.Team, "run", "accuracies", lambda _, task: task == 1)
    time_calls(training, "measure", "measure")
    module = arguments.index("-m") + 1
    sys.argv = arguments[module:]
    try:
        runpy.run_module(arguments[module], run_name="__main__", alter_sys=True)
    finally:
        loop = seconds["epochs"] - seconds["accuracies"]
        second = mebibytes(resource.getrusage(resource.RUSAGE_CHILDREN))
        note({"loop": loop, "accuracies": seconds["accuracies"] + seconds["measure"], "second_mib": second})


if __name__ == "__main__":
    if sys.argv[1] == "--inside":
        run_inside(sys.argv[2:])
    else:
        sys.exit(run_stage(sys.argv[1:]))
