"""What a parsed JSON value is, and how error messages show it.

`json_parser` makes these values; `json_tensor` and `json_predict` read them. The mapping keeps every
difference that TensorFlow Serving's rules depend on:

    null → None     true, false → bool     integer token that fits 64 bits → int     other number → float
    string → bytes (never decoded: invalid UTF-8 passes through)     array → list     object → JsonObject

Values can be nested deeper than Python's stack, so nothing here recurses.
"""

from __future__ import annotations

import binascii
import math
from collections.abc import Iterator
from typing import Union

from pyserve.errors import InvalidArgumentError

JsonValue = Union[None, bool, int, float, bytes, "list[JsonValue]", "JsonObject"]

SHOWN_BYTES = 256
"""How much of a value goes into an error message, in bytes; TensorFlow Serving's own limit."""

_WHITE_SPACE = b" \t\n\v\f\r"


class JsonObject:
    """A JSON object as its members in the order of the text, equal names included.

    No equality and no `repr` of the members: both would recurse.
    """

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[bytes, JsonValue]]) -> None:
        self.pairs = pairs

    def find(self, name: bytes) -> tuple[bytes, JsonValue] | None:
        """The first member of that name, or None."""
        return next((pair for pair in self.pairs if pair[0] == name), None)

    def __repr__(self) -> str:
        return f"<JsonObject of {len(self.pairs)}>"


_TYPE_NAMES: dict[type, str] = {
    type(None): "Null",
    JsonObject: "Object",
    list: "Array",
    bytes: "String",
    int: "Number",
    float: "Number",
}


def type_name(value: JsonValue) -> str:
    """The JSON type as messages name it: Null, False, True, Object, Array, String or Number."""
    if isinstance(value, bool):
        return "True" if value else "False"
    return _TYPE_NAMES[type(value)]


def base64_text(value: JsonValue) -> bytes | None:
    """The text of a base64 object, which has the one member `b64` and that a string; None for all else."""
    if isinstance(value, JsonObject) and len(value.pairs) == 1:
        name, text = value.pairs[0]
        if name == b"b64" and isinstance(text, bytes):
            return text
    return None


def decode_base64(text: bytes) -> bytes:
    """The bytes behind standard base64: padding may be missing as a whole, ASCII white space may be anywhere.

    Raises:
        InvalidArgumentError: The alphabet, the length or the padding is wrong. The URL-safe alphabet is.
    """
    packed = text.translate(None, _WHITE_SPACE)
    if packed[-1:] != b"=":
        packed += b"=" * (-len(packed) % 4)
    try:
        return binascii.a2b_base64(packed, strict_mode=True)
    except binascii.Error:
        raise InvalidArgumentError("Unable to base64 decode") from None


def clip(name: bytes | str) -> str:
    """A name that a request chose, decoded and cut for use in a message."""
    text = name[: SHOWN_BYTES + 1].decode("utf-8", "replace") if isinstance(name, bytes) else name
    return text if len(text) <= SHOWN_BYTES else text[:SHOWN_BYTES] + "..."


def show(value: JsonValue, limit: int = SHOWN_BYTES) -> str:
    """A value as text for a message: objects indented by four spaces, arrays on one line.

    Before each token the length so far is compared with `limit` (bytes); once it is reached the rest is left
    out, so a long value ends in the middle. A single long string is cut too, and then ends in `...`.

    Source: TensorFlow Serving, util/json_tensor.cc, which does not cut a single string.
    """
    shown = bytearray()
    for token in _tokens(value, limit):
        if len(shown) >= limit:
            break
        shown += token
    return shown.decode("utf-8", "replace")


def _tokens(root: JsonValue, limit: int) -> Iterator[bytes]:
    """The pieces of `show`, each with the white space and the separator in front of it."""
    open_items: list[Iterator[tuple[bytes | None, JsonValue]]] = []
    closers: list[bytes] = []
    pending: Iterator[tuple[bytes | None, JsonValue]] = iter([(None, root)])
    first = True
    while True:
        entry = next(pending, None)
        if entry is None:
            if not closers:
                return
            closer = closers.pop()
            yield closer if first or closer == b"]" else b"\n" + b"    " * len(closers) + closer
            pending, first = open_items.pop(), False
            continue
        name, item = entry
        if name is not None:
            yield (b"\n" if first else b",\n") + b"    " * len(closers) + string_token(name, limit)
            lead = b": "
        else:
            lead = b"" if first else b", "
        first = False
        if isinstance(item, JsonObject):
            yield lead + b"{"
            open_items.append(pending)
            closers.append(b"}")
            pending, first = iter(item.pairs), True
        elif isinstance(item, list):
            yield lead + b"["
            open_items.append(pending)
            closers.append(b"]")
            pending, first = ((None, element) for element in item), True
        else:
            yield lead + _scalar_token(item, limit)


def _scalar_token(value: bool | int | float | bytes | None, limit: int) -> bytes:
    if value is None:
        return b"null"
    if isinstance(value, bytes):
        return string_token(value, limit)
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, float) and not math.isfinite(value):
        return b"NaN" if math.isnan(value) else b"Infinity" if value > 0 else b"-Infinity"
    return repr(value).encode("ascii")


_ESCAPES: dict[int, bytes] = {code: b"\\u%04X" % code for code in range(0x20)} | {
    ord('"'): b'\\"',
    ord("\\"): b"\\\\",
    ord("\b"): b"\\b",
    ord("\f"): b"\\f",
    ord("\n"): b"\\n",
    ord("\r"): b"\\r",
    ord("\t"): b"\\t",
}
_ESCAPED_BYTES = bytes(_ESCAPES)
_ESCAPED_TEXT = {code: escape.decode("ascii") for code, escape in _ESCAPES.items()}


def string_token(text: bytes, limit: int | None = None) -> bytes:
    """A JSON string: the quotes, the backslash and control characters escaped, every other byte as it is.

    Invalid UTF-8 stays invalid. With `limit` at most that many bytes of the text are used.
    """
    if limit is not None and len(text) > limit:
        text = text[:limit] + b"..."
    if len(text.translate(None, _ESCAPED_BYTES)) != len(text):
        text = text.decode("latin-1").translate(_ESCAPED_TEXT).encode("latin-1")
    return b'"%b"' % text
