"""How values are shown in messages, base64 and strings."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserve.codec.json_parser import parse
from pyserve.codec.json_value import base64_text, clip, decode_base64, show, string_token, type_name
from pyserve.errors import InvalidArgumentError


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"null", "null"),
        (b"[]", "[]"),
        (b"{}", "{}"),
        (b"[1,[2,3.0],[]]", "[1, [2, 3.0], []]"),
        (b'{"a":1,"b":[1,2]}', '{\n    "a": 1,\n    "b": [1, 2]\n}'),
        (b'{"a":{"b":{}}}', '{\n    "a": {\n        "b": {}\n    }\n}'),
        (b'[{"a":true}]', '[{\n        "a": true\n    }]'),
        (b'[{"a":1},{"b":2}]', '[{\n        "a": 1\n    }, {\n        "b": 2\n    }]'),
        (b'"a\\"\\u0001\\n"', '"a\\"\\u0001\\n"'),
        (b"[NaN,Infinity,-Infinity,false]", "[NaN, Infinity, -Infinity, false]"),
        (b'"\xff"', '"�"'),
    ],
)
def test_show(data: bytes, shown: str) -> None:
    """Objects are indented by four blanks, arrays stand on one line."""
    assert show(parse(data)) == shown


def test_show_stops_before_the_token_that_follows_256_bytes() -> None:
    """The length is checked before each token, so the text ends with the token that crossed the limit."""
    text = show(parse(b"[" + b"1234567," * 100 + b"1]"))
    assert text == "[" + ", ".join(["1234567"] * 29)
    assert 256 <= len(text) < 256 + 9


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"a":' * 100_000])
def test_show_of_a_deep_value(data: bytes) -> None:
    """A deep value is shown without recursion and cut."""
    closing = b"]" if data[:1] == b"[" else b"}"
    assert len(show(parse(data + b"1" + closing * 100_000))) < 600


def test_show_cuts_a_long_string() -> None:
    """One long string doesn't make a long message."""
    assert len(show([b"x" * 10_000])) < 300
    assert len(clip("é" * 10_000)) < 300
    assert clip(b"a" * 300) == "a" * 256 + "..."
    assert clip(b"\xff") == "�"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "Null"),
        (True, "True"),
        (False, "False"),
        ([], "Array"),
        (b"", "String"),
        (1, "Number"),
        (0.5, "Number"),
    ],
)
def test_type_name(value: Any, name: str) -> None:
    """Types have RapidJSON's names."""
    assert type_name(value) == name
    assert type_name(parse(b"{}")) == "Object"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"b64":"aGk="}', b"aGk="),
        (b'{"b64":1}', None),
        (b'{"b64":"a","x":1}', None),
        (b'{"B64":"a"}', None),
        (b"{}", None),
        (b'"b64"', None),
    ],
)
def test_base64_text(data: bytes, text: bytes | None) -> None:
    """A base64 object has exactly the member b64, a string."""
    assert base64_text(parse(data)) == text


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        (b"", b""),
        (b"aGk=", b"hi"),
        (b"aGk", b"hi"),
        (b"YQ", b"a"),
        (b"YQ==", b"a"),
        (b" a\tG\nk = \r\n", b"hi"),
        (b"+/+/", b"\xfb\xff\xbf"),
    ],
)
def test_base64(text: bytes, decoded: bytes) -> None:
    """Padding is optional, white space is ignored."""
    assert decode_base64(text) == decoded


@pytest.mark.parametrize(
    "text", [b"a", b"abcde", b"-_-_", b"aGk==", b"YQ=", b"aG=k", b"a$Gk", b"=", b"\xff\xff\xff\xff"]
)
def test_bad_base64(text: bytes) -> None:
    """A wrong alphabet, length or padding is refused."""
    with pytest.raises(InvalidArgumentError, match="Unable to base64 decode"):
        decode_base64(text)


@settings(deadline=None)
@given(st.binary())
def test_base64_round_trip(data: bytes) -> None:
    """Any bytes come back, with padding and without."""
    text = base64.b64encode(data)
    assert decode_base64(text) == data
    assert decode_base64(text.rstrip(b"=")) == data


@settings(deadline=None)
@given(st.binary())
def test_string_token_round_trip(data: bytes) -> None:
    """Any bytes, written as a string and parsed, come back unchanged."""
    assert parse(string_token(data)) == data


def test_string_token_escapes() -> None:
    """Only quotes, backslashes and control characters are escaped."""
    token = string_token(b'/"\\\b\f\n\r\t\x00\x1f\x7f\xff\xc3\xa9')
    assert token == b'"/\\"\\\\\\b\\f\\n\\r\\t\\u0000\\u001F\x7f\xff\xc3\xa9"'
