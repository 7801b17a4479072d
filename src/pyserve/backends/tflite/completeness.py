"""Has all of a `model.tflite` arrived? Asked by the life cycle before a load; no TensorFlow.

The file is a flatbuffer, which does not say how long it is. What can be followed without its schema's help are the
model's buffers, which hold the weights: where one ends behind the end of the file, the file is not whole. A cut
that takes no weights away is found by the load. `flatbuffer` knows the format.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path

from pyserve.backends.tflite.flatbuffer import IDENTIFIER, UINT32, UINT64, Read, field, number, target
from pyserve.errors import file_error

FILE_NAME = "model.tflite"
_MODEL_BUFFERS = 4  # field of the table Model
_BUFFER_DATA, _BUFFER_OFFSET, _BUFFER_SIZE = 0, 1, 2  # fields of the table Buffer


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
    if read(4, 4) != IDENTIFIER:
        return None
    try:
        needed = _needed_bytes(read)
    except struct.error:
        return f"{FILE_NAME} is cut off after {size} bytes"
    return f"{FILE_NAME} has {size} of at least {needed} bytes" if size < needed else None


def _needed_bytes(read: Read) -> int:
    """Where the last buffer ends. Raises struct.error when the way to the buffers leads out of the file."""
    needed = 0
    buffers = field(read, number(read, UINT32, 0), _MODEL_BUFFERS)
    if buffers is None:
        return needed
    vector = target(read, buffers)
    for index in range(number(read, UINT32, vector)):
        table = target(read, vector + 4 + 4 * index)
        if (data := field(read, table, _BUFFER_DATA)) is not None:
            start = target(read, data)
            needed = max(needed, start + 4 + number(read, UINT32, start))
        # Models of 2 GB and more have their buffers behind the flatbuffer.
        offset, size = field(read, table, _BUFFER_OFFSET), field(read, table, _BUFFER_SIZE)
        if offset is not None and size is not None:
            needed = max(needed, number(read, UINT64, offset) + number(read, UINT64, size))
    return needed
