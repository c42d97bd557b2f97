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
    """Run a stage in this process, as `python -m stage …` would, with a clock on training and on its evaluations."""
    sys.path[0] = os.getcwd()
    from mlp.team import available_processes

    if available_processes() > 1:  # as the stage does, before NumPy is imported
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from mlp import training

    seconds = {"epochs": 0.0, "evaluations": 0.0}
    train = training.train

    def timed_evaluation(method):
        def timed(*args):
            start = time.perf_counter()
            found = method(*args)
            seconds["evaluations"] += time.perf_counter() - start
            return found

        return timed

    def timed_train(*args, **kwargs):
        epochs = train(*args, **kwargs)
        while True:
            start = time.perf_counter()
            epoch = next(epochs, None)
            seconds["epochs"] += time.perf_counter() - start
            if epoch is None:
                return
            yield epoch

    training.train = timed_train
    for name in ("__call__", "results"):
        setattr(training.Evaluation, name, timed_evaluation(getattr(training.Evaluation, name)))
    module = arguments.index("-m") + 1
    sys.argv = arguments[module:]
    try:
        runpy.run_module(arguments[module], run_name="__main__", alter_sys=True)
    finally:
        loop = seconds["epochs"] - seconds["evaluations"]
        second = mebibytes(resource.getrusage(resource.RUSAGE_CHILDREN))
        note({"loop": loop, "evaluations": seconds["evaluations"], "second_mib": second})


if __name__ == "__main__":
    if sys.argv[1] == "--inside":
        run_inside(sys.argv[2:])
    else:
        sys.exit(run_stage(sys.argv[1:]))
