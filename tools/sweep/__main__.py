"""Run an experiment for every combination of values, on this machine's cores or on many machines.

python -m tools.sweep rate -S train.seed=0,1,2,3,4 -S 'train.hidden_sizes=[50],[100]'
python -m tools.compare 'rate-*'
"""

import sys
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from pipeline.program.command import command
from pipeline.program.errors import UserError


@command
def main(
    name: Annotated[str, Argument(help="The experiments are called NAME-….")],
    axes: Annotated[list[str], Option("--set-param", "-S", metavar="SECTION.KEY=V1,V2", help="Values to combine.")],
    recipes: Annotated[list[Path] | None, Option("--recipe", help="Use this file in place of params.yaml.")] = None,
    workers: Annotated[int, Option(min=0, help="Workers on this machine.", show_default="one for each core")] = 0,
    scheduler: Annotated[str | None, Option(help="Use the workers of this Dask scheduler: tls://host:8786.")] = None,
    insecure: Annotated[bool, Option("--insecure", help="Allow one without TLS: who reaches it runs code.")] = False,
    home: Annotated[str, Option(help="The folder for clones and checkpoints on each worker.")] = "~/.cache/dvc-sweep",
    again: Annotated[bool, Option("--again", help="Run known experiments too, and compare the bytes.")] = False,
    control: Annotated[float, Option(min=0, max=1, help="Run this share on another worker, too, and compare.")] = 0,
) -> None:
    """Run an experiment for every combination of values that the project does not have yet.

    -S and --recipe may be repeated. Each is an ordinary DVC experiment of the last commit: `dvc exp show`, `dvc exp
    apply` and tools.compare know it. If the sweep is started again, it runs what is missing. Ctrl-C stops it.
    """
    from tools.sweep import cluster, repository
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
    well = True
    if missing:
        sweep: dict[str, Any] = {  # what workers need to know
            "id": f"sweep-{uuid.uuid4().hex[:8]}",
            "rev": rev,
            "refs": repository.refs_of(rev),  # the folder of the experiments' refs
            "origin": origin,  # the Git remote, which has the commit
            "home": home if scheduler else str(Path(".dvc", "tmp", "sweep").resolve()),  # the folder for clones
            "cache": None if scheduler else repository.cache_with_data(),  # else each worker has one, and pushes
            "packages": repository.pinned_packages() if scheduler else [],
        }
        with cluster.connect(scheduler, workers) as client:
            well = cluster.run(client, missing, sweep, control)
    repository.fetch(origin, rev, names)
    if not well:
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
