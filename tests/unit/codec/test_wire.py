"""Protobuf's wire format field by field: what protobuf writes, and what is no message."""

from __future__ import annotations

import pytest

from pyserve.codec.wire import bytes_fields
from pyserve.protos import tfs


def fields(data: bytes) -> list[tuple[int, bytes | None]]:
    return [
        (number, None if content is None else bytes(content))
        for number, content in bytes_fields(memoryview(data))
    ]


def test_fields_in_their_order() -> None:
    """Fields with bytes come with them, others without; one that is repeated comes repeatedly."""
    assert fields(b"") == []
    assert fields(tfs.ModelSpec(name="m", signature_name="s").SerializeToString()) == [(1, b"m"), (3, b"s")]
    other_types = b"\x09" + b"\0" * 8 + b"\x0d" + b"\0" * 4 + b"\x08\xff\x01" + b"\x82\x01\x00"
    assert fields(other_types) == [(1, None), (1, None), (1, None), (16, b"")]
    assert fields(b"\x0a\x01a\x0a\x01b") == [(1, b"a"), (1, b"b")]


@pytest.mark.parametrize("data", [b"\x0a", b"\x0a\x02a", b"\x09\x00", b"\x0b\x0c", b"\xff" * 20, b"\x08\x80"])
def test_what_is_no_message(data: bytes) -> None:
    """Damage is noticed where it is reached."""
    with pytest.raises(ValueError, match=r"cut off|no field"):
        fields(data)
