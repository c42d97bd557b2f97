"""The links of the pages lead somewhere, and the commands that the pages show exist."""

import importlib.util
import json
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
from tests.support.tables import cells

PAGES = sorted([*ROOT.glob("[A-Z]*.md"), *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
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
    text = prose(page)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    for link in links + re.findall(r"(?:src|href)=\"([^\"]+)\"", text):
        if re.match(r"[a-z]+:", link):
            continue  # on the web
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each command that a page shows, in console blocks or in its prose."""
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
    files = [ROOT / name for name in ("Makefile", "repository.mk")]
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    return set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))


@pages
def test_commands_exist(page):
    targets, dvc = make_targets(), get_main_parser()
    for words in commands(page):
        shown = shlex.join(words)
        python = words[0].endswith(("python", "python3"))
        match words:
            case ["make", *goals]:
                assert {goal for goal in goals if "=" not in goal} <= targets, shown
            case ["dvc", _, *_]:
                try:
                    dvc.parse_args(words[1:])
                except (DvcParserError, SystemExit):
                    pytest.fail(f"DVC does not know: {shown}")
            case [_, "-m", module, *arguments] if python:
                if (ROOT / module.partition(".")[0]).is_dir():
                    assert importlib.util.find_spec(module), shown
                if module.startswith(WITH_OPTIONS):
                    given = {word.partition("=")[0] for word in arguments if word[0] == "-"}
                    assert given <= options(module), shown
            case [_, script, *_] if python and script.endswith(".py"):
                assert (ROOT / script).exists(), shown


def options(module: str) -> set[str]:
    """Return the options of a program."""
    if (ROOT / module.replace(".", "/")).is_dir():
        module += ".__main__"
    values = vars(importlib.import_module(module)).values()
    (app,) = (value for value in values if isinstance(value, typer.Typer))
    params = get_command(app).params
    return {"--help", *(name for param in params for name in param.opts + param.secondary_opts)}


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


# Numbers


@pytest.mark.committed
def test_speed_has_the_numbers_of_the_benchmark():
    """docs/speed.md repeats what `make bench` writes, with each library's better threads."""
    names = ("docs/speed.md", "benchmarks/speed.md")
    page, speed = ((ROOT / name).read_text(encoding="utf-8") for name in names)
    for column, network in enumerate(("784-50-10", "784-800-10")):
        table = cells(speed[speed.index(f"| {network} |") :].split("\n\n")[0])[2:]
        fastest: dict[str, int] = {}
        for name, _, time, *_ in table:
            fastest[name] = min(int(time), fastest.get(name, int(time)))
        shown = {name: there[column] for name, *there in cells(page)[2:] if name in fastest}
        assert shown == {name: f"{microseconds} µs" for name, microseconds in fastest.items()}
    written = re.compile(r"\d[\d,.]*\d")
    sentences = re.split(r"(?<=\.)\s+", page)
    current = " ".join(sentence for sentence in sentences if "(commit " not in sentence)
    assert set(written.findall(current)) <= set(written.findall(speed))


@pytest.mark.committed
def test_records_have_both_tables_of_the_ledger():
    names = ("docs/records.md", "records/ledger.md")
    page, ledger = ((ROOT / name).read_text(encoding="utf-8") for name in names)
    again, further = (part for part in ledger.split("\n\n")[:4] if part.startswith("|"))
    assert again in page
    assert further in page


# README.md says what the committed results say, and README.ko.md says the same in Korean

ENGLISH = (ROOT / "README.md").read_text(encoding="utf-8")
KOREAN = (ROOT / "README.ko.md").read_text(encoding="utf-8")
SPLITS = ("train", "validation", "test")


def numbers(text: str) -> list[str]:
    """Return the numbers of a text, digits only, without those in addresses of links."""
    return sorted(re.findall(r"(?<![\w.])\d+(?:[.,]\d+)*", re.sub(r"\]\([^)]*\)", "]", text)))


@pytest.mark.committed
def test_metrics_are_the_committed_ones():
    metrics = {name: json.loads((ROOT / "metrics" / f"{name}.json").read_text()) for name in SPLITS}
    (percent,) = re.findall(r"([0-9.]+) % of the test images", ENGLISH.split("\n## ")[0])
    assert float(percent) == pytest.approx(100 * metrics["test"]["accuracy"], abs=0.05)
    (names,) = re.findall(r"^Path +(accuracy.*)$", ENGLISH, re.MULTILINE)
    rows = dict(re.findall(r"^metrics/(\w+)\.json +(.*)$", ENGLISH, re.MULTILINE))
    assert rows.keys() == metrics.keys()
    for name, score in metrics.items():
        row = dict(zip(names.split(), rows[name].split(), strict=True))
        shown = {key: float(value) for key, value in row.items() if value != "-"}
        assert shown == {key: round(value, 5) for key, value in score.items()}


SAME = {
    "numbers of the first screen": lambda text: numbers(text.split("\n## ")[0]),
    "commands": lambda text: re.findall(r"^\$ (.*?)(?: +#.*)?$", text, re.MULTILINE),
    "links to pages": lambda text: sorted(set(re.findall(r"\]\((docs/\w[^)]*)\)", text))),
}


@pytest.mark.parametrize("found", SAME.values(), ids=list(SAME))
def test_korean_has_the_same(found):
    assert found(KOREAN) == found(ENGLISH) != []
