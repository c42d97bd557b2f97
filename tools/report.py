"""A report for a pull request, in Markdown: what changed between two commits.

python -m tools.report 0b6a372 2920c82 > report.md
"""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

from typer import Argument

from pipeline.program.command import command
from tools.lock import UTF_8, commit_of, git, locked_outputs, output
from tools.tables import markdown, mean_and_deviation, show

# Such as https://host/owner/name.git or git@host:owner/name.git
ADDRESS = r"(?:\w+://)?(?:[^/@]+@)?([\w.-]+\.[a-z]+)(?::\d+(?=/))?[:/](.+?)(?:\.git)?/?"
USUAL_BASE = "where HEAD left main, or HEAD~1"


@command
def main(
    base: Annotated[str | None, Argument(help="The old commit.", show_default=USUAL_BASE)] = None,
    revision: Annotated[str, Argument(help="The commit to report on.")] = "HEAD",
) -> None:
    """Print what changed between two commits: metrics, parameters, bytes of outputs, figures.

    If HEAD has experiments with several seeds, the report has mean ± standard deviation of their
    metrics, too.
    """
    before, after = commit_of(base or usual_base()), commit_of(revision)
    experiments = over_seeds(after) if after == commit_of("HEAD") else ""
    records = outputs("records/dvc.lock", before, after, only_changed=True)
    sections = {
        "Metrics": changes("metrics", before, after),
        "Parameters": changes("params", before, after),
        "Experiments: mean ± standard deviation over the seeds": experiments,
        "Outputs in dvc.lock": outputs("dvc.lock", before, after),
        "Outputs in records/dvc.lock": records,
        "Figures": figures(before, after),
    }
    show(f"## {after[:7]} compared with {before[:7]}")
    for title, text in sections.items():
        if text:
            show(f"\n### {title}\n\n{text}")


def usual_base() -> str:
    """Return the commit where HEAD left main, or HEAD~1 on main itself."""
    bases = (git("merge-base", "HEAD", name) for name in ("origin/main", "main"))
    return next((base for base in bases if base not in ("", commit_of("HEAD"))), "HEAD~1")


def changes(kind: str, before: str, after: str) -> str:
    """Return DVC's table of changes; `kind` is "metrics" or "params"."""
    text = output("dvc", kind, "diff", "--md", before[:7], after[:7])
    return text if text.count("\n") > 1 else "No changes."  # the head has two lines


def over_seeds(head: str) -> str:
    """Return a table of the settings with several seeds, or why there is none."""
    if not git("for-each-ref", f"refs/exps/{head[:2]}/{head[2:]}"):
        return ""
    words = [sys.executable, "-m", "tools.compare", "--json"]
    result = subprocess.run(words, capture_output=True, **UTF_8)
    if result.returncode:
        return result.stderr.strip().rpartition("error: ")[2]
    document = json.loads(result.stdout)
    rows, metrics = [], list[str]()
    for one in document["settings"]:
        runs = [run["metrics"] for run in one["runs"]]
        if len(runs) > 1:
            metrics = list(one["metrics"])
            means = (mean_and_deviation([run[metric] for run in runs]) for metric in metrics)
            rows.append([one["setting"], str(len(runs)), *means])
    return markdown(" | ".join(["setting", "seeds", *metrics]), rows) if rows else ""


def outputs(lock: str, before: str, after: str, only_changed: bool = False) -> str:
    """Return which outputs have the same bytes in both commits, and how their MD5s begin."""
    md5s = []
    for revision in (before[:7], after[:7]):
        text = git("show", f"{revision}:./{lock}")
        if not text:
            return f"{revision} has no {lock}, so there is nothing to compare."
        md5s.append(locked_outputs(Path(f"{revision}:{lock}"), text))
    rows = []
    for path in md5s[1] | md5s[0]:
        then, now = (md5.get(path, "-") for md5 in md5s)
        same = "new" if then == "-" else "removed" if now == "-" else "yes" if then == now else "no"
        rows.append([f"`{path}`", then[:7], now[:7], same])
    count = Counter(row[-1] for row in rows)
    shown = [row for row in rows if row[-1] == "no" or not only_changed]
    both = f"{count['yes']} of the {count['yes'] + count['no']} outputs of both"
    others = f"{count['new']} are new, {count['removed']} removed"
    table = markdown(f"output | {before[:7]} | {after[:7]} | same bytes", shown)
    return f"{both} have the same bytes; {others}.\n\n{table}"


def figures(before: str, after: str) -> str:
    """Return the changed figures: images if the remote has a web address, else their names."""
    place = re.fullmatch(ADDRESS, git("remote", "get-url", "origin"))
    image = f"![](https://{place[1]}/{place[2]}/raw/{{}}/{{}})" if place else "in Git"
    rows = []
    where = ("--", "metrics/figures/*.png", "records/figures/*.png")
    for line in git("diff", "--no-renames", "--name-status", before, after, *where).splitlines():
        kind, path = line.split("\t")
        then, now = image.format(before, path), image.format(after, path)
        rows.append([f"`{path}`", "-" if kind == "A" else then, "-" if kind == "D" else now])
    return markdown(f"figure | {before[:7]} | {after[:7]}", rows)


if __name__ == "__main__":
    main()
