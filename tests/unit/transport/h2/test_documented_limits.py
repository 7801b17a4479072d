"""docs/limits.md shows the attacks, their bursts and rates as the engine has them."""

from __future__ import annotations

import re
from pathlib import Path

from pyserve.transport.grpc_arguments import _LIMITS, MAX_CONNECTIONS
from pyserve.transport.h2.abuse import ATTACKS, RATES

PAGE = Path(__file__).parents[4] / "docs" / "limits.md"


def test_the_table_of_attacks() -> None:
    """Each attack with its numbers, and no other."""
    found = re.search(r"<!-- attacks: begin.*?-->(.*?)<!-- attacks: end -->", PAGE.read_text(), re.DOTALL)
    assert found is not None
    rows = [
        [cell.strip(" `") for cell in line.split("|")[1:4]]
        for line in found[1].splitlines()
        if line[:3] == "| `"
    ]
    rates = {name: [str(rate.burst), str(rate.per_s)] for name, rate in RATES.items()}
    assert sorted(rows) == sorted([name, *rates.get(name, ["", ""])] for name in ATTACKS)


def test_every_channel_argument_is_named() -> None:
    """The arguments that mean something are on the page."""
    text = PAGE.read_text()
    assert [
        name for name in (*_LIMITS, MAX_CONNECTIONS, "grpc.so_reuseport") if f"`{name}`" not in text
    ] == []
