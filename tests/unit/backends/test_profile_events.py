"""Whether a recorded profile holds anything: only events count, wherever they are."""

from __future__ import annotations

import pytest

from pyserve.backends.saved_model.profile import has_events


def field(number: int, content: bytes = b"") -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


EVENT = field(4, b"\x08\x01")
LINE = field(2, b"thread")


@pytest.mark.parametrize(
    ("xspace", "expected"),
    [
        (b"", False),
        (field(1), False),
        (field(1, field(2, b"/host:CPU") + field(3, LINE)), False),
        (field(1, field(4, b"metadata")) + field(4, b"host name"), False),
        (field(1, field(3, LINE + EVENT)), True),
        (field(1) + field(1, field(3) + field(3, EVENT)), True),
    ],
    ids=["nothing", "plane", "line", "metadata", "event", "last line of the last plane"],
)
def test_events(xspace: bytes, expected: bool) -> None:
    """Planes, lines and names of events are there in an empty profile too."""
    assert has_events(xspace) is expected
