"""Arrays → the body of a REST predict, classify or regress response, of a predict request, and of every REST error.

Last step of a REST request, and the client's first. Numbers are compatible with TensorFlow Serving by value, not by
digits: each one reads back to the same float32 or float64, in the shortest form that does (orjson's), and always with
a point or an exponent, so that a client can tell it from an integer; infinite and undefined ones are the bare tokens
NaN, Infinity and -Infinity. Strings keep their bytes. White space follows TensorFlow Serving's row form;
inner arrays of the column form are on one line here.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import orjson

from pyserve import dtypes
from pyserve.codec.inference_results import Classifications, Regressions, Result, as_bytes
from pyserve.codec.json_value import string_token
from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError

_BYTES_SUFFIX = "_bytes"
"""An output whose alias ends so is binary: each of its strings becomes a base64 object."""


def predict_body(outputs: Mapping[str, Array], *, row_format: bool) -> bytes:
    """The JSON of a predict response.

    Args:
        outputs: By alias; strings are object arrays of `bytes`.
        row_format: The request's form: True gives `predictions`, a list over dimension 0; False `outputs`.

    Returns:
        UTF-8, except where a string of the model is not. Several outputs are in the order of their names.

    Raises:
        InvalidArgumentError: There is no output, a dtype has no JSON form (complex), or, in row form, the
            outputs are not rows of the same number.
    """
    if not outputs:
        raise InvalidArgumentError("Cannot convert empty tensor map to JSON")
    if row_format:
        return b'{\n    "predictions": ' + _rows_text(outputs) + b"\n}"
    if len(outputs) == 1:
        ((alias, array),) = outputs.items()
        return b'{\n    "outputs": ' + _output(alias, array) + b"\n}"
    members = (_member(alias, _output(alias, outputs[alias]), b" " * 8) for alias in sorted(outputs))
    return b'{\n    "outputs": {\n' + b",\n".join(members) + b"\n    }\n}"


def predict_request_body(inputs: Mapping[str, Array], signature_name: str = "") -> bytes:
    """The JSON of a predict request in column form. Strings are base64 objects, so that any bytes arrive.

    Raises:
        InvalidArgumentError: A dtype has no JSON form (complex).
    """
    named = b', "signature_name": ' + string_token(signature_name.encode()) if signature_name else b""
    return b'{"inputs": ' + named_tensors(inputs, as_base64=lambda alias: True) + named + b"}"


def named_tensors(arrays: Mapping[str, Array], *, as_base64: Callable[[str], bool]) -> bytes:
    """A JSON object of nested lists by alias; `as_base64` tells whose strings become base64 objects.

    Raises:
        InvalidArgumentError: A dtype has no JSON form (complex).
    """
    members = (
        _member(alias, _text(array, as_base64=as_base64(alias)), b"") for alias, array in arrays.items()
    )
    return b"{" + b", ".join(members) + b"}"


def result_body(result: Result) -> bytes:
    """The JSON of a classify or regress response: `results`, with an entry for each example.

    Regress gives its number, classify its `[label, score]` pairs, where a label that the model does not give is
    `""`, and a score `0.0`.
    """
    if isinstance(result, Regressions):
        return b'{\n    "results": ' + _numbers(result.values) + b"\n}"
    return b'{\n    "results": [' + b", ".join(_classes(result)) + b"\n    ]\n}"


def _classes(result: Classifications) -> Iterable[bytes]:
    """The text of each example's list of `[label, score]` pairs."""
    labels, scores = result.labels, result.scores
    if labels is None:
        assert scores is not None
        if scores.size == 0:
            return [b"[]"] * len(scores)
        rows = _numbers(scores)[2:-2].split(b"], [")
        return (b'[["", ' + row.replace(b", ", b'], ["", ') + b"]]" for row in rows)
    if labels.size == 0:
        return [b"[]"] * len(labels)
    names = labels.tolist()
    tokens = {name: string_token(as_bytes(name)) for name in set(labels.flat)}
    texts = ([tokens[name] for name in row] for row in names)
    if scores is None:
        return (b"[[" + b", 0.0], [".join(row) + b", 0.0]]" for row in texts)
    numbers = (row.split(b", ") for row in _numbers(scores)[2:-2].split(b"], ["))
    return (
        b"[" + b", ".join([b"[%b, %b]" % pair for pair in zip(*both, strict=True)]) + b"]"
        for both in zip(texts, numbers, strict=True)
    )


def error_body(message: str) -> bytes:
    """The JSON of an error: an object with the message as `error`. Never empty."""
    return b'{\n    "error": ' + string_token(message.encode("utf-8", "replace")) + b"\n}"


