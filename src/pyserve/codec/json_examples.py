"""A REST classify or regress request → serialized tf.Examples.

The document alone decides everything: the type of each feature comes from its first value, not from a
signature, so the whole request is converted before any model is looked up. That is TensorFlow Serving's order.

Source: TensorFlow Serving, util/json_tensor.cc (FillClassifyRegressRequestFromJson).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from pyserve.codec.examples import Examples
from pyserve.codec.json_parser import parse_document
from pyserve.codec.json_predict import signature_name
from pyserve.codec.json_value import JsonObject, JsonValue, base64_text, clip, decode_base64, show, type_name
from pyserve.codec.tensor_writer import field_tag, varint
from pyserve.errors import InvalidArgumentError
from pyserve.protos import tf

_INT64_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ExamplesDocument:
    """A classify or regress request.

    Attributes:
        signature_name: As written; empty when none or an empty one was given.
        examples: At least one.
    """

    signature_name: str
    examples: Examples

    @classmethod
    def parse(cls, data: bytes) -> ExamplesDocument:
        """Read a request body.

        Raises:
            InvalidArgumentError: No JSON, no object at the top, `signature_name` is no string, or `context` and
                `examples` are not what they must be.
        """
        document = parse_document(data)
        named = signature_name(document)
        context = document.find(b"context")
        shared = b"" if context is None else encode_example(context[1])
        found = document.find(b"examples")
        if found is None:
            # The text names classify in a regress request too.
            _reject(document, "When method is classify, key 'examples' is expected and was not found")
        listed = found[1]
        if not isinstance(listed, list):
            _reject(document, "Expecting 'examples' value to be an list/array")
        if not listed:
            _reject(document, "'examples' value is an empty array")
        return cls(named, Examples([encode_example(item) for item in listed], shared))


def _reject(document: JsonObject, reason: str) -> NoReturn:
    raise InvalidArgumentError(f"JSON Value: {show(document)} {reason}")


class _Kind(enum.Enum):
    """What a feature holds: the name in messages, and the field of tf.Feature."""

    BYTES = "bytes", 1
    FLOAT = "float", 2
    INT64 = "int64", 3


_FEATURES = field_tag(1)  # Example.features
_FEATURE = field_tag(1)  # Features.feature; its entries have key 1 and value 2
_KEY = field_tag(1)
_VALUE = field_tag(2)
_FLOATS = field_tag(1)  # FloatList.value, packed


def encode_example(value: JsonValue) -> bytes:
    """A serialized tf.Example of a JSON object: each feature's kind is that of its first value.

    Raises:
        InvalidArgumentError: It is no object, or a feature is no value or flat list of one kind.
    """
    if not isinstance(value, JsonObject):
        raise InvalidArgumentError(f"Example must be JSON object but got JSON {type_name(value)}")
    # Of a name that comes twice the last value counts, but every value is checked.
    features = {name: _feature(name, content) for name, content in value.pairs}
    if not features:
        return b""
    entries = []
    for name, feature in features.items():
        entry = _KEY + varint(len(name)) + name + _VALUE + varint(len(feature)) + feature
        entries.append(_FEATURE + varint(len(entry)) + entry)
    body = b"".join(entries)
    return _FEATURES + varint(len(body)) + body


def _feature(name: bytes, content: JsonValue) -> bytes:
    """A serialized tf.Feature; empty, so of no kind, for an empty list."""
    values: Sequence[JsonValue] = content if isinstance(content, list) else [content]
    if not values:
        return b""
    kind, plain = _uniform(values) or _checked(name, values)
    body = _list(kind, plain)
    return field_tag(kind.value[1]) + varint(len(body)) + body


def _list(kind: _Kind, values: Sequence[Any]) -> bytes:
    """A serialized BytesList, FloatList or Int64List."""
    if kind is _Kind.BYTES:
        return tf.BytesList(value=values).SerializeToString()
    if kind is _Kind.INT64:
        return tf.Int64List(value=values).SerializeToString()
    with np.errstate(over="ignore"):  # beyond float is infinite
        packed = np.array(values, np.float64).astype("<f4").tobytes()
    return _FLOATS + varint(len(packed)) + packed


def _uniform(values: Sequence[Any]) -> tuple[_Kind, Sequence[Any]] | None:
    """The values of a list without any irregularity, at C speed; None for one that `_checked` must look at."""
    types = set(map(type, values))
    if types == {float}:
        return _Kind.FLOAT, values
    if types == {bytes}:
        return _Kind.BYTES, values
    if types == {int} and max(values) <= _INT64_MAX:
        return _Kind.INT64, values
    return None


def _checked(name: bytes, values: Sequence[JsonValue]) -> tuple[_Kind, Sequence[Any]]:
    """The values of a feature, one after the other; the first sets the kind."""
    expected: _Kind | None = None
    plain: list[Any] = []
    for value in values:
        kind, item = _typed(name, value)
        expected = expected or kind
        if kind is not expected:
            raise InvalidArgumentError(
                f"Unexpected element type in feature: {clip(name)} expecting type: {expected.value[0]}"
            )
        if kind is _Kind.INT64 and item > _INT64_MAX:
            raise InvalidArgumentError(
                f"Feature: {clip(name)} has uint64_t element. Only int64_t is supported."
            )
        plain.append(item)
    assert expected is not None
    return expected, plain


def _typed(name: bytes, value: JsonValue) -> tuple[_Kind, Any]:
    if isinstance(value, bytes):
        return _Kind.BYTES, value
    if isinstance(value, bool | int):
        return _Kind.INT64, int(value)
    if isinstance(value, float):
        return _Kind.FLOAT, value
    text = base64_text(value)
    if text is None:
        raise InvalidArgumentError(
            f"Feature: {clip(name)} has element with unexpected JSON type: {type_name(value)}"
        )
    return _Kind.BYTES, decode_base64(text)
