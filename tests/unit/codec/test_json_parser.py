"""The JSON dialect: values, exact errors and byte offsets, and that neither depth nor size breaks it."""

from __future__ import annotations

import contextlib
import gc
import json
import math
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserve.codec import json_parser
from pyserve.codec.json_parser import parse, parse_document
from pyserve.codec.json_value import JsonObject
from pyserve.errors import InvalidArgumentError


def plain(value: Any) -> Any:
    """A value in terms that compare: objects as ("object", pairs), NaN as a word, ints apart from floats."""
    if isinstance(value, JsonObject):
        return ("object", [(name, plain(member)) for name, member in value.pairs])
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return ("float", repr(value))
    return (type(value).__name__, value)


def outcome(data: bytes) -> Any:
    try:
        return plain(parse(data))
    except InvalidArgumentError as error:
        return error.message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "The document is empty"),
        (b" \n\t", "The document is empty. at offset: 3"),
        (b"\xef\xbb\xbf", "The document is empty. at offset: 3"),
        (b"]", "The document is empty. at offset: 0"),
        (b" }", "The document is empty. at offset: 1"),
        (b",", "The document is empty. at offset: 0"),
        (b":", "The document is empty. at offset: 0"),
        (b"\x00{}", "The document is empty. at offset: 0"),
        (b"{", "Missing a name for object member. at offset: 1"),
        (b"{1:2}", "Missing a name for object member. at offset: 1"),
        (b'{"a":1,}', "Missing a name for object member. at offset: 7"),
        (b'{"a":1,,}', "Missing a name for object member. at offset: 7"),
        (b'{"a":1,', "Missing a name for object member. at offset: 7"),
        (b"{]", "Missing a name for object member. at offset: 1"),
        (b'{"a"}', "Missing a colon after a name of object member. at offset: 4"),
        (b'{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
        (b'{"a"', "Missing a colon after a name of object member. at offset: 4"),
        (b'{"a":1 "b":2}', "Missing a comma or '}' after an object member. at offset: 7"),
        (b'{"a":1]', "Missing a comma or '}' after an object member. at offset: 6"),
        (b'{"a":1', "Missing a comma or '}' after an object member. at offset: 6"),
        (b'{"a":1\x00}', "Missing a comma or '}' after an object member. at offset: 6"),
        (b"[1 2]", "Missing a comma or ']' after an array element. at offset: 3"),
        (b"[1}", "Missing a comma or ']' after an array element. at offset: 2"),
        (b"[1", "Missing a comma or ']' after an array element. at offset: 2"),
        (b"[[1,2],[3,4]", "Missing a comma or ']' after an array element. at offset: 12"),
        (b"[01]", "Missing a comma or ']' after an array element. at offset: 2"),
        (b'{"a":}', "Invalid value. at offset: 5"),
        (b'{"a":', "Invalid value. at offset: 5"),
        (b"[", "Invalid value. at offset: 1"),
        (b"[,]", "Invalid value. at offset: 1"),
        (b"[1,]", "Invalid value. at offset: 3"),
        (b"[1,2,3,4,]", "Invalid value. at offset: 9"),
        (b"[1,", "Invalid value. at offset: 3"),
        (b"[abc]", "Invalid value. at offset: 1"),
        (b"[trux]", "Invalid value. at offset: 4"),
        (b"[tru", "Invalid value. at offset: 4"),
        (b"[nul]", "Invalid value. at offset: 4"),
        (b"[fals", "Invalid value. at offset: 5"),
        (b"[+1]", "Invalid value. at offset: 1"),
        (b"[-]", "Invalid value. at offset: 2"),
        (b"[-a]", "Invalid value. at offset: 2"),
        (b"[.5]", "Invalid value. at offset: 1"),
        (b"[nan]", "Invalid value. at offset: 2"),
        (b"[Nan]", "Invalid value. at offset: 3"),
        (b"[NaM]", "Invalid value. at offset: 3"),
        (b"[Infinitz]", "Invalid value. at offset: 8"),
        (b"[Inx]", "Invalid value. at offset: 3"),
        (b"[-Ix]", "Invalid value. at offset: 3"),
        (b"['a']", "Invalid value. at offset: 1"),
        (b"[1.]", "Miss fraction part in number. at offset: 3"),
        (b"[1.e5]", "Miss fraction part in number. at offset: 3"),
        (b"[1.", "Miss fraction part in number. at offset: 3"),
        (b"[1e]", "Miss exponent in number. at offset: 3"),
        (b"[1e+]", "Miss exponent in number. at offset: 4"),
        (b"[1.5E-x]", "Miss exponent in number. at offset: 6"),
        (b"[1e400]", "Number too big to be stored in double. at offset: 1"),
        (b"[2, -1e309]", "Number too big to be stored in double. at offset: 4"),
        (b"[0e400]", "Number too big to be stored in double. at offset: 1"),
        (b"[1e" + b"9" * 5000 + b"]", "Number too big to be stored in double. at offset: 1"),
        (b"[2" + b"0" * 308 + b"]", "Number too big to be stored in double. at offset: 1"),
        (b"[1" + b"0" * 309 + b"]", "Number too big to be stored in double. at offset: 1"),
        (b'["a\\x"]', "Invalid escape character in string. at offset: 3"),
        (b'["a\\', "Invalid escape character in string. at offset: 3"),
        (b'["a\nb"]', "Invalid escape character in string. at offset: 3"),
        (b'["a\x1fb"]', "Invalid escape character in string. at offset: 3"),
        (b'["a\x00b"]', "Missing a closing quotation mark in string. at offset: 3"),
        (b'["abc', "Missing a closing quotation mark in string. at offset: 5"),
        (b'{"abc', "Missing a closing quotation mark in string. at offset: 5"),
        (b'["ab\\u12x4"]', "Incorrect hex digit after \\u escape in string. at offset: 4"),
        (b'["\\u12', "Incorrect hex digit after \\u escape in string. at offset: 2"),
        (b'["\\ud800\\u00zz"]', "Incorrect hex digit after \\u escape in string. at offset: 2"),
        (b'["\\ud800"]', "The surrogate pair in string is invalid. at offset: 2"),
        (b'["\\ud800x"]', "The surrogate pair in string is invalid. at offset: 2"),
        (b'["\\ud800\\n"]', "The surrogate pair in string is invalid. at offset: 2"),
        (b'["a\\ud800\\ud800"]', "The surrogate pair in string is invalid. at offset: 3"),
        (b'\xef\xbb\xbf["a]', "Missing a closing quotation mark in string. at offset: 7"),
    ],
)
def test_error(data: bytes, message: str) -> None:
    """Every refusal has RapidJSON's text and byte offset."""
    with pytest.raises(InvalidArgumentError) as caught:
        parse(data)
    assert caught.value.message == f"JSON Parse error: {message}"


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"null", None),
        (b" [true, false ,null] ", [True, False, None]),
        (b'{}"never read', JsonObject([])),
        (b"[1,2]]]]{{", [1, 2]),
        (b"1 garbage", 1),
        (b"\xef\xbb\xbf[1]", [1]),
        (b'["\xff\xfe", "\xc3\xa9", "\x7f"]', [b"\xff\xfe", b"\xc3\xa9", b"\x7f"]),
        (b'["\\"\\\\\\/\\b\\f\\n\\r\\t"]', [b'"\\/\b\f\n\r\t']),
        (b'["x\\u00e9\\u0000y"]', [b"x\xc3\xa9\x00y"]),
        (b'["\\ud83d\\uDE00"]', ["\U0001f600".encode()]),
        (b'["\\udc00"]', [b"\xed\xb0\x80"]),
        (b'{"a":1,"a":2,"b":[],"c":{"d":{}}}', None),
        (b"[NaN, -NaN, Inf, -Inf, Infinity, -Infinity]", None),
        (b"[1.0, 1e2, 1E-2, -0.0, 0.5]", [1.0, 100.0, 0.01, -0.0, 0.5]),
        (b"[-0, 0, -1]", [0, 0, -1]),
        (b"[9223372036854775807, 18446744073709551615]", [2**63 - 1, 2**64 - 1]),
        (b"[-9223372036854775808]", [-(2**63)]),
        (b"[18446744073709551616, -9223372036854775809]", [2.0**64, -(2.0**63)]),
        (b"[123456789012345678901234567890, 1]", [123456789012345678901234567890.0, 1]),
        (b"[1" + b"0" * 308 + b"]", [1e308]),
        (b"[1e308, 0.001e311, 1e-400, 1e-99999999999999999999]", [1e308, 0.001e311, 0.0, 0.0]),
    ],
)
def test_value(data: bytes, value: Any) -> None:
    """Valid texts give the values of the dialect, integers and doubles kept apart."""
    if data.startswith(b"[NaN"):
        found = parse(data)
        assert [str(number) for number in found] == ["nan", "nan", "inf", "-inf", "inf", "-inf"]  # type: ignore[union-attr]
        assert math.isnan(found[0])  # type: ignore[index, arg-type]
    elif data.startswith(b'{"a"'):
        expected: Any = (
            "object",
            [
                (b"a", ("int", 1)),
                (b"a", ("int", 2)),
                (b"b", []),
                (b"c", ("object", [(b"d", ("object", []))])),
            ],
        )
        assert plain(parse(data)) == expected
    else:
        assert plain(parse(data)) == plain(value)


