"""The cluster of a sweep: workers on this machine, or a scheduler elsewhere, and the code that its workers need."""

import hashlib
import importlib.util
import logging
import os
import signal
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from pipeline.program.errors import UserError

if TYPE_CHECKING:
    from distributed import Client

WORKER = Path(__file__).with_name("worker")


def check_security(scheduler: str | None, certificates: Sequence[Path | None], *, insecure: bool) -> None:
    """Check that the options belong together.

    Raises:
        UserError: they do not.
        OSError: a certificate or key cannot be read.
    """
    if scheduler is None and any(certificates):
        raise UserError("--tls-ca, --tls-cert and --tls-key belong to --scheduler.")
    if scheduler is not None and not scheduler.startswith("tls://") and not insecure:
        raise UserError(
            f"--scheduler is {scheduler}, without TLS: who reaches it runs code; expected tls://…, or --insecure."
        )
    if scheduler is not None and scheduler.startswith("tls://") and not all(certificates):
        raise UserError("a scheduler with TLS needs --tls-ca, --tls-cert and --tls-key.")
    for path in certificates:
        if path:
            path.open("rb").close()


@contextmanager
def connect(scheduler: str | None, certificates: Sequence[Path | None], workers: int) -> "Iterator[Client]":
    """Yield a client of a scheduler, or of workers on this machine that end with the block.

    Args:
        scheduler: its address; None: on this machine.
        certificates: for TLS, that of the authority, the client's, and the client's key.
        workers: on this machine; 0: one for each core.

    Raises:
        UserError: Dask is missing, or the scheduler cannot be reached, or has no workers.
    """
    if not importlib.util.find_spec("distributed"):
        raise UserError("sweeps need Dask; install it: make setup WITH=sweep")
    if scheduler is None:
        with _local_client(workers) as client:
            yield client
        return
    from distributed import Client, Security

    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # the table at the end says what is lost
    ca, cert, key = (str(path) if path else None for path in certificates)
    security = Security(
        tls_ca_file=ca, tls_client_cert=cert, tls_client_key=key, require_encryption=scheduler.startswith("tls://")
    )
    try:
        client = Client(scheduler, security=security, timeout=10)
    except (OSError, TimeoutError, ValueError) as error:
        raise UserError(f"the scheduler {scheduler} cannot be reached: {str(error) or type(error).__name__}.") from None
    with client:
        if not client.scheduler_info(n_workers=-1)["workers"]:
            raise UserError(f"the scheduler {scheduler} has no workers; start some: dask worker {scheduler} …")
        yield client


@contextmanager
def _local_client(workers: int) -> "Iterator[Client]":
    from distributed import Client, LocalCluster

    with _interrupts_later():
        cluster = LocalCluster(
            n_workers=workers or None,  # one for each core
            threads_per_worker=1,
            memory_limit=0,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
            local_directory=str(Path(".dvc", "tmp", "sweep", "dask")),
        )
    with cluster, Client(cluster) as client:
        yield client


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Let Ctrl-C wait until the end of the block, and never reach the processes that the block starts.

    A terminal sends Ctrl-C to all of them at once. The leader alone shall tell the workers to stop.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # what is started inherits it
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def send_worker(client: "Client") -> ModuleType:
    """Send the folder `worker` to all workers, also to those that come later; return it as a module.

    Its name there has a hash of its files, because a scheduler may have sweeps of several versions at once.
    """
    from distributed.diagnostics.plugin import SchedulerUploadFile, UploadFile

    files = sorted(WORKER.glob("*.py"))
    name = f"sweep_worker_{hashlib.sha256(b''.join(file.read_bytes() for file in files)).hexdigest()[:8]}"
    if name not in sys.modules:  # Dask tells the workers the name that a function's module has here
        spec = importlib.util.spec_from_file_location(name, WORKER / "__init__.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, f"{name}.zip")
        with zipfile.ZipFile(archive, "w") as packed:
            for file in files:
                packed.write(file, f"{name}/{file.name}")
        for plugin in (SchedulerUploadFile(str(archive)), UploadFile(str(archive))):
            plugin.idempotent = True  # a second sweep does not send it again
            with suppress(OSError, ImportError):  # of a worker that dies or starts just now
                client.register_plugin(plugin, name=name)
    return sys.modules[name]


def shares(cores: list[int], names: list[str]) -> dict[str, list[int]]:
    """Return each worker's cores, so that two trainings do not wait for each other."""
    each = max(1, len(cores) // len(names))
    places = [cores[(each * number) % len(cores) :][:each] for number in range(len(names))]
    return dict(zip(names, places, strict=True))


def cores() -> list[int]:
    """Return the cores that this process may use; none if the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
