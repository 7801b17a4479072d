"""Which model a request names, read from its bytes without parsing the rest.

For refused requests only: metrics count them under their model, and what was refused may be a gigabyte, or no message
at all. Predict, Classify and Regress requests all carry their ModelSpec in field 1, and its name is field 1 in turn.
"""

from __future__ import annotations

from itertools import islice

from pyserve.codec.wire import bytes_fields

# A request that names a model has a handful of fields; one with thousands is not worth the time.
_MAX_FIELDS = 1000


def requested_model(data: bytes) -> str:
    """The model's name; empty when the request names none, or is no protobuf message."""
    try:
        spec = _last_field_1(memoryview(data))
        name = None if spec is None else _last_field_1(spec)
        return "" if name is None else bytes(name).decode()
    except ValueError:  # no message, or no UTF-8
        return ""


def _last_field_1(data: memoryview) -> memoryview | None:
    """The last field 1 that holds bytes.

    Raises:
        ValueError: The data is no message, or has too many fields.
    """
    found: memoryview | None = None
    fields = bytes_fields(data)
    for number, content in islice(fields, _MAX_FIELDS):
        if number == 1 and content is not None:
            found = content
    if next(fields, None) is not None:
        raise ValueError("too many fields")
    return found
