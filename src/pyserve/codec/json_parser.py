"""The general JSON path: request text → values, in TensorFlow Serving's dialect, with its errors and offsets.

First step of every REST request with a body. It alone decides what is right and wrong: a faster path may
take over documents that it surely reads alike, and must hand everything else to this one.

The dialect is that of RapidJSON 1.1.0 as TensorFlow Serving sets it up: RFC 8259 plus `NaN`, `Inf`,
`Infinity` with an optional minus; a UTF-8 byte order mark is skipped; parsing stops after the first complete
value, whatever follows; bytes >= 0x20 in strings are not checked; a NUL byte outside a string ends the text.
Rules of this file: no recursion (nesting is limited by memory only), time linear in the text, and every
error names the same byte offset as RapidJSON's iterative parser.

Known differences, each of which nobody can depend on: decimal → double is correctly rounded here; malformed
blends such as `NInf` and `NaN.5`, and a partial byte order mark, are errors here.
"""

from __future__ import annotations

import enum
import json
import re
from typing import NoReturn

from pyserve.codec.json_value import JsonObject, JsonValue, show
from pyserve.errors import InvalidArgumentError


class _State(enum.Enum):
    START = enum.auto()
    OBJECT_START = enum.auto()
    KEY = enum.auto()
    COLON = enum.auto()
    MEMBER = enum.auto()
    MEMBER_COMMA = enum.auto()
    ARRAY_START = enum.auto()
    ELEMENT = enum.auto()
    ELEMENT_COMMA = enum.auto()
    FINISH = enum.auto()


_START, _OBJECT_START, _KEY, _COLON, _MEMBER, _MEMBER_COMMA = list(_State)[:6]
_ARRAY_START, _ELEMENT, _ELEMENT_COMMA, _FINISH = list(_State)[6:]

_AFTER_VALUE: dict[_State, _State] = {
    _START: _FINISH,
    _COLON: _MEMBER,
    _ARRAY_START: _ELEMENT,
    _ELEMENT_COMMA: _ELEMENT,
}
"""The states in which a value must come, and the state after it."""

_AFTER_MARK: dict[_State, dict[int, _State]] = {
    _KEY: {ord(":"): _COLON},
    _MEMBER: {ord(","): _MEMBER_COMMA},
    _ELEMENT: {ord(","): _ELEMENT_COMMA},
}
"""The single characters that lead from one state to another."""

_CLOSES: dict[_State, int] = {
    _OBJECT_START: ord("}"),
    _MEMBER: ord("}"),
    _ARRAY_START: ord("]"),
    _ELEMENT: ord("]"),
}
"""The character that ends the innermost array or object; a trailing comma allows none."""

_UNEXPECTED: dict[_State, str] = {
    _START: "The document is empty.",
    _OBJECT_START: "Missing a name for object member.",
    _MEMBER_COMMA: "Missing a name for object member.",
    _KEY: "Missing a colon after a name of object member.",
    _MEMBER: "Missing a comma or '}' after an object member.",
    _ELEMENT: "Missing a comma or ']' after an array element.",
    _COLON: "Invalid value.",
    _ARRAY_START: "Invalid value.",
    _ELEMENT_COMMA: "Invalid value.",
}
"""The complaint when a state meets a character that it has no use for, or the end of the text."""

_NO_VALUE = frozenset(b",:]}")
_LITERALS: dict[int, tuple[bytes, JsonValue]] = {
    ord("t"): (b"true", True),
    ord("f"): (b"false", False),
    ord("n"): (b"null", None),
}
_ESCAPED: dict[int, bytes] = dict(
    zip(b'"\\/bfnrt', (b'"', b"\\", b"/", b"\b", b"\f", b"\n", b"\r", b"\t"), strict=True)
)

_SPACE = re.compile(rb"[ \t\r\n]*+")
_PLAIN_STRING = re.compile(rb'"([^"\\\x00-\x1f]*+)"')
_STRING_CHUNK = re.compile(rb'[^"\\\x00-\x1f]*+')
_HEX = re.compile(rb"[0-9A-Fa-f]{4}")
_NUMBER = re.compile(rb"-?(0|[1-9][0-9]*+)(\.[0-9]++)?([eE][+-]?[0-9]++)?")
_SAFE_DIGITS = 18
"""An integer of so many digits surely fits int64."""
_LARGEST_TENTH = 1.7976931348623157e307
"""RapidJSON refuses one more integer digit once the number has reached this."""
_LARGEST_EXPONENT = 308


def parse_document(data: bytes) -> JsonObject:
    """A request's JSON document.

    Args:
        data: The body as it came, UTF-8 expected but not checked.

    Raises:
        InvalidArgumentError: `JSON Parse error: ...` with a byte offset, or the top level is not an object.
    """
    value = parse(data)
    if not isinstance(value, JsonObject):
        raise InvalidArgumentError(f"JSON Value: {show(value)} Is not object")
    return value


