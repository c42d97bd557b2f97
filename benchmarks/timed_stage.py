"""Stands in for `python` while DVC runs a stage: runs the stage in a process of its own, and notes what it took.

Every call appends a line of JSON to the file that TIMED_STAGE_LOG names: stage, wall-clock seconds, peak memory, and of
the train stage the seconds in the training loop and in the accuracies after each epoch. This file imports nothing that
takes time to import.
"""

import json
import os
import runpy
import sys
import time


def note(facts: dict) -> None:
    with open(os.environ["TIMED_STAGE_LOG"], "a") as log:
        log.write(json.dumps(facts) + "\n")


def run_stage(arguments: list[str]) -> int:
    """Run `python -m stage …` and return its exit code."""
    module = arguments[arguments.index("-m") + 1]
    inside = [__file__, "--inside"] if module == "stages.train" else []
    command = [sys.executable, *inside, *arguments]
    start = time.perf_counter()
    process = os.posix_spawn(sys.executable, command, os.environ)
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - start
    mebibytes = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    note({"stage": module.removeprefix("stages."), "seconds": seconds, "peak_mib": mebibytes})
    return os.waitstatus_to_exitcode(status)


def run_inside(arguments: list[str]) -> None:
    """Run a stage in this process, as `python -m stage …` would, with a clock on training and on its evaluations."""
    sys.path[0] = os.getcwd()
    from mlp import training

    seconds = {"epochs": 0.0, "evaluations": 0.0}
    evaluate_epoch, train = training.evaluate_epoch, training.train

    def timed_evaluate_epoch(*args, **kwargs):
        start = time.perf_counter()
        epoch = evaluate_epoch(*args, **kwargs)
        seconds["evaluations"] += time.perf_counter() - start
        return epoch

    def timed_train(*args, **kwargs):
        epochs = train(*args, **kwargs)
        while True:
            start = time.perf_counter()
            epoch = next(epochs, None)
            seconds["epochs"] += time.perf_counter() - start
            if epoch is None:
                return
            yield epoch

    training.evaluate_epoch, training.train = timed_evaluate_epoch, timed_train
    module = arguments.index("-m") + 1
    sys.argv = arguments[module:]
    try:
        runpy.run_module(arguments[module], run_name="__main__", alter_sys=True)
    finally:
        note({"loop": seconds["epochs"] - seconds["evaluations"], "evaluations": seconds["evaluations"]})


if __name__ == "__main__":
    if sys.argv[1] == "--inside":
        run_inside(sys.argv[2:])
    else:
        sys.exit(run_stage(sys.argv[1:]))
