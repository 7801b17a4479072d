"""How much memory a JSON document may need once it is parsed, told from its text without parsing it.

A nested list costs two bytes of text and a hundred times as much as a Python object, and gzip makes a thousandth of
those two bytes: a request of a few kilobytes could fill any memory. The text is counted at C speed before anything is
made.
"""

from __future__ import annotations

import numpy as np

from pyserve.errors import InvalidArgumentError

# Bytes of memory per character of the text, in CPython 3.11 and rounded up: the value that it begins, ends or
# separates, its place in the list around it, and what the parser keeps of an array or object that is still open.
# Characters inside strings are counted too: an estimate may be too high, never much too low.
_COSTS = {"[": 200, "{": 320, ",": 48, ":": 64, '"': 24}
_LARGEST = max(_COSTS.values()) + 1
# The same per byte value, in units that make every cost fit into a byte.
_UNIT = 8
_TABLE = bytes(_COSTS.get(chr(value), 0) // _UNIT for value in range(256))
# Python's lock is let go between pieces of this size.
_PIECE_BYTES = 1 << 20


def memory_estimate(data: bytes) -> int:
    """Bytes of memory, at most, that parsing a JSON text takes; at least its own length."""
    pieces = (data[start : start + _PIECE_BYTES] for start in range(0, len(data), _PIECE_BYTES))
    costs = (np.frombuffer(piece.translate(_TABLE), np.uint8).sum(dtype=np.int64) for piece in pieces)
    return len(data) + _UNIT * int(sum(costs))


def check_memory(data: bytes, limit: int) -> None:
    """Refuse a JSON text that would take more memory than `limit`, in bytes.

    Raises:
        InvalidArgumentError: It would.
    """
    if len(data) * _LARGEST <= limit:
        return
    estimate = memory_estimate(data)
    if estimate > limit:
        raise InvalidArgumentError(
            f"The request's JSON of {len(data)} bytes could take {estimate} bytes of memory, expected at most {limit} "
            "(--rest_api_max_json_bytes)"
        )
