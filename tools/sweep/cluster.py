"""The cluster of a sweep: its workers, here or elsewhere, get experiments and give results."""

import asyncio
import hashlib
import importlib.util
import logging
import math
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import typer

from pipeline.program.errors import UserError
from tools.sweep import results

if TYPE_CHECKING:
    from distributed import Client, Future

TIMEOUT = 10  # seconds for a scheduler to answer
GONE = "the scheduler has gone, or its last worker"


@contextmanager
def connect(scheduler: str | None, workers: int) -> "Iterator[Client]":
    """Yield a client of a scheduler, or of so many workers here (0: one for each core).

    Raises:
        UserError: Dask is missing, or the scheduler cannot be reached, or has no workers.
    """
    if not importlib.util.find_spec("distributed"):
        raise UserError("sweeps need Dask; install it: make setup WITH=sweep")
    from dask.system import CPU_COUNT
    from distributed import Client, LocalCluster, Security

    from pipeline.fitting.processes import available_processes

    # The table says what is lost
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    # Its certificates are those of Dask's configuration
    security = Security(require_encryption=scheduler is not None and scheduler.startswith("tls://"))
    with ExitStack() as stack:
        # A terminal sends Ctrl-C to all processes at once. The workers inherit that it is blocked:
        # the leader alone tells them to stop. Python's tracker of resources unblocks it where it is
        # started, so it is started before
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            if scheduler:
                asyncio.run(_greet(scheduler, security.get_connection_args("client")))
            else:  # two trainings on one core would wait for each other
                workers = workers or CPU_COUNT
                processes = max(1, available_processes() // workers)
                os.environ.setdefault("TRAIN_PROCESSES", str(processes))
            cluster = scheduler or stack.enter_context(
                LocalCluster(
                    n_workers=workers, threads_per_worker=1, memory_limit=0, security=security,
                    host="127.0.0.1", dashboard_address="127.0.0.1:0",
                    silence_logs=logging.CRITICAL,
                    local_directory=str(Path(".dvc", "tmp", "sweep", "dask")),
                )
            )  # fmt: skip
            client = stack.enter_context(Client(cluster, security=security, timeout=TIMEOUT))
        # MemoryError: it took other bytes for a length
        except (MemoryError, OSError, TypeError, ValueError) as error:
            no_scheduler = isinstance(error, MemoryError)
            reason = "what answers is no scheduler" if no_scheduler else str(error) or "no answer"
            cure = "for TLS, DASK_CONFIG names a file that names certificates"
            raise UserError(f"{scheduler or 'Dask'} cannot be reached: {reason}; {cure}") from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if not client.scheduler_info(n_workers=-1)["workers"]:
            cure = f"start some: dask worker {scheduler} …"
            raise UserError(f"the scheduler {scheduler} has no workers; {cure}")
        yield client


async def _greet(scheduler: str, options: dict[str, Any]) -> None:
    """Connect once: Dask's client would wait for ever for one that accepts and says nothing."""
    from distributed.comm import connect

    comm = await asyncio.wait_for(connect(scheduler, **options), TIMEOUT)
    await comm.close()


def _send_worker(client: "Client") -> ModuleType:
    """Send worker.py to all workers, also to those that come later; return it as a module."""
    from distributed.diagnostics.plugin import SchedulerUploadFile, UploadFile

    code = Path(__file__).with_name("worker.py").read_bytes()
    # A scheduler may have sweeps of several versions at once
    name = f"sweep_worker_{hashlib.sha256(code).hexdigest()[:8]}"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"{name}.py")
        file.write_bytes(code)
        # Dask tells the workers the name that a function's module has here
        sys.path.insert(0, folder)
        module = importlib.import_module(name)
        sys.path.remove(folder)
        for plugin in (SchedulerUploadFile(str(file)), UploadFile(str(file))):
            plugin.idempotent = True  # a second sweep does not send it again
            with suppress(OSError, ImportError):  # of a worker that dies or starts just now
                client.register_plugin(plugin, name=name)
    return module


