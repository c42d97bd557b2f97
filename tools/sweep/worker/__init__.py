"""What a worker does with one experiment. Dask sends this folder to every worker: it needs Python, Git and DVC alone.

A worker clones the project, runs `dvc exp run` in the clone, pushes the data, and then the experiment's ref. So a ref
in the Git remote says that its data are there too. On the workers the folder has another name, so its imports are
relative.
"""

import socket
import time
from typing import Any

from .clone import BEAT, KNOWN, Clone, LostError, StageError, StoppedError
from .machine import differing_packages, environment, folder_for_clone, home_of, remove_leftovers


def prepare(home: str, packages: list[str]) -> str:
    """Remove what dead workers have left in `home`, and return which packages differ here."""
    remove_leftovers(home_of(home))
    return differing_packages(packages)


def run_experiment(
    name: str, changes: list[str], sweep: dict[str, Any], again: bool = False, elsewhere_than: str = ""
) -> dict[str, Any]:
    """Run one experiment in a clone, and push it.

    Args:
        name: the experiment's name.
        changes: its parameters, such as "train.seed=3".
        sweep: what all experiments share: `id`, `rev` (a commit of `origin`), `refs` (the folder of its experiments'
            refs), `origin` (the Git remote), `home` (the folder for clones), `cache` (DVC's cache, if the leader's is
            in reach; else each worker has one and pushes its data), `packages` (see `differing_packages`), `cores` (of
            each worker by name).
        again: it is known; run it without DVC's run cache and without checkpoints, and compare the trees.
        elsewhere_than: the worker that shall not run it, unless it is the only one.

    Returns:
        A dict: `state` is "done", "known", "failed", "stopped", "same bytes" or "OTHER BYTES"; also `name`, `again`,
        `where`, `seconds`, `tree`, and `log`, the end of its output.

    Raises:
        LostError: Git, a remote or the machine failed.
        Reschedule: to another worker, which Dask does. It steals work for idle workers, whatever its leader prefers.
    """
    from distributed import Reschedule, get_worker

    worker, began = get_worker(), time.time()
    home = home_of(sweep["home"])
    event = {"name": name, "where": f"{socket.gethostname()}-{worker.name}", "again": again}
    if event["where"] == elsewhere_than and others():
        time.sleep(BEAT)
        raise Reschedule
    if different := prepare(sweep["home"], sweep["packages"]):
        raise LostError(f"other packages than requirements.txt says: {different}")
    with folder_for_clone(home) as folder:
        clone = Clone(
            folder,
            environment(home, checkpoints=not again),
            sweep["cores"].get(str(worker.name), []),
            report=lambda line: worker.log_event(sweep["id"], event | {"line": line}),
            stopped=lambda: asked_to_stop(sweep["id"]),
        )
        try:
            outcome = run_again(clone, name, sweep) if again else run_new(clone, name, changes, sweep)
        except StageError as error:
            outcome = {"state": "failed", "log": str(error)}
        except StoppedError:
            outcome = {"state": "stopped"}
    return {"log": "", "tree": ""} | event | outcome | {"seconds": round(time.time() - began, 1)}


def run_new(clone: Clone, name: str, changes: list[str], sweep: dict[str, Any]) -> dict[str, str]:
    """Run an experiment that the remote lacks, and push it. Return its state and tree."""
    ref = f"{sweep['refs']}/{name}"
    clone.make(sweep)
    if clone.text("git", "ls-remote", "origin", ref):
        return {"state": "known"}
    words = [word for change in changes for word in ("-S", change)]
    clone.reproduce("exp", "run", *pulling(sweep), "--name", name, *words)
    if not sweep["cache"]:
        clone.surely("dvc", "push", "--quiet", "--run-cache")
    if clone.pushed(ref):
        return {"state": "done", "tree": clone.tree(ref)}
    clone.surely("git", "fetch", "--quiet", "origin", f"+{ref}:{KNOWN}")  # another worker was faster
    clone.surely("git", "checkout", "--quiet", ref, "--", ".")
    return clone.compared()


def run_again(clone: Clone, name: str, sweep: dict[str, Any]) -> dict[str, str]:
    """Run a known experiment with its parameters, and without what DVC remembers of it. Return how they compare."""
    clone.make(sweep)
    clone.surely("git", "fetch", "--quiet", "origin", f"+{sweep['refs']}/{name}:{KNOWN}")
    clone.surely("git", "checkout", "--quiet", KNOWN, "--", "params.yaml")
    clone.run("dvc", "checkout" if sweep["cache"] else "pull", "--quiet", "--allow-missing")
    clone.reproduce("repro", *pulling(sweep), "--no-run-cache")
    return clone.compared()


def pulling(sweep: dict[str, Any]) -> list[str]:
    """Return DVC's options to get what is missing, where the leader's cache is out of reach."""
    return ["--allow-missing"] if sweep["cache"] else ["--pull", "--allow-missing"]


def others() -> bool:
    """Say whether there are other workers."""
    from distributed import get_client

    return len(get_client().scheduler_info(n_workers=-1)["workers"]) > 1


def asked_to_stop(sweep: str) -> bool:
    """Say whether the leader has asked this sweep to stop. A scheduler that does not answer has asked nothing."""
    from distributed import Variable

    try:
        return bool(Variable(f"stop-{sweep}").get(timeout=2))
    except (TimeoutError, OSError):
        return False
