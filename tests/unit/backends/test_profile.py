"""What is asked of TensorFlow's profiler, and whether a profile holds anything: only events count."""

from __future__ import annotations

import pytest

from pyserve.backends.saved_model.profile import has_events, tracer_levels
from pyserve.protos.tf import ProfileOptions


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


@pytest.mark.parametrize(
    ("options", "levels"),
    [
        (ProfileOptions(), None),
        (ProfileOptions(host_tracer_level=3), None),
        (ProfileOptions(version=1, host_tracer_level=2, device_tracer_level=1), None),
        (
            ProfileOptions(version=1, host_tracer_level=2, device_tracer_level=1, python_tracer_level=1),
            (2, 1, 1),
        ),
        (ProfileOptions(version=1), (0, 0, 0)),
    ],
)
def test_levels(options: ProfileOptions, levels: tuple[int, int, int] | None) -> None:
    """Levels count where there is a version, and are handed on where they differ from TensorFlow's own."""
    assert tracer_levels(options) == levels
