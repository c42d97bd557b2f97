"""Do the tests notice a fault? Change the code in one place at a time, and run the tests that cover the changed module.

python -m tests.mutants [--seed N] [--number 300] [--only PATH]

A mutant is killed if a test fails, or does not end. Each survivor is a fault that no quick test sees, unless it changes
nothing that a user can see: such mutants are listed in equivalent_mutants.yaml, each with a reason, and are not run.
"""

import ast
import contextlib
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated

import typer
import yaml

from tests.mutations import ROOT, Mutant, mutants_of

FOLDERS = ("mlp", "pipeline", "stages", "tools")
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.yaml")
WORKERS = 2
LONGEST_TEST = 120  # seconds for one test; a fast test needs at most 20 on an idle machine
LONGEST_RUN = 1800  # seconds for all tests of one mutant
MOST_MEMORY = 8_000_000_000  # bytes for one process: a mutant that needs more is killed, not the machine


def modules(only: str = "") -> list[str]:
    """Return the modules to change, as paths relative to the repository."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path.relative_to(ROOT).as_posix() for path in paths if path.is_relative_to((ROOT / only).resolve())]


def chosen(paths: list[str], number: int, seed: int) -> list[Mutant]:
    """Return at least `number` mutants, from each module in proportion to how many it has; all where it has fewer."""
    everything = {path: mutants_of(path) for path in paths}
    share = number / max(1, sum(map(len, everything.values())))
    picked = []
    for path, mutants in everything.items():
        random.Random(f"{seed} {path}").shuffle(mutants)
        picked += mutants[: math.ceil(share * len(mutants))]
    return picked


def equivalents() -> dict[tuple[str, str, str], str]:
    """Return the reasons why some mutants change nothing, by their path, and their text before and after."""
    entries = yaml.safe_load(EQUIVALENT.read_text(encoding="utf-8"))
    return {
        (entry["path"], written(entry["before"]), written(after)): entry["reason"]
        for entry in entries
        for after in entry["after"]
    }


def written(code: str) -> str:
    """Return code as this Python writes it: versions differ in the quotation marks of f-strings."""
    try:
        return ast.unparse(ast.parse(code))
    except SyntaxError:  # a part of a statement, such as `open(path) as file`
        return code


# Running the tests


def imported(path: Path) -> set[Path]:
    """Return the project's own files that a file imports or, in a text such as a command, names; and their packages."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=aliases):
                names |= {alias.name for alias in aliases}
            case ast.ImportFrom(module=module, names=aliases):
                names |= {module, *(f"{module}.{alias.name}" for alias in aliases)}
            case ast.Constant(value=str(text)) if path.parent.name == "tests":
                names |= set(re.findall(rf"\b(?:{'|'.join(FOLDERS)})\.[\w.]*", text))
    stems = {"/".join(name.split(".")[:length]) for name in names for length in range(1, name.count(".") + 2)}
    return {file for stem in stems for file in (ROOT / f"{stem}.py", ROOT / stem / "__init__.py") if file.exists()}


def covering() -> dict[str, list[str]]:
    """Return the test files that reach each module by their imports: those first that most probably see a fault.

    First comes the module's namesake, then those with ever longer ways to it; of equal ones, that which reaches least.
    Tests that reach a module only over `dvc repro` are left out: they take minutes.
    """
    ways: dict[str, dict[str, tuple[int, int]]] = {}
    for test in sorted((ROOT / "tests").glob("test_*.py")):
        distances, newest = {}, {test}
        while newest:
            distances |= dict.fromkeys(newest, max(distances.values(), default=-1) + 1)
            newest = {file for known in newest for file in imported(known)} - distances.keys()
        for file, distance in distances.items():
            module = file.relative_to(ROOT).as_posix()
            ways.setdefault(module, {})[f"tests/{test.name}"] = (distance, len(distances))
    return {
        module: sorted(tests, key=lambda test: (Path(module).stem not in test, tests[test], test))
        for module, tests in ways.items()
    }


def run_tests(folder: Path, tests: list[str]) -> str:
    """Run some test files in a copy of the repository until one fails: "passed", "failed", or "did not end"."""
    options = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", f"--basetemp={folder.parent / 'tmp'}"]
    options += ["-o", f"faulthandler_timeout={LONGEST_TEST}", "-o", "faulthandler_exit_on_timeout=true"]
    log = folder.parent / "log"
    with log.open("w") as output:  # a pipe would stay open as long as any process that a mutant leaves behind
        pytest = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=folder,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},  # two changes within a second would share their bytecode
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        code = pytest.wait(LONGEST_RUN)
    except subprocess.TimeoutExpired:
        return "did not end"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pytest.pid, signal.SIGKILL)
        pytest.wait()
    if code in (0, 5):  # 5: all tests of these files are slow
        return "passed"
    return "did not end" if "Timeout (" in log.read_text(errors="replace") else "failed"


def copy_repository(folder: Path) -> Path:
    """Copy what Git does not ignore into `folder`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for arguments in (["init", "--quiet"], ["add", "--all"]):  # some tests ask Git for its files
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    return folder


def main(
    seed: Annotated[int, typer.Option(help="Decides which mutants are made.")] = 0,
    number: Annotated[int, typer.Option(help="How many mutants to make, at least.")] = 300,
    only: Annotated[str, typer.Option(help="Change only this folder or file.")] = "",
) -> None:
    """Change the code in one place at a time, run the tests, and list the changes that no test notices."""
    import resource  # here, because Windows has none, and tests import this module there

    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))  # for the tests too, which inherit it
    mutants, tests_of, harmless = chosen(modules(only), number, seed), covering(), equivalents()
    to_run = [mutant for mutant in mutants if (mutant.path, mutant.before, mutant.after) not in harmless]
    sources = {mutant: mutant.change() for mutant in to_run}
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(WORKERS) as pool:
        folders: SimpleQueue[Path] = SimpleQueue()
        for worker in range(WORKERS):
            folders.put(copy_repository(Path(temporary) / str(worker) / "copy"))

        used = {test for mutant in to_run for test in tests_of.get(mutant.path, [])}
        folder = folders.get()
        if used and run_tests(folder, sorted(used)) != "passed":
            sys.exit("error: the tests fail without a mutant.")
        folders.put(folder)

        def outcome(mutant: Mutant) -> str:
            folder = folders.get()
            module = folder / mutant.path
            before = module.read_bytes()
            try:
                module.write_text(sources[mutant], encoding="utf-8")
                return run_tests(folder, tests_of[mutant.path]) if mutant.path in tests_of else "passed"
            finally:
                module.write_bytes(before)
                folders.put(folder)

        survivors = Counter()
        for number, (mutant, result) in enumerate(zip(to_run, pool.map(outcome, to_run), strict=True), 1):
            if result == "passed":
                survivors[str(Path(mutant.path).parent)] += 1
                print(f"\n{mutant.path}:{mutant.line}\n  - {mutant.before}\n  + {mutant.after}", flush=True)
            print(f"{number}/{len(to_run)}", end="\r", file=sys.stderr)

    made, run = (Counter(str(Path(mutant.path).parent) for mutant in some) for some in (mutants, to_run))
    print(f"\n{'folder':22}  mutants  killed  equivalent  share killed of the others")
    for folder in [*sorted(made), "all"]:
        n, n_run, alive = (c.total() if folder == "all" else c[folder] for c in (made, run, survivors))
        print(f"{folder:22}  {n:7}  {n_run - alive:6}  {n - n_run:10}  {(n_run - alive) / max(n_run, 1):.1%}")


if __name__ == "__main__":
    typer.run(main)