def _rows_text(outputs: Mapping[str, Array]) -> bytes:
    rows: int | None = None
    for alias in sorted(outputs):
        array = outputs[alias]
        if array.ndim == 0:
            raise InvalidArgumentError(f"Tensor name: {alias} has no shape information ")
        if rows is None:
            rows = array.shape[0]
        if array.shape[0] != rows:
            raise InvalidArgumentError(
                f"Tensor name: {alias} has inconsistent batch size: {array.shape[0]} expecting: {rows}"
            )
    if len(outputs) == 1:
        ((alias, array),) = outputs.items()
        return _output(alias, array)[:-1] + b"\n    ]"
    columns = [
        [_member(alias, row, b" " * 12) for row in _split(alias, outputs[alias])] for alias in sorted(outputs)
    ]
    objects = (
        b"        {\n" + b",\n".join(members) + b"\n        }" for members in zip(*columns, strict=True)
    )
    return b"[\n" + b",\n".join(objects) + b"\n    ]" if rows else b"[\n    ]"


def _member(alias: str, text: bytes, indent: bytes) -> bytes:
    return indent + string_token(alias.encode()) + b": " + text


def _split(alias: str, array: Array) -> list[bytes]:
    """The text of each row of an array of rank >= 1."""
    if array.size == 0 or dtypes.of_array(array).is_string:
        return [_output(alias, row) for row in _slices(array)]
    # A numeric text has no quotes, so rows can be cut at the brackets that close and open dimension 1.
    depth = array.ndim - 1
    closing, opening = b"]" * depth, b"[" * depth
    rows = _output(alias, array)[1 + depth : -1 - depth].split(closing + b", " + opening)
    return [opening + row + closing for row in rows] if depth else rows


def _slices(array: Array) -> Iterable[Array]:
    return (array[index, ...] for index in range(array.shape[0]))


def _output(alias: str, array: Array) -> bytes:
    return _text(array, as_base64=alias.endswith(_BYTES_SUFFIX))


def _text(array: Array, *, as_base64: bool) -> bytes:
    dtype = dtypes.of_array(array)
    if dtype.is_string:
        return _strings(array, as_base64=as_base64)
    if array.dtype.kind == "c":
        raise InvalidArgumentError(f"Failed to write JSON value for tensor type: {dtype.name}")
    return _numbers(array)


def _numbers(array: Array) -> bytes:
    """Nested lists of numbers or booleans, separated by a comma and a blank."""
    plain = _native(array)
    text = orjson.dumps(plain.reshape(1) if plain.ndim == 0 else plain, option=orjson.OPT_SERIALIZE_NUMPY)
    if plain.ndim == 0:
        text = text[1:-1]
    if plain.dtype.kind == "f" and b"null" in text:
        text = _with_names(text, plain)
    return text.replace(b",", b", ")


def _native(array: Array) -> Array:
    """The same values in a dtype and layout that orjson writes; widening is exact."""
    if array.dtype.names is not None:
        array = array[array.dtype.names[0]]
    kind = array.dtype.kind
    if kind == "V" or (kind == "f" and array.dtype.itemsize < 4):
        # ml_dtypes' own kinds, and half: JSON has one number type, so what C++ refuses is served.
        integer = array.dtype in (np.dtype(dtypes.BY_NAME[name].numpy) for name in ("int4", "uint4"))
        array = array.astype(np.int8 if integer else np.float32)
    return np.asarray(array, array.dtype.newbyteorder("="), order="C")


def _with_names(text: bytes, array: Array) -> bytes:
    """orjson writes `null` for what is not finite: put the names in, in the order of the elements."""
    values = array[~np.isfinite(array)]
    names = np.select([np.isnan(values), values > 0], ["NaN", "Infinity"], "-Infinity").tolist()
    pieces = text.split(b"null")
    joined = [
        piece for pair in zip(pieces, (name.encode() for name in names), strict=False) for piece in pair
    ]
    return b"".join([*joined, pieces[-1]])


def _strings(array: Array, *, as_base64: bool) -> bytes:
    """Nested lists of strings; built from the innermost dimension outwards."""
    elements = (
        item.encode() if isinstance(item, str) else bytes(item) for item in array.reshape(-1).tolist()
    )
    tokens = [_base64_object(item) if as_base64 else string_token(item) for item in elements]
    groups = array.size
    for axis in range(array.ndim - 1, -1, -1):
        size = array.shape[axis]
        groups = int(np.prod(array.shape[:axis], dtype=np.int64))
        tokens = [b"[" + b", ".join(tokens[n * size : (n + 1) * size]) + b"]" for n in range(groups)]
    return tokens[0]


def _base64_object(item: bytes) -> bytes:
    return b'{"b64": "' + binascii.b2a_base64(item, newline=False) + b'"}'
