"""Has all of a `model.tflite` arrived? Asked by the life cycle before a load; no TensorFlow.

The file is a flatbuffer, which does not say how long it is. What can be followed without its schema's help are the
model's buffers, which hold the weights: where one ends behind the end of the file, the file is not whole. A cut
that takes no weights away is found by the load.

    table   = offset back to its vtable (int32) · fields
    vtable  = its bytes (uint16) · bytes of the table (uint16) · offset of each field in the table, 0: absent (uint16)
    vector  = number of elements (uint32) · elements;  a reference is an offset from where it stands (uint32)
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

from pyserve.errors import file_error

FILE_NAME = "model.tflite"
_IDENTIFIER = b"TFL3"
_UINT16, _INT32, _UINT32, _UINT64 = map(struct.Struct, ("<H", "<i", "<I", "<Q"))
_MODEL_BUFFERS = 4  # field of the table Model
_BUFFER_DATA, _BUFFER_OFFSET, _BUFFER_SIZE = 0, 1, 2  # fields of the table Buffer


Read = Callable[[int, int], bytes]
"""(position, size) → the bytes that are there, fewer at the end. Files are large: little of them is read."""


def incomplete_reason(file: Path) -> str | None:
    """What a model file still lacks, as a sentence for the log; None when nothing is known to be missing.

    A file of another format counts as whole: loading it gives the proper error. Never raises.
    """
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, io.SEEK_END)

            def read(at: int, count: int) -> bytes:
                stream.seek(at)
                return stream.read(count)

            return cut_off(read, size)
    except OSError as error:
        return file_error(error).message


def cut_off(read: Read, size: int) -> str | None:
    """The same for a file of `size` bytes."""
    if size < 8:
        return f"{FILE_NAME} has only {size} bytes yet"
    if read(4, 4) != _IDENTIFIER:
        return None
    try:
        needed = _needed_bytes(read)
    except struct.error:
        return f"{FILE_NAME} is cut off after {size} bytes"
    return f"{FILE_NAME} has {size} of at least {needed} bytes" if size < needed else None


def _needed_bytes(read: Read) -> int:
    """Where the last buffer ends. Raises struct.error when the way to the buffers leads out of the file."""
    needed = 0
    buffers = _field(read, _number(read, _UINT32, 0), _MODEL_BUFFERS)
    if buffers is None:
        return needed
    vector = _target(read, buffers)
    for index in range(_number(read, _UINT32, vector)):
        table = _target(read, vector + 4 + 4 * index)
        if (data := _field(read, table, _BUFFER_DATA)) is not None:
            start = _target(read, data)
            needed = max(needed, start + 4 + _number(read, _UINT32, start))
        # Models of 2 GB and more have their buffers behind the flatbuffer.
        offset, size = _field(read, table, _BUFFER_OFFSET), _field(read, table, _BUFFER_SIZE)
        if offset is not None and size is not None:
            needed = max(needed, _number(read, _UINT64, offset) + _number(read, _UINT64, size))
    return needed


def _target(read: Read, at: int) -> int:
    """Where a reference leads."""
    return at + _number(read, _UINT32, at)


def _field(read: Read, table: int, number: int) -> int | None:
    """Where a field of a table stands; None when it is absent."""
    vtable = table - _number(read, _INT32, table)
    if 4 + 2 * number >= _number(read, _UINT16, vtable):
        return None
    offset = _number(read, _UINT16, vtable + 4 + 2 * number)
    return table + offset if offset else None


def _number(read: Read, form: struct.Struct, at: int) -> int:
    if at < 0:
        raise struct.error("before the beginning")
    value: int = form.unpack(read(at, form.size))[0]
    return value
