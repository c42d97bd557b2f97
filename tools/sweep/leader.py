"""The leader of a sweep: it gives the experiments to Dask, shows how far they are, and gathers the results."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import typer

from pipeline.program.errors import UserError
from tools.sweep.points import Point
from tools.sweep.repository import refs_of

if TYPE_CHECKING:
    from distributed import Client
    from rich.table import Table

RETRIES = 2  # of an experiment whose machine failed
STOPPING = 8.0  # seconds that workers have to stop
FINE = ("done", "known", "same bytes")
WORKER = Path(__file__).with_name("sweep_worker.py")


class Sweep:
    """What all experiments of a sweep share: see `run_experiment`."""

    def __init__(self, rev: str, origin: str, home: str, *, local: bool):
        self.id = f"sweep-{uuid.uuid4().hex[:8]}"
        self.local = local
        if local:
            home = str(Path(".dvc", "tmp", "sweep").resolve())
        self.shared: dict[str, Any] = {
            "id": self.id,
            "rev": rev,
            "refs": refs_of(rev),
            "origin": origin,
            "home": home,
            "cache": _cache() if local else None,
            "packages": _locked(),
            "cores": {},
        }


def _cache() -> str:
    """Return the folder of DVC's cache."""
    done = subprocess.run([sys.executable, "-m", "dvc", "cache", "dir"], capture_output=True, text=True)
    if done.returncode:
        raise UserError("this folder is not a DVC project.")
    return str(Path(done.stdout.strip()).resolve())


