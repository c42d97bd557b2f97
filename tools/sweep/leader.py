"""The leader of a sweep: it gives the experiments to the workers, gathers the results, and shows them."""

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import typer

from pipeline.program.errors import UserError
from tools.sweep.cluster import cores_of, send_worker
from tools.tables import plain_console

if TYPE_CHECKING:
    from distributed import Client, Future


def run(
    client: "Client", experiments: list[dict[str, Any]], sweep: dict[str, Any], control: float
) -> list[dict[str, Any]]:
    """Run experiments on a cluster, and this share of them twice. Return them with their results: see worker.py.

    Raises:
        UserError: a worker has other packages than requirements.txt says, or there is no second one for controls.
        typer.Exit: Ctrl-C was pressed, and the workers have stopped.
    """
    from distributed import Event, as_completed, wait

    worker = send_worker(client)
    workers = client.scheduler_info(n_workers=-1)["workers"]
    if control and len(workers) < 2:
        raise UserError("--control runs experiments again on another worker, and there is only one.")
    # A worker that dies just now is no reason to stop. Another that takes its place looks at its packages itself
    for address, error in client.run(worker.prepare, sweep, on_error="return").items():
        if isinstance(error, worker.LostError):
            raise UserError(f"the worker {address} has {error}; install them there.")
    if sweep["cache"]:  # all workers are on this machine
        sweep["cores"] = cores_of([str(one["name"]) for one in workers.values()])
    twice = {experiment["name"] for experiment in experiments[: math.ceil(control * len(experiments))]}
    results: dict[Future, dict[str, Any]] = {}

    def submit(experiment: dict[str, Any], **preferred: Any) -> "Future":
        key = f"{sweep['id']}-{experiment['name']}-{experiment['again']}"
        future = client.submit(worker.run_experiment, experiment, sweep, key=key, retries=2, **preferred)
        results[future] = experiment | {"where": "", "seconds": 0.0, "lock": "", "log": ""}
        return future

    client.subscribe_topic(sweep["id"], lambda event: typer.echo(event[1]))
    try:
        running = as_completed([submit(experiment) for experiment in experiments], raise_errors=False)
        for number, future in enumerate(running, start=1):
            if future.status == "finished":
                result = results[future] | future.result()
            else:
                error = future.exception() if future.status == "error" else "the scheduler has gone"
                result = results[future] | {"state": "lost", "log": str(error)}
            if result["state"] == "done" and result["name"] in twice:
                # Dask prefers these workers. The worker insists, because Dask also gives work to who is idle
                here = client.who_has([future]).get(future.key, ())
                others = [address for address in workers if address not in here]
                again = result | {"again": True, "avoided": result["where"]}
                running.add(submit(again, workers=others, allow_other_workers=True))
            results[future] = result
            typer.echo(f"{result['parameters']}: {result['state']}, {number} of {len(results)}")
    except KeyboardInterrupt:
        with suppress(Exception):
            Event(sweep["id"]).set()
            wait(list(results), timeout=8)
        typer.echo("Stopped. Start the same sweep again to run what is missing.", err=True)
        raise typer.Exit(130) from None
    return list(results.values())


def show(results: list[dict[str, Any]]) -> bool:
    """Print a table of the results, and the end of the log of each failure. Say whether there is one."""
    from rich.table import Table

    console = plain_console()
    table = Table(box=None, pad_edge=False)
    for column in ("experiment", "parameters", "state", "worker", "seconds", "dvc.lock"):
        table.add_column(column, justify="right" if column == "seconds" else "left", overflow="fold")
    for result in results:
        seconds = f"{result['seconds']:.0f}"
        table.add_row(*(result[key] for key in ("name", "parameters", "state", "where")), seconds, result["lock"])
    console.print(table)
    bad = [result for result in results if result["state"] not in ("done", "known", "same bytes")]
    for result in bad:
        console.print(f"\n{result['name']}, {result['parameters']}: {result['state']}\n{result['log']}")
    return bool(bad)
