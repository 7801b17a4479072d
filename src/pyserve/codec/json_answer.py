"""The body of a REST answer → arrays and values: the client's last step, as `json_predict` is the server's first.

JSON does not say which dtype a number has, so the arrays of a predict answer take theirs from the signature. What
TensorFlow Serving cannot write and pyserve does (half, bfloat16, uint16, ...) is read too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf import json_format

from pyserve import dtypes
from pyserve.codec.json_parser import parse
from pyserve.codec.json_tensor import read, read_uniform, to_array
from pyserve.codec.json_value import JsonObject, JsonValue, base64_text
from pyserve.dtypes import Array, DType
from pyserve.errors import InternalError, InvalidArgumentError
from pyserve.protos import tfs
from pyserve.servable import TensorSpec


def predict_outputs(body: bytes, outputs: Mapping[str, TensorSpec]) -> dict[str, Array]:
    """The arrays of a predict answer in column form.

    Args:
        body: As it came.
        outputs: The signature's, by alias; their dtypes count, their shapes do not.

    Raises:
        InternalError: The body is no such answer, or does not fit these outputs.
    """
    try:
        value = _member(body, b"outputs")
        if len(outputs) == 1 and (not isinstance(value, JsonObject) or base64_text(value) is not None):
            return {alias: _array(value, spec.dtype) for alias, spec in outputs.items()}
        found = {name.decode(): item for name, item in _object(value).pairs}
        if found.keys() != outputs.keys():
            raise InvalidArgumentError(f"outputs {sorted(found)}, expected {sorted(outputs)}")
        return {alias: _array(found[alias], spec.dtype) for alias, spec in outputs.items()}
    except InvalidArgumentError as error:
        raise _unreadable("predict", error.message) from None


def classes_and_scores(body: bytes) -> tuple[list[list[str]], list[list[float]]]:
    """The labels and the scores of a classify answer: of each example, of each class.

    Raises:
        InternalError: The body is no such answer.
    """
    try:
        results: Any = _member(body, b"results")
        return (
            [[label.decode("utf-8", "replace") for label, _ in row] for row in results],
            [[float(score) for _, score in row] for row in results],
        )
    except (InvalidArgumentError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable("classify", str(error)) from None


def regressions(body: bytes) -> Array:
    """The values of a regress answer: float32, [examples].

    Raises:
        InternalError: The body is no such answer.
    """
    try:
        return _array(_member(body, b"results"), dtypes.FLOAT)
    except InvalidArgumentError as error:
        raise _unreadable("regress", error.message) from None


def status_response(body: bytes) -> tfs.GetModelStatusResponse:
    """A status answer as the message that it is the JSON of.

    Raises:
        InternalError: The body is no such answer.
    """
    try:
        listed = {"model_version_status": json.loads(body)["model_version_status"]}
        return json_format.ParseDict(listed, tfs.GetModelStatusResponse(), ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError, TypeError, KeyError) as error:
        raise _unreadable("status", f"{type(error).__name__}: {error}") from None


def metadata(body: bytes) -> tuple[str, int, tfs.SignatureDefMap]:
    """Name, version and signatures of a metadata answer.

    Raises:
        InternalError: The body is no such answer.
    """
    try:
        document = json.loads(body)
        spec, signatures = document["model_spec"], document["metadata"]["signature_def"]
        parsed = json_format.ParseDict(signatures, tfs.SignatureDefMap(), ignore_unknown_fields=True)
        return spec["name"], int(spec["version"]), parsed
    except (json_format.ParseError, ValueError, TypeError, KeyError) as error:
        raise _unreadable("metadata", f"{type(error).__name__}: {error}") from None


def error_message(body: bytes) -> str | None:
    """What an error answer says; None when the body has not the form of TensorFlow Serving's errors."""
    try:
        return _bytes(_member(body, b"error")).decode("utf-8", "replace")
    except InvalidArgumentError:
        return None


def _unreadable(verb: str, reason: str) -> InternalError:
    return InternalError(f"Could not read the answer to {verb}: {reason}")


def _member(body: bytes, name: bytes) -> JsonValue:
    found = _object(parse(body)).find(name)
    if found is None:
        raise InvalidArgumentError(f"no member '{name.decode()}'")
    return found[1]


def _object(value: JsonValue) -> JsonObject:
    if not isinstance(value, JsonObject):
        raise InvalidArgumentError("not an object")
    return value


def _bytes(value: JsonValue) -> bytes:
    if not isinstance(value, bytes):
        raise InvalidArgumentError("not a string")
    return value


def _array(value: JsonValue, dtype: DType) -> Array:
    wide = _wide(dtype)
    array = to_array(read_uniform(value, wide) or read(value, wide), wide)
    if dtype is wide or dtype.numpy is None:
        return array
    if dtype.numpy.names is not None:
        return array.astype(dtype.numpy[0]).view(dtype.numpy)
    with np.errstate(over="ignore"):
        return array.astype(dtype.numpy)


def _wide(dtype: DType) -> DType:
    """The dtype that JSON requests know and that holds every value of this one."""
    if dtype.field == "float8_val" or dtype.name in ("half", "bfloat16"):
        return dtypes.DOUBLE
    if dtype.name in ("uint16", "int4", "uint4") or (dtype.numpy is not None and dtype.numpy.names):
        return dtypes.INT64
    return dtype