def parse(data: bytes) -> JsonValue:
    """The first JSON value of a text; what follows it is not looked at.

    Raises:
        InvalidArgumentError: The text is no JSON; the message has RapidJSON's text and byte offset.
    """
    if not data:
        raise InvalidArgumentError("JSON Parse error: The document is empty")
    return _Parser(data).run()


class _Parser:
    """One pass over one text. `run` is called once."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._numeric = _NumericRuns(data)

    def run(self) -> JsonValue:
        data, size = self._data, len(self._data)
        space = _SPACE.match
        position = 3 if data.startswith(b"\xef\xbb\xbf") else 0
        state = _START
        # The arrays and objects that are open, each with the state to return to, and what the innermost one
        # has so far: `items` of an array, `pairs` and the last `key` of an object.
        stack: list[tuple[_State, list[JsonValue], list[tuple[bytes, JsonValue]], bytes]] = []
        items: list[JsonValue] = []
        pairs: list[tuple[bytes, JsonValue]] = []
        key = b""
        value: JsonValue

        while True:
            position = space(data, position).end()  # type: ignore[union-attr]  # matches the empty text too
            byte = data[position] if position < size else 0
            after = _AFTER_VALUE.get(state)
            if after is not None and byte not in _NO_VALUE and byte:
                if byte == 0x5B or byte == 0x7B:
                    found = self._numeric.array(position) if byte == 0x5B else None
                    if found is None:
                        stack.append((after, items, pairs, key))
                        if byte == 0x5B:
                            items, state = [], _ARRAY_START
                        else:
                            pairs, state = [], _OBJECT_START
                        position += 1
                        continue
                    value, position = found
                elif byte == 0x22:
                    value, position = self._string(position)
                elif byte in _LITERALS:
                    value, position = self._literal(position)
                else:
                    value, position = self._number(position)
                state = after
            elif byte == _CLOSES.get(state):
                value = items if byte == 0x5D else JsonObject(pairs)
                state, items, pairs, key = stack.pop()
                position += 1
            elif byte == 0x22 and (state is _OBJECT_START or state is _MEMBER_COMMA):
                key, position = self._string(position)
                state = _KEY
                continue
            else:
                next_state = _AFTER_MARK.get(state, {}).get(byte)
                if next_state is None:
                    self._fail(_UNEXPECTED[state], position)
                state = next_state
                position += 1
                continue

            if state is _ELEMENT:
                items.append(value)
            elif state is _MEMBER:
                pairs.append((key, value))
            else:
                return value

    def _string(self, start: int) -> tuple[bytes, int]:
        """The string whose opening quote is at `start`, and the position behind it."""
        data = self._data
        plain = _PLAIN_STRING.match(data, start)
        if plain is not None:
            return plain.group(1), plain.end()
        parts: list[bytes] = []
        position = start + 1
        while True:
            end = _STRING_CHUNK.match(data, position).end()  # type: ignore[union-attr]  # may match nothing
            parts.append(data[position:end])
            byte = data[end] if end < len(data) else 0
            if byte == 0x22:
                return b"".join(parts), end + 1
            if byte == 0:
                self._fail("Missing a closing quotation mark in string.", end)
            if byte != 0x5C:
                self._fail("Invalid escape character in string.", end)
            escape = data[end + 1] if end + 1 < len(data) else 0
            if escape == ord("u"):
                character, position = self._unicode(end)
            elif escape in _ESCAPED:
                character, position = _ESCAPED[escape], end + 2
            else:
                self._fail("Invalid escape character in string.", end)
            parts.append(character)

    def _unicode(self, start: int) -> tuple[bytes, int]:
        """The character of the `\\u` escape at `start`; all its errors are reported there."""
        code, position = self._hex4(start + 2, start), start + 6
        if 0xD800 <= code <= 0xDBFF:
            if self._data[position : position + 2] != b"\\u":
                self._fail("The surrogate pair in string is invalid.", start)
            low, position = self._hex4(position + 2, start), position + 6
            if not 0xDC00 <= low <= 0xDFFF:
                self._fail("The surrogate pair in string is invalid.", start)
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
        # A lone low surrogate is encoded like any other number, which makes invalid UTF-8, as in RapidJSON.
        return chr(code).encode("utf-8", "surrogatepass"), position

    def _hex4(self, position: int, start: int) -> int:
        digits = _HEX.match(self._data, position)
        if digits is None:
            self._fail("Incorrect hex digit after \\u escape in string.", start)
        return int(digits.group(), 16)

    def _literal(self, start: int) -> tuple[JsonValue, int]:
        word, value = _LITERALS[self._data[start]]
        self._expect(word, start)
        return value, start + len(word)

    def _expect(self, word: bytes, start: int) -> None:
        """Fail at the first byte that differs from `word`."""
        if not self._data.startswith(word, start):
            matching = next(
                n for n in range(len(word)) if self._data[start + n : start + n + 1] != word[n : n + 1]
            )
            self._fail("Invalid value.", start + matching)

    def _number(self, start: int) -> tuple[int | float, int]:
        """The number at `start`, classified by RapidJSON's rules, and the position behind it."""
        data = self._data
        token = _NUMBER.match(data, start)
        if token is None:
            return self._special(start)
        digits, fraction, exponent = token.group(1, 2, 3)
        end = token.end()
        if len(digits) > _SAFE_DIGITS:
            self._check_digits(digits, start)
        behind = data[end : end + 1]
        if fraction is None and exponent is None and behind == b".":
            self._fail("Miss fraction part in number.", end + 1)
        if exponent is None:
            if behind == b"e" or behind == b"E":
                sign = data[end + 1 : end + 2]
                self._fail("Miss exponent in number.", end + (2 if sign == b"+" or sign == b"-" else 1))
        else:
            self._check_exponent(digits, fraction or b"", exponent, start)
        if fraction is None and exponent is None and len(digits) <= 20:
            value = int(token.group())
            if -(2**63) <= value < 2**64:
                return value, end
        return float(token.group()), end

    def _check_digits(self, digits: bytes, start: int) -> None:
        if len(digits) > 309 or (len(digits) == 309 and float(digits[:-1]) >= _LARGEST_TENTH):
            self._fail("Number too big to be stored in double.", start)

    def _check_exponent(self, digits: bytes, fraction: bytes, exponent: bytes, start: int) -> None:
        """Refuse a positive exponent beyond 308 plus the digits that the fraction shifted already."""
        if exponent[1:2] == b"-":
            return
        power = exponent[1:].lstrip(b"+").lstrip(b"0")
        if len(power) < 3:
            return
        # RapidJSON stops counting fraction digits at 17 significant ones; leading zeros count for the shift.
        leading = len(fraction) - len(fraction[1:].lstrip(b"0")) - 1 if fraction and digits == b"0" else 0
        shifted = min(max(len(fraction) - 1, 0), leading + 17)
        if len(power) > 9 or int(power) > _LARGEST_EXPONENT + shifted:
            self._fail("Number too big to be stored in double.", start)

    def _special(self, start: int) -> tuple[float, int]:
        """`NaN`, `Inf` or `Infinity` at `start`, each with an optional minus; anything else is no value."""
        data = self._data
        position = start + (data[start] == 0x2D)
        sign = -1.0 if position > start else 1.0
        letter = data[position : position + 1]
        if letter == b"N":
            self._expect(b"NaN", position)
            return float("nan"), position + 3
        if letter != b"I":
            self._fail("Invalid value.", position)
        word = b"Infinity" if data[position + 3 : position + 4] == b"i" else b"Inf"
        self._expect(word, position)
        return sign * float("inf"), position + len(word)

    def _fail(self, text: str, offset: int) -> NoReturn:
        raise InvalidArgumentError(f"JSON Parse error: {text} at offset: {offset}")


