"""docs/mathematics.md quotes lines of the textbooks, and says which exercises are where."""

import re

import pytest

from course.checks import EXERCISES
from tests.support.project import ROOT
from tests.support.tables import cells

PAGE = (ROOT / "docs" / "mathematics.md").read_text(encoding="utf-8")
_, _, SECTION = PAGE.partition("\n## From the formula to the code\n")
TABLE = cells(SECTION[SECTION.index("| formula ") :].split("\n\n")[0])[2:]


@pytest.mark.parametrize(("column", "file"), [(1, "textbook.py"), (2, "textbook_exact.py")])
def test_quoted_lines_are_in_the_code(column, file):
    code = (ROOT / file).read_text(encoding="utf-8")
    quoted = [line for row in TABLE for line in re.findall(r"`([^`]+)`", row[column])]
    assert len(quoted) > 10
    assert [line for line in quoted if line not in code] == []


def test_page_leads_through_the_exercises_in_order():
    found = re.findall(r"^\*\*.*\(([\d, ]+)\)\.\*\*", PAGE, re.MULTILINE)
    numbers = [int(number) for group in found for number in group.split(", ")]
    assert numbers == list(range(1, len(EXERCISES) + 1))
