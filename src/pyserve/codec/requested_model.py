"""Which model a request names, read from its bytes without parsing the rest.

For refused requests only: metrics count them under their model, and what was refused may be a gigabyte, or no message
at all. Predict, Classify and Regress requests all carry their ModelSpec in field 1, and its name is field 1 in turn.
"""

from __future__ import annotations

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # protobuf's wire types
_FIXED_SIZE = {_FIXED64: 8, _FIXED32: 4}
# A request that names a model has a handful of fields; one with thousands is not worth the time.
_MAX_FIELDS = 1000


def requested_model(data: bytes) -> str:
    """The model's name; empty when the request names none, or is no protobuf message."""
    spec = _last_bytes_of_field_1(memoryview(data))
    name = None if spec is None else _last_bytes_of_field_1(spec)
    try:
        return "" if name is None else bytes(name).decode()
    except UnicodeDecodeError:
        return ""


def _last_bytes_of_field_1(data: memoryview) -> memoryview | None:
    found: memoryview | None = None
    position = 0
    for _ in range(_MAX_FIELDS):
        if position >= len(data):
            return found
        tag, position = _varint(data, position)
        wire_type = tag & 7
        if wire_type == _BYTES:
            size, position = _varint(data, position)
            if tag >> 3 == 1:
                found = data[position : position + size]
            position += size
        elif wire_type == _VARINT:
            _, position = _varint(data, position)
        else:
            # Groups do not occur; -1 ends the search like any other damage.
            position += _FIXED_SIZE.get(wire_type, len(data) + 1)
        if position > len(data):
            return None
    return None


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    """A number and the position behind it; a position beyond the end when the data is damaged."""
    value = shift = 0
    for index in range(position, min(position + 10, len(data))):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, index + 1
        shift += 7
    return 0, len(data) + 1
