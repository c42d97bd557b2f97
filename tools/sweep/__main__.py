"""Run an experiment for every combination of values, on this machine's cores or on many machines.

python -m tools.sweep rate -S train.seed=0,1,2,3,4 -S 'train.hidden_sizes=[50],[100]'
python -m tools.compare 'rate-*'
"""

import sys
from pathlib import Path
from typing import Annotated

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
    tls_ca: Annotated[Path | None, typer.Option("--tls-ca", help="The certificate of who signed the others.")] = None,
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", help="This client's certificate.")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="Its key.")] = None,
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
    from tools.sweep import board, cluster, leader, repository
    from tools.sweep.points import points

    if sys.platform == "win32":
        raise UserError("sweeps need Linux or macOS.")
    certificates = [tls_ca, tls_cert, tls_key]
    cluster.check_security(scheduler, certificates, insecure=insecure)
    rev = repository.committed()
    wanted = points(name, axes, Path("params.yaml"), rev, recipes or [])
    origin = repository.remote_with(rev) if scheduler else str(Path.cwd())
    names = {point.name for point in wanted}
    there = names & repository.known(origin, rev)
    missing = [point for point in wanted if again or point.name not in there]
    typer.echo(f"{len(wanted)} experiments, {len(there)} of them known.")
    failed = False
    if missing:
        shared = leader.shared(rev, origin, home, local=scheduler is None)
        if scheduler is None:
            repository.check_data()
        with cluster.connect(scheduler, certificates, workers) as client:
            results = leader.run(client, missing, shared, again=there if again else set(), control=control)
        failed = board.show(results)
    repository.fetch(origin, rev, names)
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
