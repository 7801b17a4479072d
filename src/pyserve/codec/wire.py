"""Protobuf's wire format, walked field by field: for what is to be known of a message that is not worth parsing."""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_FIXED_SIZE = {_FIXED64: 8, _FIXED32: 4}


def bytes_fields(data: memoryview) -> Iterator[tuple[int, memoryview | None]]:
    """Each field of a message, in the order of the wire: its number, and its bytes if it holds bytes.

    Raises:
        ValueError: What follows is no protobuf message, or is cut off.
    """
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        content: memoryview | None = None
        wire_type = tag & 7
        if wire_type == _BYTES:
            size, position = _varint(data, position)
            content = data[position : position + size]
            position += size
        elif wire_type == _VARINT:
            _, position = _varint(data, position)
        elif wire_type in _FIXED_SIZE:
            position += _FIXED_SIZE[wire_type]
        else:
            raise ValueError("a group, or no field at all")
        if position > len(data):
            raise ValueError("a field is cut off")
        yield tag >> 3, content


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    """A number and the position behind it."""
    value = shift = 0
    for index in range(position, min(position + 10, len(data))):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, index + 1
        shift += 7
    raise ValueError("a number is cut off")
