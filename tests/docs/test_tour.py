"""The commands of docs/tour.md run in order on the sample of real digits, and print what the page
shows.

`make update` writes the outputs in docs/tour.md again.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
import yaml

from tests.support.project import ROOT, new_project, sample_datasets

TOUR = ROOT / "docs" / "tour.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# These differ from run to run: commit hashes, task hashes and the time of day. Metrics do not.
VARYING = [
    (re.compile(r"\b[0-9a-f]{7}(?= \[)"), "f00d5ee"),  # dvc exp show
    # Dvc queue status
    (re.compile(r"^[0-9a-f]{7}(?=  \S+ +\d\d:\d\d [AP]M  )", re.MULTILINE), "f00d5ee"),
    (re.compile(r"\b\d\d:\d\d [AP]M\b"), "09:41 AM"),
]
HOME = "/home/you"
UP_TO_DATE = "Data and pipelines are up to date.\n"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the commands are those of GNU/Linux"),
]


def steps(block: str) -> list[list[str]]:
    """Return commands and their outputs: `$ ` begins a command, `> ` continues a here-document, the
    rest is output.
    """
    found: list[list[str]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append([line[2:], ""])
        elif line.startswith("> ") and found[-1][1] == "" and "<<" in found[-1][0]:
            found[-1][0] += f"\n{line[2:]}"
        else:
            found[-1][1] += f"{line}\n"
    return found


class Walk:
    """Somebody who types the commands of the tour."""

    def __init__(self, project):
        self.home = project.folder.parent
        self.folder = project.folder
        self.environment = project.environment | {
            **{f"GIT_{role}_NAME": "You" for role in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{role}_EMAIL": "you@example.com" for role in ("AUTHOR", "COMMITTER")},
            "COLUMNS": "120",
            "LC_ALL": "C.UTF-8",
            "PYTHONHASHSEED": "0",  # DVC's order of files is that of a set
            "PYTHONUNBUFFERED": "1",
        }
        self.prepare()

    def run(self, command: str) -> str:
        """Return the command's output, with fixed text in place of VARYING."""
        # Into a file: the queue's workers would hold a pipe open, and one may stay for ever
        with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
            place = {"cwd": self.folder, "env": self.environment}
            subprocess.run(["bash", "-c", command], **place, stdout=said, stderr=said)
            said.seek(0)
            output = said.read().replace(str(self.home), HOME)
        for pattern, instead in VARYING:
            output = pattern.sub(instead, output)
        lines = "\n".join(map(str.rstrip, output.splitlines())).strip("\n")
        output = f"{lines}\n" if lines else ""
        if command.startswith("dvc queue start"):
            self.wait_for_queue()
        return output

    def wait_for_queue(self) -> None:
        """Wait until the queue's experiments are done. Its workers then leave; a worker that DVC
        forgets is killed.

        When two leave at the same moment, DVC can lose the message to one of them: docs/faults.md
        has this.
        """
        end = time.monotonic() + 1200
        while re.search("Queued|Running", self.run("dvc queue status")):
            assert time.monotonic() < end, self.run("dvc queue status")
            psutil.wait_procs(self.workers(), timeout=10)
        for worker in psutil.wait_procs(self.workers(), timeout=60)[1]:
            worker.kill()

    def workers(self) -> list[psutil.Process]:
        """Return the processes that run experiments of the queue."""
        found = [
            one
            for one in psutil.process_iter(["cmdline", "cwd"])
            if str(self.home) in (one.info["cwd"] or "")
        ]
        return [one for one in found if "queue-worker" in one.info["cmdline"]]

    def remains(self) -> tuple[list[str], list[str]]:
        """Return Git's refs and changes, without DVC's own, and what lies beside the project."""
        lines = self.run("git for-each-ref --format='%(refname)' && git status --short").split("\n")
        own = ("refs/exps/exec/", "refs/exps/apply/")
        refs = [line for line in lines if not line.startswith(own)]
        return refs, sorted(path.name for path in self.home.iterdir())

    def prepare(self) -> None:
        """Make committed results, as `make repro` does, on digits in place of MNIST."""
        params = (ROOT / "params.yaml").read_text(encoding="utf-8")
        for key, small in [
            ("validation_size", "100"),
            ("iterations", "200"),
            ("learning_rate", "1"),
        ]:
            params = re.sub(rf"^(  {key}: )\S+", rf"\g<1>{small}", params, flags=re.MULTILINE)
        (self.folder / "params.yaml").write_text(params, encoding="utf-8")

        datasets = (
            yaml.safe_load((ROOT / "datasets.yaml").read_text(encoding="utf-8")) | sample_datasets()
        )
        (self.folder / "datasets.yaml").write_text(
            yaml.safe_dump(datasets, sort_keys=False), encoding="utf-8"
        )

        self.run("git branch --move main && dvc repro --quiet")
        # Like the real history, this one begins with a commit that has no dvc.lock
        assert (
            self.run("git add --all && git commit --quiet --message Results && dvc status")
            == UP_TO_DATE
        )


def test_tour(project):
    walk = Walk(project)
    before = walk.remains()
    for block in BLOCK.findall(TOUR.read_text(encoding="utf-8")):
        for command, output in steps(block):
            assert walk.run(command) == output, f"$ {command}"
    assert walk.remains() == before, "it can be walked again"


def write() -> None:
    """Write the outputs in docs/tour.md again."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        walk = Walk(new_project(Path(folder).resolve()))

        def run(match: re.Match[str]) -> str:
            shown = [
                (command.replace("\n", "\n> "), walk.run(command)) for command, _ in steps(match[1])
            ]
            return (
                "```console\n"
                + "".join(f"$ {command}\n{output}" for command, output in shown)
                + "```"
            )

        TOUR.write_text(BLOCK.sub(run, TOUR.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write()