class _NumericRuns:
    """Reads nested arrays of plain numbers at C speed, with the standard library's scanner.

    A *run* is a longest piece of text made of digits, signs, dots, exponents, commas, brackets and white
    space. In a run the standard scanner reads arrays exactly as this parser does, with three exceptions that
    are kept away from it: integers that may exceed 64 bits, exponents that may overflow, and deep nesting
    (which it refuses itself). Whatever it refuses is read again by the general steps, which find the error or
    the array's other elements; the text that may be read twice is limited, so time stays linear.
    """

    _RUN = re.compile(rb"[0-9.,eE+\-\[\] \t\r\n]*+")
    _ZEROS = re.compile(rb"0*+")
    _FOLD = bytes.maketrans(b"123456789E", b"000000000e")
    _REREAD_FACTOR = 4
    _WORTH_BYTES = 8

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._start = 0
        self._end = 0
        self._text = ""
        self._usable = False
        self._reread_left = self._REREAD_FACTOR * len(data)
        self._decode = json.JSONDecoder().raw_decode

    def array(self, position: int) -> tuple[JsonValue, int] | None:
        """The array that opens at `position`, and the position behind it; None: use the general steps."""
        if position >= self._end:
            self._enter(position)
        if not self._usable or self._reread_left < 0:
            return None
        try:
            value, end = self._decode(self._text, position - self._start)
        except (ValueError, RecursionError):
            self._reread_left -= self._end - position
            return None
        return value, self._start + end

    def _enter(self, position: int) -> None:
        self._start = position
        self._end = self._RUN.match(self._data, position).end()  # type: ignore[union-attr]  # starts at a bracket
        run = self._data[position : self._end] if self._end - position >= self._WORTH_BYTES else b""
        self._usable = bool(run) and self._is_plain(run)
        self._text = run.decode("ascii") if self._usable else ""

    def _is_plain(self, run: bytes) -> bool:
        """No integer of 19 digits or more (a fraction may have them), no positive exponent above 99."""
        folded = run.translate(self._FOLD)
        if b"e" in folded and (b"e000" in folded or b"e+000" in folded):
            return False
        hit = folded.find(b"0" * (_SAFE_DIGITS + 1))
        while hit >= 0:
            if hit == 0 or folded[hit - 1] != 0x2E:
                return False
            end = self._ZEROS.match(folded, hit).end()  # type: ignore[union-attr]  # may match nothing
            hit = folded.find(b"0" * (_SAFE_DIGITS + 1), end)
        return True
