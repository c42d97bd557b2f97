"""Print, as JSON, what a DVC project reads, writes and shows: `python -P shown.py [STAGE]`.

`tools.verify` runs this file by its path. With -P, no file of the project is imported.
"""

import json
import os
import sys
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo


def described(repo: Repo, *targets: str) -> dict[str, list[str]]:
    """Return the targets and all stages before them, or all stages, and the paths of their files.

    Of all stages, "shown" has the metrics, plots and artifacts, as DVC finds them.
    """
    found = [repo.stage.collect(target, with_deps=True) for target in targets]
    stages = [stage for some in found for stage in some] if targets else repo.index.stages
    shown: list[str] = []
    if not targets:
        shown += repo.metrics.show()[""].get("data", {})
        for plots in repo.plots.collect():
            shown += plots.get("workspace", {}).get("sources", {}).get("data", {})
        for file, artifacts in repo.index._artifacts.items():
            folder = os.path.relpath(os.path.dirname(file), repo.root_dir)
            shown += [os.path.join(folder, artifact["path"]) for artifact in artifacts.values()]
    return {
        "stages": [stage.addressing for stage in stages],
        "deps": [path_of(dep) for stage in stages for dep in stage.deps],
        "outs": [path_of(out) for stage in stages for out in stage.outs],
        # For DVC, the folder above the root is the root
        "shown": [repo.root_dir + os.path.normpath(f"/{name}") for name in shown],
    }


def path_of(file: Any) -> str:
    """Return the path of a stage's file; what is not on this machine gets one outside."""
    return file.fs_path if file.fs.protocol == "local" else f"/{file.def_path}"


if __name__ == "__main__":
    try:
        with Repo() as repo:
            print(json.dumps(described(repo, *sys.argv[1:])))
    except DvcException as error:
        sys.exit(str(error))
