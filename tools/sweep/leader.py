"""The leader of a sweep: it gives the experiments to the workers, and gathers the results."""

import math
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pipeline.program.errors import UserError
from tools.sweep.board import Board
from tools.sweep.cluster import cores, send_worker, shares
from tools.sweep.points import Point
from tools.sweep.repository import cache_folder, pinned_packages, refs_of

if TYPE_CHECKING:
    from distributed import Client, Future

RETRIES = 2  # of an experiment whose machine failed
STOPPING = 8.0  # seconds that workers have to stop


def shared(rev: str, origin: str, home: str, *, local: bool) -> dict[str, Any]:
    """Return what all experiments of a sweep share: see `run_experiment` in the folder `worker`."""
    return {
        "id": f"sweep-{uuid.uuid4().hex[:8]}",
        "rev": rev,
        "refs": refs_of(rev),
        "origin": origin,
        "home": str(Path(".dvc", "tmp", "sweep").resolve()) if local else home,
        "cache": cache_folder() if local else None,
        "packages": [] if local else pinned_packages(),
        "cores": {},
    }


def run(
    client: "Client", points: list[Point], sweep: dict[str, Any], again: set[str], control: float
) -> list[dict[str, Any]]:
    """Run the experiments, and return what `run_experiment` returned of each, and of each control.

    Args:
        client: of the cluster.
        points: the experiments to run.
        sweep: what they share.
        again: the names of those that are known, and are compared.
        control: the share of the others that is run twice.

    Raises:
        UserError: a worker has other packages than requirements.txt says, or there is no second one for controls.
        typer.Exit: Ctrl-C was pressed, and the workers have stopped.
    """
    from distributed import Variable, as_completed

    worker = send_worker(client)
    workers = client.scheduler_info(n_workers=-1)["workers"]
    if control and len(workers) < 2:
        raise UserError("--control runs experiments again on another worker, and there is only one.")
    # A worker that dies just now is no reason to stop. Another that takes its place looks at its packages itself
    _refuse_other_packages(client.run(worker.prepare, sweep["home"], sweep["packages"], on_error="ignore"))
    if sweep["cache"] and cores():  # all workers are on this machine
        sweep["cores"] = shares(cores(), [str(one["name"]) for one in workers.values()])
    stop = Variable(f"stop-{sweep['id']}", client=client)
    stop.set(False)
    twice = {point.name for point in points[: math.ceil(control * len(points))]} - again

    def submit(point: Point, repeat: bool, others: list[str] | None = None, elsewhere_than: str = "") -> "Future":
        return client.submit(
            worker.run_experiment, point.name, point.changes, sweep, repeat, elsewhere_than,
            key=f"{sweep['id']}-{point.name}-{repeat}", pure=False, retries=RETRIES,
            workers=others or None, allow_other_workers=bool(others),
        )  # fmt: skip

    results = []
    with Board([point.name for point in points]) as board:
        client.subscribe_topic(sweep["id"], lambda event: board.hear(event[1]))
        given: dict[Future, tuple[Point, bool]] = {}
        try:
            given |= {submit(point, point.name in again): (point, point.name in again) for point in points}
            running = as_completed(given, raise_errors=False)
            for future in running:
                point, repeat = given[future]
                results.append(_result(future, point, repeat))
                board.end(results[-1])
                if results[-1]["state"] == "done" and point.name in twice:
                    where = client.who_has([future]).get(future.key, ())
                    # Dask prefers them. The worker insists, because Dask also gives work to who is idle
                    others = [address for address in workers if address not in where]
                    control_run = submit(point, True, others, results[-1]["where"])
                    given[control_run] = (point, True)
                    board.begin(point.name, True)
                    running.add(control_run)
        except KeyboardInterrupt:
            with suppress(Exception):
                stop.set(True)
                _wait_until_stopped(list(given), board)
            typer.echo("Stopped. Start the same sweep again to run what is missing.", err=True)
            raise typer.Exit(130) from None
    return results


def _result(future: "Future", point: Point, again: bool) -> dict[str, Any]:
    """Return an experiment's result, also where no worker could give one."""
    if future.status == "finished":
        return future.result()
    if future.status == "cancelled":
        reason = "the scheduler has gone"
    else:
        error = future.exception()
        reason = "its worker died again and again" if type(error).__name__ == "KilledWorker" else str(error)
    nothing = {"where": "", "seconds": 0.0, "tree": ""}
    return {"name": point.name, "again": again, "state": "lost", "log": reason} | nothing


def _wait_until_stopped(futures: "list[Future]", board: Board) -> None:
    ends = time.monotonic() + STOPPING
    for future in futures:
        if (left := ends - time.monotonic()) > 0 and future.status == "pending":
            with suppress(Exception):
                board.end(future.result(timeout=left))


def _refuse_other_packages(differing: dict[str, str]) -> None:
    for address, packages in differing.items():
        if packages:
            raise UserError(
                f"the worker {address} has other packages than requirements.txt says: {packages}; install it there."
            )
