"""The pages are true where a test can see it: their links lead somewhere, and the commands that they show exist."""

import ast
import importlib.util
import re
import shlex
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from dvc.cli.parser import DvcParserError, get_main_parser
from typer.main import get_command

from tests.support.project import ROOT

PAGES = sorted([*ROOT.glob("README*.md"), *(ROOT / "docs").glob("*.md")])
CLAIMS = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MACHINE_PATH = re.compile(r"(?<![\w.~/:-])/(?:home|root|tmp|work|mnt|opt|srv|var|Users)/[^\s`)]*|\b[A-Z]:\\\S*")
WITH_OPTIONS = ("tools", "stages", "benchmarks")  # folders of programs for people

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?) *$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        kept = [c for c in text if c in "-_ " or unicodedata.category(c)[0] in "LMN"]
        found.add("".join(kept).replace(" ", "-"))
    return found


@pages
def test_links_lead_to_files_and_headings(page):
    links = re.findall(r"\]\(([^)\s]+)\)", prose(page)) + re.findall(r"(?:src|href)=\"([^\"]+)\"", prose(page))
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue  # on the web
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each command that a page shows: in its console blocks, and as code in its prose."""
    lines = re.findall(r"`([^`\n]+)`", prose(page))
    for language, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "console":
            lines += [line[2:] for line in block.splitlines() if line.startswith("$ ")]
    for line in lines:
        for part in re.split(r"[|;<>]|&&", line):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:
                continue  # no command: it has a quotation mark alone
            while words and re.fullmatch(r"\w+=.*", words[0]):
                words.pop(0)  # a variable of the environment
            if words[1:3] == ["-m", "dvc"]:
                words = words[2:]
            if words:
                yield words


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pages
def test_commands_exist(page):
    targets, dvc = make_targets(), get_main_parser()
    for words in commands(page):
        shown = shlex.join(words)
        match words:
            case ["make", *goals]:
                assert {goal for goal in goals if "=" not in goal} <= targets, shown
            case ["dvc", _, *_]:
                try:
                    dvc.parse_args(words[1:])
                except (DvcParserError, SystemExit):
                    pytest.fail(f"DVC does not know: {shown}")
            case [python, "-m", module, *arguments] if python.endswith(("python", "python3")):
                if (ROOT / module.partition(".")[0]).is_dir():
                    assert importlib.util.find_spec(module), shown
                if module.startswith(WITH_OPTIONS):
                    assert {word.partition("=")[0] for word in arguments if word[0] == "-"} <= options(module), shown
            case [python, script, *_] if python.endswith(("python", "python3")) and script.endswith(".py"):
                assert (ROOT / script).exists(), shown


def options(module: str) -> set[str]:
    """Return the options of a program: those of its Typer app, or of what `typer.run` makes of its `main`."""
    if (ROOT / module.replace(".", "/")).is_dir():
        module += ".__main__"
    names = vars(importlib.import_module(module))
    apps = [value for value in names.values() if isinstance(value, typer.Typer)]
    if not apps:
        apps = [typer.Typer()]
        apps[0].command()(names["main"])
    params = get_command(apps[0]).params
    return {"--help"} | {name for param in params for name in (*param.opts, *param.secondary_opts)}


def test_no_path_of_a_machine():
    for page in [*PAGES, *ROOT.glob("benchmarks/*.md"), ROOT / "tests" / "README.md"]:
        paths = MACHINE_PATH.findall(page.read_text(encoding="utf-8"))
        assert [path for path in paths if not path.startswith("/home/you/")] == [], page


def test_tests_and_commands_that_prove_a_claim_exist():
    named = re.findall(r"\btests/[\w/]+\.py(?:::\w+)?", CLAIMS)
    assert len(named) > 10
    for name in named:
        file, _, function = name.partition("::")
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert not function or function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name
    commands = re.findall(r"\bmake ([\w-]+)", CLAIMS)
    assert len(commands) > 4
    assert set(commands) <= make_targets()


def test_the_program_in_the_mathematics_learns(reproduced, monkeypatch, capsys):
    page = (ROOT / "docs" / "mathematics.md").read_text(encoding="utf-8")
    (program,) = (block for language, block in BLOCK.findall(page) if language == "python")
    assert len([line for line in program.splitlines() if line]) <= 12
    monkeypatch.chdir(reproduced.folder)  # where the sample is prepared
    exec(program, {})
    losses = [float(line.split()[1]) for line in capsys.readouterr().out.splitlines()]
    assert len(losses) == 10
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.7 * losses[0]


# docs/speed.md


def rows(text: str) -> list[list[str]]:
    """Return the cells of all tables in a text, a row each."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.committed
def test_speed_has_the_numbers_of_the_benchmark():
    """docs/speed.md repeats what `make bench` writes: of each library the better number of threads."""
    page, speed = ((ROOT / name).read_text(encoding="utf-8") for name in ("docs/speed.md", "benchmarks/speed.md"))
    steps, _ = speed.split("A whole training:")
    best: dict[str, dict[str, list[str]]] = {"784-50-10": {}, "784-800-10": {}}
    for network, fastest in best.items():
        table = steps[steps.index(f"| {network} |") :].split("\n\n")[0]
        for name, _, *cells in rows(table)[2:]:
            if name not in fastest or int(cells[0]) < int(fastest[name][0]):
                fastest[name] = cells
    shown = {name: cells for name, *cells in rows(page)[2:]}
    for column, fastest in enumerate(best.values()):
        assert {name: cells[column] for name, cells in shown.items() if name in fastest} == {
            name: f"{cells[0]} µs" for name, cells in fastest.items()
        }
        for arithmetic in ("exact", "float32"):
            for place, other in enumerate(("PyTorch", "scikit-learn", "JAX", "bare products"), start=2):
                ratio = fastest[f"this project, {arithmetic}"][place].split()[0]
                assert shown[f"{arithmetic} ÷ {other}"][column] == ratio, other

    written = re.compile(r"\d[\d,.]*\d")
    sentences = [sentence for sentence in re.split(r"(?<=\.)\s+", page) if "(commit " not in sentence]  # no history
    assert set(written.findall(" ".join(sentences))) <= set(written.findall(speed))


@pytest.mark.committed
def test_records_have_the_numbers_of_the_ledger_and_the_readme_shows_some_of_them():
    """docs/records.md says in fewer words what each published figure is, and what differs."""

    def short(row: list[str]) -> list[str]:
        record, network, published, here, unseen, like, minutes = row
        return [record, network, published.split(":")[0], here, unseen, re.split("[,:]", like)[0], minutes]

    names = ("docs/records.md", "records/ledger.md", "README.md")
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in names]
    page, ledger, readme = (rows(text[text.index("| record ") :].split("\n\n")[0]) for text in pages)
    assert [short(row) for row in page[2:]] == [short(row) for row in ledger[2:]]
    assert readme[:2] == page[:2]
    assert len(readme) == 2 + len([row for row in readme[2:] if row in page]) == 5
