"""docs/compatibility.md as data: the rows of its tables between their marks."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "compatibility.md"


def rows(section: str) -> list[list[str]]:
    """The cells of each row that begins with a code span, between `<!-- section: begin` and `end`.

    Code spans that fill a cell lose their backquotes.
    """
    found = re.search(
        rf"<!-- {section}: begin.*?-->(.*?)<!-- {section}: end -->", PAGE.read_text(), re.DOTALL
    )
    assert found is not None, section
    lines = [line for line in found[1].splitlines() if line.startswith("| `")]
    return [[re.sub(r"^`([^`]*)`$", r"\1", cell.strip()) for cell in line.split("|")[1:-1]] for line in lines]


def states(section: str) -> dict[str, str]:
    """First cell → second cell; a name stands in one row alone."""
    table = {row[0]: row[1] for row in rows(section)}
    assert len(table) == len(rows(section)), f"a name has two rows in the section {section}"
    return table
