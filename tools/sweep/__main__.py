"""Run an experiment for every combination of values, on this machine's cores or on many machines.

python -m tools.sweep rate -S train.seed=0,1,2,3,4 -S 'train.hidden_sizes=[50],[100]'
python -m tools.compare 'rate-*'
"""

import sys
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.program.command import command
from pipeline.program.errors import UserError


@command
def main(
    name: Annotated[str, typer.Argument(help="The experiments are called NAME-….")],
    axes: Annotated[
        list[str],
        typer.Option("--set-param", "-S", metavar="SECTION.KEY=V1,V2", help="Values of a parameter; may be repeated."),
    ],
    recipes: Annotated[
        list[Path] | None, typer.Option("--recipe", help="A parameter file in place of params.yaml; may be repeated.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Workers on this machine.", show_default="one for each core")] = 0,
    scheduler: Annotated[
        str | None, typer.Option(help="A Dask scheduler instead: tls://host:8786. Its workers run the experiments.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Accept a scheduler without TLS: who reaches it runs code.")
    ] = False,
    home: Annotated[
        str, typer.Option(help="The folder for clones and checkpoints on each worker.")
    ] = "~/.cache/dvc-sweep",
    again: Annotated[bool, typer.Option("--again", help="Run known experiments too, and compare the bytes.")] = False,
    control: Annotated[
        float, typer.Option(min=0, max=1, help="Run this share twice, on another worker, and compare the bytes.")
    ] = 0,
) -> None:
    """Run an experiment for every combination of values that the project does not have yet.

    Each is an ordinary DVC experiment of the last commit: `dvc exp show`, `dvc exp apply` and tools.compare know it. If
    the sweep is started again, it runs what is missing. Ctrl-C stops it.
    """
    from tools.sweep import cluster, leader, repository
    from tools.sweep.combinations import combinations

    if sys.platform == "win32":
        raise UserError("sweeps need Linux or macOS.")
    if scheduler and not scheduler.startswith("tls://") and not insecure:
        raise UserError(f"--scheduler is {scheduler}: who reaches it runs code; expected tls://…, or --insecure.")
    rev = repository.committed()
    wanted = combinations(name, axes, Path("params.yaml"), rev, recipes or [])
    origin = repository.remote_with(rev) if scheduler else str(Path.cwd())
    names = {one["name"] for one in wanted}
    known = names & repository.known(origin, rev)
    missing = [one | {"again": one["name"] in known} for one in wanted if again or one["name"] not in known]
    typer.echo(f"{len(wanted)} experiments, {len(known)} of them known.")
    failed = False
    if missing:
        sweep: dict[str, Any] = {  # what workers need to know
            "id": f"sweep-{uuid.uuid4().hex[:8]}",
            "rev": rev,
            "refs": repository.refs_of(rev),  # the folder of the experiments' refs
            "origin": origin,  # the Git remote, which has the commit
            "home": home if scheduler else str(Path(".dvc", "tmp", "sweep").resolve()),  # the folder for clones
            "cache": None if scheduler else repository.cache_with_data(),  # else each worker has one, and pushes
            "packages": repository.pinned_packages() if scheduler else [],
            "cores": {},  # of each worker by name
        }
        with cluster.connect(scheduler, workers) as client:
            failed = leader.show(leader.run(client, missing, sweep, control))
    repository.fetch(origin, rev, names)
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