def _locked() -> dict[str, str]:
    """Return the version of each package of requirements.txt that is installed here."""
    names = re.findall(r"^([\w.-]+)==", Path("requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    return worker_module().installed(names)


def worker_module() -> ModuleType:
    """Return the module that Dask sends to the workers, under the name that it has there."""
    if WORKER.stem not in sys.modules:
        spec = importlib.util.spec_from_file_location(WORKER.stem, WORKER)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[WORKER.stem] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[WORKER.stem]


@contextmanager
def cluster(scheduler: str | None, certificates: Sequence[Path | None], workers: int) -> "Iterator[Client]":
    """Yield a client of a scheduler, or of workers on this machine that end with the block.

    Raises:
        UserError: the scheduler cannot be reached, or has no workers.
    """
    from distributed import Client, LocalCluster, Security

    if scheduler is None:
        with _interrupts_later():
            local = LocalCluster(
                n_workers=workers or None,  # one for each core
                threads_per_worker=1,
                memory_limit=0,
                host="127.0.0.1",
                dashboard_address=None,
                silence_logs=50,
                local_directory=str(Path(".dvc", "tmp", "sweep", "dask")),
            )
        with local, Client(local) as client:
            yield client
        return
    ca, cert, key = (str(path) if path else None for path in certificates)
    security = Security(
        tls_ca_file=ca, tls_client_cert=cert, tls_client_key=key, require_encryption=scheduler.startswith("tls://")
    )
    try:
        client = Client(scheduler, security=security, timeout=10)
    except (OSError, TimeoutError, ValueError) as error:
        raise UserError(f"the scheduler {scheduler} cannot be reached: {error}.") from None
    with client:
        if not client.scheduler_info(n_workers=-1)["workers"]:
            raise UserError(f"the scheduler {scheduler} has no workers; start some: dask worker {scheduler} …")
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


def run(client: "Client", points: list[Point], sweep: Sweep, again: set[str], control: float) -> list[dict[str, Any]]:
    """Run the experiments, and return what `run_experiment` returned of each, and of each control.

    Args:
        client: of the cluster.
        points: the experiments to run.
        sweep: what they share.
        again: the names of those that are known, and are compared.
        control: the share of the others that is run twice.
    """
    from distributed import Variable, as_completed

    module = worker_module()
    client.upload_file(str(WORKER))
    workers = client.scheduler_info(n_workers=-1)["workers"]
    _refuse_other_packages(client.run(module.differing_packages, sweep.shared["packages"]))
    if sweep.local and hasattr(os, "sched_getaffinity"):
        sweep.shared["cores"] = _shares(sorted(os.sched_getaffinity(0)), [str(one["name"]) for one in workers.values()])
    stop = Variable(f"stop-{sweep.id}", client=client)
    stop.set(False)

    board = Board([point.name for point in points])
    client.subscribe_topic(sweep.id, lambda event: board.hear(event[1]))
    twice = {point.name for point in points[: round(control * len(points))]} - again

    def submit(point: Point, repeat: bool, elsewhere: str | None = None) -> Any:
        others = [address for address in workers if address != elsewhere]
        return client.submit(
            module.run_experiment, point.name, point.changes, sweep.shared, repeat,
            key=f"{sweep.id}-{point.name}-{repeat}", pure=False, retries=RETRIES,
            workers=others if elsewhere and others else None, allow_other_workers=bool(elsewhere and others),
        )  # fmt: skip

    futures = {submit(point, point.name in again): point for point in points}
    results = []
    with board:
        try:
            running = as_completed(futures, raise_errors=False)
            for future in running:
                point = futures[future]
                result = _result(future, point)
                results.append(result)
                board.end(result)
                if result["state"] == "done" and point.name in twice and not result["again"]:
                    where = next(iter(client.who_has([future]).get(future.key, ())), None)
                    repeat = submit(point, True, where)
                    futures[repeat] = point
                    board.begin(point.name, True)
                    running.add(repeat)
        except KeyboardInterrupt:
            with suppress(Exception):
                stop.set(True)
                ends = time.monotonic() + STOPPING
                for future in futures:
                    if (left := ends - time.monotonic()) > 0 and future.status == "pending":
                        with suppress(Exception):
                            board.end(future.result(timeout=left))
            typer.echo("Stopped. Start the same sweep again to run what is missing.", err=True)
            raise typer.Exit(130) from None
    return results


def _result(future: Any, point: Point) -> dict[str, Any]:
    """Return an experiment's result, also where no worker could give one."""
    if future.status == "finished":
        return future.result()
    error = future.exception()
    reason = "its worker died again and again" if type(error).__name__ == "KilledWorker" else str(error)
    return {"name": point.name, "where": "", "state": "lost", "seconds": 0.0, "again": False, "log": reason}


def _refuse_other_packages(differing: dict[str, str]) -> None:
    for address, packages in differing.items():
        if packages:
            raise UserError(
                f"the worker {address} has other packages than this machine: {packages}; install "
                "requirements.txt there."
            )


def _shares(cores: list[int], names: list[str]) -> dict[str, list[int]]:
    """Return each worker's cores, so that two trainings do not wait for each other."""
    each = max(1, len(cores) // len(names))
    places = [cores[(each * number) % len(cores) :][:each] for number in range(len(names))]
    return dict(zip(names, places, strict=True))


class Board:
    """What is shown while a sweep runs: a live table on a terminal, else a line for each change."""

    def __init__(self, names: list[str]):
        from tools.terminal import plain_console

        self._console = plain_console()
        self._rows = {(name, False): {"state": "waits", "where": "", "line": ""} for name in names}
        self._began: dict[tuple[str, bool], float] = {}
        self._live: Any = None

    def __enter__(self) -> "Board":
        if self._console.is_terminal:
            from rich.live import Live

            self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=2, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def begin(self, name: str, again: bool) -> None:
        """Note that an experiment is given out."""
        self._rows[name, again] = {"state": "waits", "where": "", "line": ""}

    def hear(self, event: dict[str, Any]) -> None:
        """Note what a worker says of an experiment."""
        key = (event["name"], event["again"])
        row = self._rows.setdefault(key, {"state": "", "where": "", "line": ""})
        if row["state"] in ("", "waits", "runs"):
            row |= {"state": "runs", "where": event["where"], "line": event["line"]}
            self._began.setdefault(key, time.monotonic())

    def end(self, result: dict[str, Any]) -> None:
        """Note the result of an experiment."""
        key = (result["name"], result["again"])
        self._rows[key] = {"state": result["state"], "where": result["where"], "line": ""}
        if not self._live:
            typer.echo(f"{result['name']}: {result['state']}, {result['where']}, {result['seconds']:.0f} s")

    def _table(self) -> "Table":
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for column in ("experiment", "worker", "state", "time", "last line"):
            table.add_column(column, no_wrap=True, overflow="ellipsis")
        running = [key for key, row in self._rows.items() if row["state"] == "runs"]
        for name, again in running:
            row = self._rows[name, again]
            seconds = time.monotonic() - self._began[name, again]
            table.add_row(name, row["where"], "again" if again else "runs", f"{seconds:.0f} s", row["line"])
        states = [row["state"] for row in self._rows.values()]
        finished = sum(state not in ("waits", "runs") for state in states)
        table.caption = f"{finished} of {len(states)} finished, {states.count('waits')} wait"
        return table


def show(results: list[dict[str, Any]]) -> bool:
    """Print a table of the results, and the end of the log of each failure. Say whether there is one."""
    from rich.table import Table

    from tools.terminal import plain_console

    console = plain_console()
    table = Table(box=None, pad_edge=False)
    for column in ("experiment", "state", "worker", "seconds", "tree"):
        table.add_column(column, justify="right" if column == "seconds" else "left", overflow="fold")
    for result in sorted(results, key=lambda result: (result["name"], result["again"])):
        table.add_row(
            result["name"], result["state"], result["where"], f"{result['seconds']:.0f}", result.get("tree", "")
        )
    console.print(table)
    bad = [result for result in results if result["state"] not in FINE]
    for result in bad:
        console.print(f"\n{result['name']}: {result['state']}\n{result.get('log', '')}")
    return bool(bad)
