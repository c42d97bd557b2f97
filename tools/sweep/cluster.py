"""The cluster of a sweep, on this machine or elsewhere: its workers get code and experiments, and
give results.
"""

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

if TYPE_CHECKING:
    from distributed import Client, Future

TIMEOUT = 10  # seconds for a scheduler to answer


@contextmanager
def connect(scheduler: str | None, workers: int) -> "Iterator[Client]":
    """Yield a client of a scheduler, or of so many workers on this machine (0: one for each core)
    during the block.

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
                os.environ.setdefault(
                    "TRAIN_PROCESSES", str(max(1, available_processes() // workers))
                )
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
            reason = (
                "what answers is no scheduler"
                if isinstance(error, MemoryError)
                else str(error) or "no answer"
            )
            cure = "for TLS, DASK_CONFIG names a file that names certificates"
            raise UserError(f"{scheduler or 'Dask'} cannot be reached: {reason}; {cure}") from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if not client.scheduler_info(n_workers=-1)["workers"]:
            raise UserError(
                f"the scheduler {scheduler} has no workers; start some: dask worker {scheduler} …"
            )
        yield client


async def _greet(scheduler: str, options: dict[str, Any]) -> None:
    """Connect once.

    Dask's own client would wait for ever for a scheduler that accepts and says nothing.
    """
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
    client: "Client", experiments: list[dict[str, Any]], sweep: dict[str, Any], control: float
) -> bool:
    """Run experiments on a cluster, and this share of them twice. Print a row for each; say whether
    all are well.

    Raises:
        UserError: a worker has other packages than requirements.txt says, or there is no second one
        for controls. typer.Exit: Ctrl-C was pressed, and the workers have stopped.
    """
    from distributed import Event, as_completed, wait

    worker = _send_worker(client)
    workers = client.scheduler_info(n_workers=-1)["workers"]
    if control and len(workers) < 2:
        raise UserError(
            "--control runs experiments again on another worker, and there is only one."
        )
    # A worker that dies just now is no reason to stop. Another that takes its place looks at its
    # packages itself
    for address, error in client.run(worker.prepare, sweep, on_error="return").items():
        if isinstance(error, worker.LostError):
            raise UserError(f"the worker {address} has {error}; install them there.")
    twice = {
        experiment["name"] for experiment in experiments[: math.ceil(control * len(experiments))]
    }
    submitted: dict[Future, dict[str, Any]] = {}

    def submit(experiment: dict[str, Any], **preferred: Any) -> "Future":
        key = f"{sweep['id']}-{experiment['name']}-{experiment['again']}"
        future = client.submit(
            worker.run_experiment, experiment, sweep, key=key, retries=2, **preferred
        )
        submitted[future] = experiment
        return future

    well = True
    client.subscribe_topic(sweep["id"], lambda event: typer.echo(event[1]))
    names, parameters = (
        max(len(one[key]) for one in experiments) for key in ("name", "parameters")
    )
    row = f"{{:{names}}}  {{:{parameters}}}  {{:11}}  {{:12}}  {{:>7}}  {{}}"
    typer.echo(row.format("experiment", "parameters", "state", "worker", "seconds", "dvc.lock"))
    try:
        running = as_completed(
            [submit(experiment) for experiment in experiments], raise_errors=False
        )
        for future in running:
            experiment = submitted[future]
            if future.status == "finished":
                result = future.result()
            else:
                error = future.exception() if future.status == "error" else "the scheduler has gone"
                result = {"state": "lost", "where": "", "seconds": 0, "log": str(error)}
            name, state, where, seconds = (
                experiment["name"],
                result["state"],
                result["where"],
                round(result["seconds"]),
            )
            typer.echo(
                row.format(
                    name, experiment["parameters"], state, where, seconds, result.get("lock", "")
                )
            )
            if state not in ("done", "known", "same bytes"):
                well = False
                typer.echo(result.get("log", ""))
            if state == "done" and name in twice:
                # Dask prefers these workers. The worker insists, because Dask also gives work to
                # who is idle
                here = client.who_has([future]).get(future.key, ())
                others = [address for address in workers if address not in here]
                again = experiment | {"again": True, "avoided": where}
                running.add(submit(again, workers=others, allow_other_workers=True))
    except KeyboardInterrupt:
        with suppress(Exception):
            Event(sweep["id"]).set()
            wait(list(submitted), timeout=8)
        typer.echo("Stopped. Start the same sweep again to run what is missing.", err=True)
        raise typer.Exit(130) from None
    return well