def test_first_of_equal_names_is_found() -> None:
    """A look-up in an object takes the first of equal names."""
    assert parse_document(b'{"a":1,"a":2}').find(b"a") == (b"a", 1)
    assert parse_document(b'{"a":1}').find(b"b") is None


@pytest.mark.parametrize(("data", "shown"), [(b"[1, 2]", "[1, 2]"), (b"3", "3"), (b'"x"', '"x"')])
def test_top_level_must_be_an_object(data: bytes, shown: str) -> None:
    """A document that is no object is refused, and shown."""
    with pytest.raises(InvalidArgumentError) as caught:
        parse_document(data)
    assert caught.value.message == f"JSON Value: {shown} Is not object"


def scalars() -> st.SearchStrategy[Any]:
    finite = st.floats(allow_nan=False, allow_infinity=False)
    return st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | finite | st.text(max_size=8)


DOCUMENTS = st.recursive(
    scalars(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
)


def of_json(value: Any) -> Any:
    """What the standard library read, in the terms of `plain`."""
    if isinstance(value, str):
        return ("bytes", value.encode("utf-8", "surrogatepass"))
    if isinstance(value, dict):
        items = [(k.encode("utf-8", "surrogatepass"), of_json(v)) for k, v in value.items()]
        return ("object", items)
    if isinstance(value, list):
        return [of_json(item) for item in value]
    return plain(value)


@settings(deadline=None)
@given(DOCUMENTS, st.booleans(), st.sampled_from([None, 1]))
def test_agrees_with_the_standard_library(document: Any, ascii_only: bool, indent: int | None) -> None:
    """Any valid document reads as the standard library reads it."""
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent)
    assert plain(parse(text.encode())) == of_json(json.loads(text))


