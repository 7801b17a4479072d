"""How much memory a JSON document may need once it is parsed, told from its text without parsing it.

A nested list costs two bytes of text and a hundred times as much as a Python object, and gzip makes a thousandth of
those two bytes: a request of a few kilobytes could fill any memory. The text is counted at C speed before anything is
made.
"""

from __future__ import annotations

from pyserve.errors import InvalidArgumentError

# Bytes of memory per character of the text, in CPython 3.11 and rounded up: the value that it begins, ends or
# separates, its place in the list around it, and what the parser keeps of an array or object that is still open.
# Characters inside strings are counted too: an estimate may be too high, never much too low.
_COSTS = {b"[": 200, b"{": 320, b",": 48, b":": 64, b'"': 24}
_LARGEST = max(_COSTS.values()) + 1


def memory_estimate(data: bytes) -> int:
    """Bytes of memory, at most, that parsing a JSON text takes; at least its own length."""
    return len(data) + sum(cost * data.count(mark) for mark, cost in _COSTS.items())


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
