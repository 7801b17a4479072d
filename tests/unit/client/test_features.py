"""Examples in every form that callers have."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from pyserve.client.features import request_body, serialized
from pyserve.codec.json_examples import ExamplesDocument
from pyserve.errors import InvalidArgumentError
from pyserve.protos import tf

VALUES: dict[str, Any] = {
    "float": 1.5,
    "floats": np.array([0.1, 2.0, float("inf")], np.float32),
    "int": 7,
    "ints": np.array([1, -2], np.int64),
    "flag": True,
    "bytes": b"\xff\0",
    "texts": ["a", "ü"],
    "none": [],
}
KINDS = {
    "float": ("float_list", [1.5]),
    "floats": ("float_list", [np.float32(0.1).item(), 2.0, float("inf")]),
    "int": ("int64_list", [7]),
    "ints": ("int64_list", [1, -2]),
    "flag": ("int64_list", [1]),
    "bytes": ("bytes_list", [b"\xff\0"]),
    "texts": ("bytes_list", [b"a", "ü".encode()]),
    "none": (None, []),
}


def read(data: bytes) -> dict[str, Any]:
    features = tf.Example.FromString(data).features.feature
    kinds = {name: feature.WhichOneof("kind") for name, feature in features.items()}
    return {
        name: (kind, list(getattr(features[name], kind).value) if kind else [])
        for name, kind in kinds.items()
    }


def test_a_mapping() -> None:
    """Each feature's kind is that of its values."""
    assert read(serialized(VALUES)) == KINDS


def test_bytes_and_messages() -> None:
    """They pass as they are."""
    data = serialized(VALUES)
    assert serialized(data) is data
    assert read(serialized(tf.Example.FromString(data))) == KINDS


@pytest.mark.parametrize("form", [lambda x: x, serialized, lambda x: tf.Example.FromString(serialized(x))])
def test_the_same_by_rest(form: Any) -> None:
    """A server reads from the JSON what gRPC would have sent."""
    document = ExamplesDocument.parse(request_body([form(VALUES)], form({"shared": [2.5]}), "key"))
    assert document.signature_name == "key"
    (item,) = document.examples.items
    assert read(item) == KINDS
    assert read(document.examples.context) == {"shared": ("float_list", [2.5])}


def test_a_body_without_a_signature() -> None:
    """Nothing is sent that need not be."""
    assert json.loads(request_body([{}], None, "")) == {"examples": [{}]}


@pytest.mark.parametrize(
    ("example", "text"),
    [
        (5, "an example of type int, expected a mapping, bytes or a tf.Example"),
        ({"f": object()}, "a feature with a value of type object"),
        ({"f": [1, 2.0]}, "Unexpected element type in feature: f expecting type: int64"),
        ({"f": [[1]]}, "unexpected JSON type: Array"),
        ({"f": [2**63]}, "Only int64_t is supported"),
        ({"f": [-(2**63) - 1]}, "an example: "),
        ({"f": None}, "unexpected JSON type: Null"),
    ],
)
def test_what_is_no_example(example: Any, text: str) -> None:
    """Refused before anything is sent, by both protocols."""
    for make in (serialized, lambda e: request_body([e], None, "")):
        with pytest.raises(InvalidArgumentError, match=text):
            make(example)


def test_bytes_that_are_no_example() -> None:
    """REST has to read them."""
    with pytest.raises(InvalidArgumentError, match=r"no tf\.Example"):
        request_body([b"\xff"], None, "")
