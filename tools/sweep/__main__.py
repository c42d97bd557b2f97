"""Run an experiment for every combination of values, on this machine's cores or on many machines.

python -m tools.sweep rate -S train.seed=0,1,2,3,4 -S 'train.hidden_sizes=[50],[100]'
"""

import json
import re
import sys
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from pipeline.program.command import command
from pipeline.program.errors import UserError
from tools.lock import output


@command
def main(
    name: Annotated[str, Argument(help="The experiments are called NAME-….")],
    axes: Annotated[
        list[str],
        Option("--set-param", "-S", metavar="SECTION.KEY=V1,V2", help="Values to combine."),
    ],
    recipes: Annotated[
        list[Path] | None, Option("--recipe", help="Use this file in place of params.yaml.")
    ] = None,
    workers: Annotated[
        int, Option(min=0, help="Workers on this machine.", show_default="one for each core")
    ] = 0,
    scheduler: Annotated[
        str | None, Option(help="Use the workers of this Dask scheduler: tls://host:8786.")
    ] = None,
    insecure: Annotated[
        bool, Option("--insecure", help="Allow no TLS: who reaches it can run code.")
    ] = False,
    home: Annotated[
        str, Option(help="The folder for clones and checkpoints on each worker.")
    ] = "~/.cache/dvc-sweep",
    again: Annotated[bool, Option("--again", help="Run known experiments, too; compare.")] = False,
    control: Annotated[
        float, Option(min=0, max=1, help="The share that a second worker runs, too.")
    ] = 0,
) -> None:
    """Run an experiment for every combination of values that the project does not have yet.

    -S and --recipe may be repeated. Each run is an ordinary DVC experiment of the last commit:
    `dvc exp show`, `dvc exp apply` and tools.compare know it. If the sweep is started again, it
    runs what is missing. Ctrl-C stops it.
    """
    from tools.sweep import cluster, results
    from tools.sweep.combinations import combinations

    if sys.platform == "win32":
        raise UserError("sweeps need Linux or macOS.")
    if scheduler and not scheduler.startswith("tls://") and not insecure:
        what = "who reaches it runs code; expected tls://…, or --insecure"
        raise UserError(f"--scheduler is {scheduler}: {what}.")
    rev = committed()
    wanted = combinations(name, axes, Path("params.yaml"), rev, recipes or [])
    origin = remote_with(rev) if scheduler else str(Path.cwd())
    names = {one["name"] for one in wanted}
    refs = f"refs/exps/{rev[:2]}/{rev[2:]}"  # DVC's folder of the commit's experiments
    known = names & results.experiments(origin, refs)
    results.fetch(origin, refs, names)
    missing = [one | {"again": False} for one in wanted if one["name"] not in known]
    for one in wanted if again else ():
        if one["name"] in known:  # another worker than its author should run it
            author = results.author(f"{refs}/{one['name']}")
            missing.append(one | {"again": True, "avoided": author})
    typer.echo(f"{len(wanted)} experiments, {len(known)} of them known.")
    well = True
    if missing:
        sweep: dict[str, Any] = {  # what workers need to know
            "id": f"sweep-{uuid.uuid4().hex[:8]}",
            "rev": rev,
            "refs": refs,
            "origin": origin,  # the Git remote, which has the commit
            "home": home if scheduler else str(Path(".dvc", "tmp", "sweep").resolve()),
            "cache": None if scheduler else cache_with_data(),  # None: each has one, and pushes
            "packages": pinned_packages() if scheduler else [],
        }
        with cluster.connect(scheduler, workers) as client:
            well = cluster.run(client, missing, names, sweep, control)
    if not well:
        raise typer.Exit(1)


def committed() -> str:
    """Return HEAD. Raise a UserError if files that Git tracks have changes."""
    if changed := output("git", "diff", "--name-only", "-z", "HEAD"):
        names = ", ".join(changed.split("\0")[:-1][:3])
        cure = "workers run the last commit: commit or restore them first."
        raise UserError(f"uncommitted changes in {names}; {cure}")
    return output("git", "rev-parse", "HEAD")


def remote_with(rev: str) -> str:
    """Return the address of `origin`. A UserError: it lacks the commit, or DVC has no remote."""
    origin = output("git", "remote", "get-url", "origin")
    output("git", "fetch", "--quiet", "origin")
    if not output("git", "branch", "--remotes", "--contains", rev):
        cure = "workers clone from it: git push"
        raise UserError(f"the Git remote origin lacks the commit {rev[:7]}; {cure}")
    cure = "; workers need one for data: dvc remote add --default storage …"
    output("dvc", "remote", "default", cure=cure)
    return str(Path(origin).resolve()) if Path(origin).exists() else origin


def cache_with_data() -> str:
    """Return the folder of DVC's cache. Raise a UserError if it lacks an output in dvc.lock."""
    if missing := json.loads(output("dvc", "data", "status", "--json")).get("not_in_cache"):
        cure = "make or get them first: dvc repro, or dvc pull"
        raise UserError(f"DVC's cache lacks {', '.join(missing[:3])}; {cure}")
    return str(Path(output("dvc", "cache", "dir")).resolve())


def pinned_packages() -> list[str]:
    """Return the lines of requirements.txt that name a package and its version."""
    lines = Path("requirements.txt").read_text(encoding="utf-8")
    return re.findall(r"^[\w.-]+==[^\\\n]+", lines, re.MULTILINE)


if __name__ == "__main__":
    main()
