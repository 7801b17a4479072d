"""docs/compatibility.md shows the flag table as it is: every flag, its default, its state."""

from __future__ import annotations

import re
from pathlib import Path

from pyserve.cli.flags import Flag, State
from pyserve.cli.table import FLAGS

PAGE = Path(__file__).parents[3] / "docs" / "compatibility.md"
# Defaults that follow the machine are described, not printed.
PER_CPU = {"rest_api_num_threads", "grpc_max_threads", "num_tflite_pools"}


def row(flag: Flag) -> str:
    """The table row that documents a flag."""
    default = "per CPU" if flag.name in PER_CPU else str(flag.default).lower() if flag.default != "" else ""
    state = flag.state.value if flag.state is State.IMPLEMENTED else f"{flag.state.value}: {flag.why}"
    return f"| `--{flag.name}` | {flag.kind.value} | {default} | {state} |"


def expected(*, own: bool) -> list[str]:
    return [row(flag) for flag in FLAGS if flag.own is own]


def documented() -> list[str]:
    text = PAGE.read_text()
    section = re.search(r"<!-- flags: begin.*?-->(.*?)<!-- flags: end -->", text, re.DOTALL)
    assert section is not None
    return [line for line in section[1].splitlines() if line.startswith("| `--")]


def test_the_page_shows_every_flag_with_its_state() -> None:
    """Neither side has a flag that the other lacks, nor another state or reason."""
    assert documented() == expected(own=False) + expected(own=True)
