"""REST classify and regress requests → serialized Examples."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pyserve.codec.json_examples import ExamplesDocument
from pyserve.errors import InvalidArgumentError
from pyserve.protos import tf


def features(data: bytes) -> dict[str, tuple[str | None, list[Any]]]:
    """Kind and values of each feature of a serialized Example."""
    found: dict[str, tuple[str | None, list[Any]]] = {}
    for name, feature in tf.Example.FromString(data).features.feature.items():
        kind = feature.WhichOneof("kind")
        found[name] = (kind, list(getattr(feature, kind).value) if kind else [])
    return found


def one(feature: str) -> tuple[str | None, list[Any]]:
    """The feature that a JSON value makes."""
    document = ExamplesDocument.parse(b'{"examples": [{"f": ' + feature.encode() + b"}]}")
    return features(document.examples.array()[0])["f"]


@pytest.mark.parametrize(
    ("text", "kind", "values"),
    [
        ("1.5", "float_list", [1.5]),
        ("1e2", "float_list", [100.0]),
        ("[1.5, -0.25]", "float_list", [1.5, -0.25]),
        ("[Infinity, -Inf]", "float_list", [math.inf, -math.inf]),
        ("1e300", "float_list", [math.inf]),
        ("18446744073709551616", "float_list", [18446744073709551616.0]),
        ("1", "int64_list", [1]),
        ("[1, -2]", "int64_list", [1, -2]),
        ("9223372036854775807", "int64_list", [2**63 - 1]),
        ("-9223372036854775808", "int64_list", [-(2**63)]),
        ("[true, false, 7]", "int64_list", [1, 0, 7]),
        ("false", "int64_list", [0]),
        ('"text"', "bytes_list", [b"text"]),
        ('["a", "\\u0000"]', "bytes_list", [b"a", b"\0"]),
        ('{"b64": "AP8="}', "bytes_list", [b"\0\xff"]),
        ('["a", {"b64": "AP8"}]', "bytes_list", [b"a", b"\0\xff"]),
        ("[]", None, []),
    ],
)
def test_features(text: str, kind: str | None, values: list[Any]) -> None:
    """The first value sets a feature's kind; one value is a list of one."""
    assert one(text) == (kind, values)


def test_not_a_number() -> None:
    """NaN makes floats."""
    kind, values = one("[NaN, 1.0]")
    assert kind == "float_list"
    assert math.isnan(values[0])


MIXED = "Unexpected element type in feature: f expecting type: "
JSON_TYPE = "Feature: f has element with unexpected JSON type: "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("null", JSON_TYPE + "Null"),
        ("[[1]]", JSON_TYPE + "Array"),
        ('{"a": 1}', JSON_TYPE + "Object"),
        ("[1, null]", JSON_TYPE + "Null"),
        ("[8.0, 9]", MIXED + "float"),
        ("[9, 8.0]", MIXED + "int64"),
        ('["a", 1]', MIXED + "bytes"),
        ("[true, 1.0]", MIXED + "int64"),
        ('[1, {"b64": ""}]', MIXED + "int64"),
        ("9223372036854775808", "Feature: f has uint64_t element. Only int64_t is supported."),
        ("[1, 9223372036854775808]", "Feature: f has uint64_t element. Only int64_t is supported."),
        ("[1.0, 9223372036854775808]", MIXED + "float"),
        ('{"b64": "?"}', "Unable to base64 decode"),
    ],
)
def test_refused_features(text: str, message: str) -> None:
    """What no feature can hold is refused by name, in the order of the values."""
    with pytest.raises(InvalidArgumentError) as caught:
        one(text)
    assert caught.value.message == message


def test_document() -> None:
    """Names, context and examples come out; what is not asked for is ignored."""
    document = ExamplesDocument.parse(
        b'{"signature_name": "s", "context": {"c": 1}, "examples": [{"a": 1.0, "b": "x"}, {}], "inputs": 1}'
    )
    assert document.signature_name == "s"
    first, second = (features(item) for item in document.examples.array())
    assert first == {"c": ("int64_list", [1]), "a": ("float_list", [1.0]), "b": ("bytes_list", [b"x"])}
    assert second == {"c": ("int64_list", [1])}


def test_the_last_of_two_equal_names_counts() -> None:
    """Of a feature that comes twice the last value counts, and the first must be legal too."""
    document = ExamplesDocument.parse(b'{"examples": [{"a": 1.0, "a": 2}]}')
    assert features(document.examples.items[0]) == {"a": ("int64_list", [2])}
    with pytest.raises(InvalidArgumentError):
        ExamplesDocument.parse(b'{"examples": [{"a": null, "a": 2}]}')


def test_an_empty_example() -> None:
    """An object without features is an empty Example."""
    assert ExamplesDocument.parse(b'{"examples": [{}]}').examples.items == [b""]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"[]", "JSON Value: [] Is not object"),
        (
            b"{}",
            "JSON Value: {} When method is classify, key 'examples' is expected and was not found",
        ),
        (
            b'{"examples": 1}',
            "JSON Value: {\n    \"examples\": 1\n} Expecting 'examples' value to be an list/array",
        ),
        (b'{"examples": []}', "JSON Value: {\n    \"examples\": []\n} 'examples' value is an empty array"),
        (b'{"examples": ["a"]}', "Example must be JSON object but got JSON String"),
        (b'{"examples": [{}, true]}', "Example must be JSON object but got JSON True"),
        (b'{"context": 1}', "Example must be JSON object but got JSON Number"),
        (b'{"context": {"f": null}}', JSON_TYPE + "Null"),
    ],
)
def test_refused_documents(body: bytes, message: str) -> None:
    """The context is looked at before the examples."""
    with pytest.raises(InvalidArgumentError) as caught:
        ExamplesDocument.parse(body)
    assert caught.value.message.startswith(message)


def test_signature_name_comes_first() -> None:
    """A signature name that is no string is reported before anything else about the document."""
    with pytest.raises(InvalidArgumentError, match="'signature_name' key must be a string value"):
        ExamplesDocument.parse(b'{"signature_name": null, "context": 1}')


def test_long_names_are_cut_in_messages() -> None:
    """A request cannot choose how long its error is."""
    with pytest.raises(InvalidArgumentError) as caught:
        ExamplesDocument.parse(b'{"examples": [{"' + b"n" * 10_000 + b'": null}]}')
    assert len(caught.value.message) < 400


def test_many_values() -> None:
    """Large lists keep their values."""
    kind, values = one(str([n + 0.5 for n in range(10_000)]))
    assert (kind, values) == ("float_list", [n + 0.5 for n in range(10_000)])