@settings(deadline=None)
@given(DOCUMENTS, st.data())
def test_refuses_what_the_standard_library_refuses(document: Any, data: st.DataObject) -> None:
    """After a character was changed, added or removed, both still agree on whether it is JSON."""
    text = json.dumps([document])  # a bare number would end earlier for one than for the other
    place = data.draw(st.integers(1, len(text) - 1))
    inserted = data.draw(st.sampled_from(["", *'[]{},:"\\0159.eE+- tfnx']))
    text = text[:place] + inserted + text[place + data.draw(st.integers(0, 1)) :]
    if re.search(r"\\u[dD]|[eE]\+?\d{3}|\d{300}|Inf|NaN", text):
        return  # the dialects differ there
    try:
        expected = of_json(json.JSONDecoder(object_pairs_hook=Pairs).raw_decode(text)[0])
    except ValueError:
        assert isinstance(outcome(text.encode()), str)
        return
    if not re.search(r"\d{19}", text):
        assert outcome(text.encode()) == expected


class Pairs(dict[str, Any]):
    """An object that remembers equal names."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs

    def items(self) -> Any:
        return self.pairs


NUMERIC_PIECES = [*"[],01-.e{} \n", "[[", "]]", ", ", "12", "0.5", "E+", "1e5", "1e99", "1e100", "NaN", '"x"']
NUMERIC_PIECES += ["1" * 18, "1" * 19, "2" * 20, "0.00" + "3" * 20]
NUMERIC_SOUP = st.lists(st.sampled_from(NUMERIC_PIECES), max_size=30).map(
    lambda pieces: ("[" + "".join(pieces)).encode()
)

NUMBERS = st.recursive(
    st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=8),
).map(lambda value: json.dumps([value]).encode())


@settings(deadline=None)
@given(NUMERIC_SOUP | NUMBERS)
def test_fast_and_general_steps_agree(data: bytes) -> None:
    """Reading numeric arrays with the standard scanner changes neither a value nor an error."""
    fast = outcome(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_parser._NumericRuns, "array", lambda self, position: None)
        assert outcome(data) == fast


@pytest.mark.parametrize(
    ("opening", "closing", "depth"),
    [(b"[", b"]", 500_000), (b'{"a":', b"}", 200_000), (b'[{"a":', b"}]", 50_000), (b"[0,", b"]", 50_000)],
)
def test_depth_is_no_limit(opening: bytes, closing: bytes, depth: int) -> None:
    """Hundreds of thousands of levels are read, left and given back without recursion."""
    value = parse(opening * depth + b"1" + closing * depth)
    del value
    with pytest.raises(InvalidArgumentError):
        parse(opening * depth)
    gc.collect()


@pytest.mark.parametrize(
    "data",
    [
        b"[" + b"7" * 300_000 + b"]",
        b"[0." + b"7" * 1_000_000 + b"]",
        b"[" + b"[" * 200_000 + b"1,2,3,4",
        b"[" + b"[1,[2,3," * 50_000 + b"x",
        b"[" + b'[1,2],"a",' * 50_000 + b"1]",
        b"[" + b"[1,2],[NaN]," * 50_000 + b"1]",
        b"[" + b"1 " * 200_000 + b"]",
        b'["' + b"\\n" * 200_000 + b'"]',
        b"[" + b"[[[[1,2,3,4,5,6,7,8],1e400]]]," * 20_000 + b"1]",
    ],
)
def test_hostile_text_takes_linear_time(data: bytes) -> None:
    """Long digits, unclosed brackets and broken runs of numbers cost no more than their length."""
    start = time.process_time()
    read_or_refuse(data)
    assert time.process_time() - start < 5  # quadratic work would take minutes


def read_or_refuse(data: bytes) -> None:
    with contextlib.suppress(InvalidArgumentError):
        parse(data)
