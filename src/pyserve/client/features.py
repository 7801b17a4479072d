"""What a caller gives as a tf.Example → its bytes for gRPC, its features for REST. Pure.

An example is a mapping from feature name to value, or to a flat list or array of values: floats, integers (booleans
too), or `bytes` and `str`. It may also be a serialized tf.Example, or a message of any protobuf pool.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from pyserve.codec.json_examples import encode_example
from pyserve.codec.json_value import JsonObject
from pyserve.errors import InvalidArgumentError
from pyserve.protos import tf

Example = Mapping[str, Any] | bytes | Any


def serialized(example: Example) -> bytes:
    """A serialized tf.Example.

    Raises:
        InvalidArgumentError: It is none of the forms above, or a feature has values of several kinds.
    """
    if isinstance(example, bytes):
        return example
    if isinstance(example, Mapping):
        pairs = [(name.encode(), _plain(value)) for name, value in example.items()]
        try:
            return encode_example(JsonObject(pairs))
        except ValueError as error:  # an integer below int64
            raise InvalidArgumentError(f"an example: {error}") from None
    if hasattr(example, "SerializeToString"):
        return bytes(example.SerializeToString())
    raise InvalidArgumentError(
        f"an example of type {type(example).__name__}, expected a mapping, bytes or a tf.Example"
    )


def request_body(examples: Sequence[Example], context: Example | None, signature_name: str) -> bytes:
    """The JSON of a classify or regress request.

    Raises:
        InvalidArgumentError: As in `serialized`.
    """
    document: dict[str, Any] = {"examples": [_features(example) for example in examples]}
    if context is not None:
        document["context"] = _features(context)
    if signature_name:
        document["signature_name"] = signature_name
    return json.dumps(document, default=_base64_object).encode()


def _features(example: Example) -> dict[str, Any]:
    """By name; whatever the form was, its values have been through the checks of `serialized`."""
    try:
        message = tf.Example.FromString(serialized(example))
    except DecodeError:
        raise InvalidArgumentError("an example whose bytes are no tf.Example") from None
    return {name: _values(feature) for name, feature in message.features.feature.items()}


def _values(feature: tf.Feature) -> list[Any]:
    kind = feature.WhichOneof("kind")
    return list(getattr(feature, kind).value) if kind else []


def _plain(value: Any) -> Any:
    """Python's own values: floats, integers, bytes, lists."""
    if hasattr(value, "tolist"):  # arrays and scalars of numpy and others
        value = value.tolist()
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | bytes):
        return value
    raise InvalidArgumentError(f"a feature with a value of type {type(value).__name__}")


def _base64_object(value: object) -> dict[str, str]:
    assert isinstance(value, bytes)
    return {"b64": binascii.b2a_base64(value, newline=False).decode()}
