"""Walks a flatbuffer without its schema's help: fields by number, vectors, references. Pure; nothing of it is checked.

    table   = offset back to its vtable (int32) · fields
    vtable  = its bytes (uint16) · bytes of the table (uint16) · offset of each field in the table, 0: absent (uint16)
    vector  = number of elements (uint32) · elements;  a reference is an offset from where it stands (uint32)

`completeness` and `model_file` know which fields a TensorFlow Lite model has. Whatever leads out of the file raises
`struct.error`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

IDENTIFIER = b"TFL3"
"""Stands at byte 4 of a TensorFlow Lite model."""

INT8, UINT16, INT32, UINT32, UINT64 = map(struct.Struct, ("<b", "<H", "<i", "<I", "<Q"))

Read = Callable[[int, int], bytes]
"""(position, size) → the bytes that are there, fewer at the end. Files are large: little of them is read."""


def target(read: Read, at: int) -> int:
    """Where a reference leads."""
    return at + number(read, UINT32, at)


def field(read: Read, table: int, index: int) -> int | None:
    """Where a field of a table stands; None when it is absent."""
    vtable = table - number(read, INT32, table)
    if 4 + 2 * index >= number(read, UINT16, vtable):
        return None
    offset = number(read, UINT16, vtable + 4 + 2 * index)
    return table + offset if offset else None


def number(read: Read, form: struct.Struct, at: int) -> int:
    """One number."""
    if at < 0:
        raise struct.error("before the beginning")
    value: int = form.unpack(read(at, form.size))[0]
    return value


def scalar(read: Read, table: int, index: int, form: struct.Struct) -> int:
    """A number that is a field of a table; 0 when it is absent."""
    at = field(read, table, index)
    return 0 if at is None else number(read, form, at)


def tables(read: Read, table: int, index: int) -> list[int]:
    """Where the tables stand that a field of a table lists; none when it is absent."""
    at = field(read, table, index)
    if at is None:
        return []
    vector = target(read, at)
    return [target(read, vector + 4 + 4 * item) for item in range(number(read, UINT32, vector))]


def numbers(read: Read, table: int, index: int) -> list[int]:
    """The 32-bit numbers that a field of a table lists; none when it is absent."""
    at = field(read, table, index)
    if at is None:
        return []
    vector = target(read, at)
    return [number(read, INT32, vector + 4 + 4 * item) for item in range(number(read, UINT32, vector))]


def text(read: Read, table: int, index: int) -> str:
    """A string that is a field of a table; empty when it is absent."""
    at = field(read, table, index)
    if at is None:
        return ""
    vector = target(read, at)
    return read(vector + 4, number(read, UINT32, vector)).decode(errors="replace")
