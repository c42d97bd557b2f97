"""README.md says what the committed results say, and README.ko.md says the same in Korean."""

import json
import re

import pytest

from tests.support.project import ROOT

ENGLISH, KOREAN = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.ko.md"))
MATHEMATICS = (ROOT / "docs" / "mathematics.md").read_text(encoding="utf-8")
SPLITS = ("train", "validation", "test")


def first_screen(text: str) -> str:
    """Return what stands above the first heading of the second level."""
    return text.split("\n## ")[0]


def commands(text: str) -> list[str]:
    """Return the commands of the console blocks, without comments."""
    lines = re.findall(r"^\$ (.*)$", text, re.MULTILINE)
    return [line.split(" #")[0].strip() for line in lines]


def numbers(text: str) -> list[str]:
    """Return the numbers of a text, digits only, without those in addresses of links."""
    return sorted(re.findall(r"(?<![\w.])\d+(?:[.,]\d+)*", re.sub(r"\]\([^)]*\)", "]", text)))


def formulas(text: str) -> set[str]:
    """Return the indented lines with an equals sign or an arrow, without what explains them at their ends."""
    lines = re.findall(r"^    (\S.*)$", text, re.MULTILINE)
    return {line.split("   ")[0] for line in lines if "=" in line or "←" in line}


@pytest.mark.committed
def test_metrics_are_the_committed_ones():
    metrics = {name: json.loads((ROOT / "metrics" / f"{name}.json").read_text()) for name in SPLITS}
    (percent,) = re.findall(r"([0-9.]+) % of the test images", first_screen(ENGLISH))
    assert float(percent) == pytest.approx(100 * metrics["test"]["accuracy"], abs=0.05)
    (names,) = re.findall(r"^Path +(accuracy.*)$", ENGLISH, re.MULTILINE)
    rows = dict(re.findall(r"^metrics/(\w+)\.json +(.*)$", ENGLISH, re.MULTILINE))
    shown = {
        name: {key: float(value) for key, value in zip(names.split(), row.split(), strict=True) if value != "-"}
        for name, row in rows.items()
    }
    assert shown == {name: {key: round(value, 5) for key, value in score.items()} for name, score in metrics.items()}


def test_first_screen_has_the_same_numbers_in_korean():
    assert numbers(first_screen(KOREAN)) == numbers(first_screen(ENGLISH)) != []


def test_commands_and_pages_are_the_same_in_korean():
    assert commands(KOREAN) == commands(ENGLISH) != []
    pages = [set(re.findall(r"\]\((docs/\w[^)]*)\)", text)) for text in (KOREAN, ENGLISH)]
    assert pages[0] == pages[1]


def test_walk_in_korean_has_the_formulas_and_numbers_of_the_mathematics():
    walk = KOREAN[KOREAN.index("## 학습 한 단계 따라가기") :]
    assert formulas(walk)
    assert formulas(walk) <= formulas(MATHEMATICS)
    assert set(numbers(walk)) <= set(numbers(MATHEMATICS))
