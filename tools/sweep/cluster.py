"""The cluster of a sweep: workers on this machine, or a scheduler elsewhere, and the code that its workers need."""

import asyncio
import hashlib
import importlib.util
import logging
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

from pipeline.program.errors import UserError

if TYPE_CHECKING:
    from distributed import Client

TIMEOUT = 10  # seconds for a scheduler to answer


@contextmanager
def connect(scheduler: str | None, workers: int) -> "Iterator[Client]":
    """Yield a client of a scheduler, or of so many workers on this machine (0: one for each core) during the block.

    Raises:
        UserError: Dask is missing, or the scheduler cannot be reached, or has no workers.
    """
    if not importlib.util.find_spec("distributed"):
        raise UserError("sweeps need Dask; install it: make setup WITH=sweep")
    from distributed import Client, LocalCluster, Security

    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # the table at the end says what is lost
    # Its certificates are those of Dask's configuration
    security = Security(require_encryption=scheduler is not None and scheduler.startswith("tls://"))
    with ExitStack() as stack:
        # A terminal sends Ctrl-C to all processes at once. The workers inherit that it is blocked: the leader alone
        # tells them to stop. Python's tracker of resources unblocks it where it is started, so it is started before
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            cluster = scheduler or stack.enter_context(
                LocalCluster(
                    n_workers=workers or None, threads_per_worker=1, memory_limit=0, security=security,
                    host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL,
                    local_directory=str(Path(".dvc", "tmp", "sweep", "dask")),
                )
            )  # fmt: skip
            if scheduler:
                asyncio.run(_greet(scheduler, security.get_connection_args("client")))
            client = stack.enter_context(Client(cluster, security=security, timeout=TIMEOUT))
        except (OSError, TypeError, ValueError) as error:
            cure = "for TLS, DASK_CONFIG names a file that names certificates"
            raise UserError(f"{scheduler or 'Dask'} cannot be reached: {str(error) or 'no answer'}; {cure}") from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if not client.scheduler_info(n_workers=-1)["workers"]:
            raise UserError(f"the scheduler {scheduler} has no workers; start some: dask worker {scheduler} …")
        yield client


async def _greet(scheduler: str, options: dict[str, Any]) -> None:
    """Connect once. Dask's own client would wait for ever for a scheduler that accepts and says nothing."""
    from distributed.comm import connect

    try:
        comm = await asyncio.wait_for(connect(scheduler, **options), TIMEOUT)
    except MemoryError:  # it took other bytes for a length
        raise OSError("what answers there is no scheduler") from None
    await comm.close()


def send_worker(client: "Client") -> ModuleType:
    """Send worker.py to all workers, also to those that come later; return it as a module."""
    from distributed.diagnostics.plugin import SchedulerUploadFile, UploadFile

    code = Path(__file__).with_name("worker.py").read_bytes()
    # A scheduler may have sweeps of several versions at once
    name = f"sweep_worker_{hashlib.sha256(code).hexdigest()[:8]}"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"{name}.py")
        file.write_bytes(code)
        sys.path.insert(0, folder)  # Dask tells the workers the name that a function's module has here
        module = importlib.import_module(name)
        sys.path.remove(folder)
        for plugin in (SchedulerUploadFile(str(file)), UploadFile(str(file))):
            plugin.idempotent = True  # a second sweep does not send it again
            with suppress(OSError, ImportError):  # of a worker that dies or starts just now
                client.register_plugin(plugin, name=name)
    return module


def cores_of(workers: list[str]) -> dict[str, list[int]]:
    """Return the cores of each worker on this machine: two trainings on one core would wait for each other."""
    if not hasattr(os, "sched_getaffinity"):
        return {}
    cores = sorted(os.sched_getaffinity(0))
    each = max(1, len(cores) // len(workers))
    return {worker: cores[each * place % len(cores) :][:each] for place, worker in enumerate(workers)}