def run(
    client: "Client",
    experiments: list[dict[str, Any]],
    names: set[str],
    sweep: dict[str, Any],
    control: float,
) -> bool:
    """Run experiments, the share `control` of them twice, print rows, and return if all are well.

    A result that is run twice becomes an experiment only if both have the same bytes. If they
    differ, this machine runs it, too. A worker that made other bytes gets no more work, and those
    of the sweep's experiments, `names`, that it made are removed.

    Raises:
        UserError: a worker has other packages than requirements.txt says, or there is no second one
        for controls. typer.Exit: Ctrl-C was pressed, and the workers have stopped.
    """
    from distributed import Event, as_completed, wait

    worker = _send_worker(client)
    workers = client.scheduler_info(n_workers=-1)["workers"]
    if control and len(workers) < 2:
        raise UserError("--control runs experiments on another worker, too; there is only one.")
    # A worker that dies just now is no reason to stop. Another that takes its place looks at its
    # packages itself
    for address, error in client.run(worker.prepare, sweep, on_error="return").items():
        if isinstance(error, worker.LostError):
            raise UserError(f"the worker {address} has {error}; install them there.")
    twice = {one["name"] for one in experiments[: math.ceil(control * len(experiments))]}
    submitted: dict[Future, dict[str, Any]] = {}
    held: dict[str, str] = {}  # the commits of results that wait for their controls
    bad: set[str] = set()  # workers that made other bytes than this machine

    def submit(experiment: dict[str, Any]) -> "Future":
        # Dask prefers these workers. The worker insists, because Dask also gives work to who is
        # idle
        avoided = experiment.get("avoided", "")
        others = [one for one in workers if not avoided.startswith(f"{workers[one]['name']}@")]
        future = client.submit(
            worker.run_experiment, experiment, sweep, retries=2,
            key=f"{sweep['id']}-{experiment['name']}-{experiment['again']}",
            workers=others or None, allow_other_workers=bool(others),
        )  # fmt: skip
        submitted[future] = experiment
        return future

    def settle(experiment: dict[str, Any], result: dict[str, Any]) -> None:
        """Make a result an experiment, or say in its `state` why it is none."""
        name, commit = experiment["name"], results.unpack(result["bundle"])
        first = held.pop(name, "")
        if result["where"] in bad:
            result["state"] = "put aside"
            return
        if name in twice and not experiment["again"]:
            held[name] = commit
            return
        if not first or not results.differing(first, commit):
            first = results.accept(sweep["origin"], sweep["refs"], name, first or commit)
        if first != commit:
            result["state"] = "same bytes"
        if files := results.differing(first, commit):
            bad.update(_wrong(experiment, sweep, [first, commit]))
            for other in [one for one in held if results.author(held[one]) in bad]:
                del held[other]
            results.remove(sweep["origin"], sweep["refs"], names, bad)
            _retire(client, bad, list(submitted))
            result |= {"state": "OTHER BYTES", "log": f"other bytes in {', '.join(files)}"}
            what = "such workers get no more work, and their results are removed"
            typer.echo(f"{', '.join(sorted(bad))} made other bytes than this machine; {what}.")
            typer.echo("Start the same sweep again to make them again.")

    well = True
    client.subscribe_topic(sweep["id"], lambda event: typer.echo(event[1]))
    widths = [max(len(one[key]) for one in experiments) for key in ("name", "parameters")]
    row = f"{{:{widths[0]}}}  {{:{widths[1]}}}  {{:11}}  {{:12}}  {{:>7}}  {{}}"
    typer.echo(row.format("experiment", "parameters", "state", "worker", "seconds", "dvc.lock"))
    try:
        running = as_completed([submit(one) for one in experiments], raise_errors=False)
        for future in running:
            experiment = submitted.pop(future)
            if future.status == "finished":
                result = future.result()
            else:
                error = future.exception() if future.status == "error" else GONE
                result = {"state": "lost", "where": "", "seconds": 0, "log": str(error)}
            future.release()  # a worker that retires gives what it holds to others
            if result["state"] == "done":
                settle(experiment, result)
            texts = [experiment["name"], experiment["parameters"], result["state"], result["where"]]
            typer.echo(row.format(*texts, round(result["seconds"]), result.get("lock", "")))
            if result["state"] not in ("done", "same bytes"):
                well = False
                typer.echo(result.get("log", ""))
            elif experiment["name"] in held:
                again = experiment | {"again": True, "avoided": result["where"]}
                running.add(submit(again))
    except KeyboardInterrupt:
        with suppress(Exception):
            Event(sweep["id"]).set()
            wait(list(submitted), timeout=8)
        typer.echo("Stopped. Start the same sweep again to run what is missing.", err=True)
        raise typer.Exit(130) from None
    return well


def _wrong(experiment: dict[str, Any], sweep: dict[str, Any], commits: list[str]) -> set[str]:
    """Return the authors of commits that differ from a run here; all, if it cannot run here."""
    with connect(None, 1) as here:
        again = here.submit(_send_worker(here).run_experiment, experiment | {"again": True}, sweep)
        own = again.result() if not again.exception() else {}
    right = results.unpack(own["bundle"]) if "bundle" in own else ""
    return {results.author(one) for one in commits if not right or results.differing(right, one)}


def _retire(client: "Client", wheres: set[str], futures: "list[Future]") -> None:
    """Close some workers. If no others are left, cancel what they should do."""
    names = {where.rpartition("@")[0] for where in wheres}
    others = client.scheduler_info(n_workers=-1)["workers"].values()
    if all(str(one["name"]) in names for one in others):
        client.cancel(futures)
    client.retire_workers(names=list(names))
