"""Tables of the conformance suite: rows that show a listed difference say so, and are asked of pyserve only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import pytest


class Row(Protocol):
    """What every table's Case has.

    Attributes:
        id: Its name in the report.
        differs: The difference listed in docs/compatibility.md that it shows; empty when there is none.
    """

    @property
    def id(self) -> str: ...

    @property
    def differs(self) -> str: ...


def rows(table: Iterable[Row]) -> list[Any]:
    """The table as parameters, named by their ids; rows that differ are marked `ours`."""
    return [
        pytest.param(row, id=row.id, marks=[pytest.mark.ours(row.differs)] if row.differs else [])
        for row in table
    ]
