"""Fields → header blocks of literals and static indices alone, which mean the same on every connection at any time."""

from __future__ import annotations

from collections.abc import Iterable

from pyserve.transport.h2.hpack.static_table import STATIC_TABLE, Field

_BY_FIELD = {field: index for index, field in reversed(list(enumerate(STATIC_TABLE)))}
_BY_NAME = {field[0]: index for index, field in reversed(list(enumerate(STATIC_TABLE)))}


def encode(fields: Iterable[Field]) -> bytes:
    """A block that neither uses nor changes the client's dynamic table."""
    block = bytearray()
    for name, value in fields:
        index = _BY_FIELD.get((name, value))
        if index is not None and value:
            block += _integer(0x80, 0x7F, index)
            continue
        index = _BY_NAME.get(name, 0)
        block += _integer(0x00, 0x0F, index)
        if not index:
            block += _integer(0x00, 0x7F, len(name)) + name
        block += _integer(0x00, 0x7F, len(value)) + value
    return bytes(block)


def _integer(pattern: int, mask: int, value: int) -> bytes:
    """An integer behind the bits of its representation (RFC 7541 section 5.1)."""
    if value < mask:
        return bytes((pattern | value,))
    value -= mask
    octets = bytearray((pattern | mask,))
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)
