"""PredictRequest, PredictResponse and ArrayProto of Alibaba EAS's TensorFlow processor: bytes ↔ numpy, pure.

An ArrayProto is stricter than a TensorProto: exactly as many values as the shape has elements, no raw content, no
value that stands for several. Element types without an exact field travel in the next wider one: small integers as
int32, half and bfloat16 as the floats that they are equal to, complex numbers as their two parts in turn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import orjson
from google.protobuf.message import DecodeError

from pyserve import dtypes
from pyserve.codec.predict import joined_message, map_entry
from pyserve.codec.tensor_proto import MAX_RANK, packed_values
from pyserve.codec.tensor_writer import Piece, field_tag, raw_elements, varint, varints, wire_integers
from pyserve.dtypes import Array, DType
from pyserve.errors import InvalidArgumentError, UnimplementedError
from pyserve.protos import eas
from pyserve.servable import Signature, TensorSpec

_MAX_ELEMENTS = 2**40
"""More elements than a message can hold values; what declares more is wrong whatever it carries."""


@dataclass(frozen=True, slots=True)
class _Field:
    """A value field of ArrayProto: its name, tag, and the numpy type of its values on the wire."""

    name: str
    tag: bytes
    wire: np.dtype[np.generic] | None

    @classmethod
    def of(cls, name: str, wire: type[np.generic] | None) -> _Field:
        number = eas.ArrayProto.DESCRIPTOR.fields_by_name[name].number
        return cls(name, field_tag(number), None if wire is None else np.dtype(wire))


_FLOATS, _DOUBLES = _Field.of("float_val", np.float32), _Field.of("double_val", np.float64)
_INTS, _LONGS = _Field.of("int_val", np.int32), _Field.of("int64_val", np.int64)
_STRINGS, _BOOLS = _Field.of("string_val", None), _Field.of("bool_val", np.bool_)

_FIELDS: Mapping[str, _Field] = MappingProxyType(
    {
        **dict.fromkeys(("float", "complex64", "bfloat16", "half"), _FLOATS),
        **dict.fromkeys(("double", "complex128"), _DOUBLES),
        **dict.fromkeys(("int32", "uint8", "int16", "int8", "uint16"), _INTS),
        **dict.fromkeys(("qint8", "quint8", "qint32", "qint16", "quint16"), _INTS),
        "string": _STRINGS,
        "int64": _LONGS,
        "bool": _BOOLS,
    }
)
"""Where the elements of each type travel. A type that is not here cannot be carried."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PredictRequest:
    """A request as it came, its arrays not decoded yet.

    Attributes:
        signature_name: Empty means the default.
        output_filter: Aliases in the order given, each once; empty means all.
        arrays: The inputs by alias; use `array`.
    """

    signature_name: str
    output_filter: tuple[str, ...]
    arrays: Mapping[str, eas.ArrayProto]

    def array(self, alias: str) -> Array:
        """The array of one input that was sent.

        Raises:
            InvalidArgumentError: It is none; the message names the input.
        """
        try:
            return decode_array(self.arrays[alias])
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"input '{alias}': {error.message}") from error


def decode_request(data: bytes) -> PredictRequest:
    """Parse a serialized request.

    Raises:
        InvalidArgumentError: The bytes are no such message.
    """
    try:
        proto = eas.PredictRequest.FromString(data)
    except DecodeError:
        raise InvalidArgumentError(
            f"The body of {len(data)} bytes is no serialized PredictRequest of EAS's TensorFlow processor"
        ) from None
    arrays = {alias: proto.inputs[alias] for alias in proto.inputs}
    return PredictRequest(proto.signature_name, tuple(dict.fromkeys(proto.output_filter)), arrays)


def decode_array(proto: eas.ArrayProto) -> Array:
    """The array that an ArrayProto stands for; strings are an object array of `bytes`.

    Raises:
        InvalidArgumentError: A type that cannot be carried, a bad shape, values that are not exactly as many as the
            shape has elements, or an integer outside the range of its type.
    """
    dtype = dtypes.BY_NUMBER.get(proto.dtype)
    field = None if dtype is None else _FIELDS.get(dtype.name)
    if dtype is None or dtype.numpy is None or field is None:
        name = f"number {proto.dtype}" if dtype is None else dtype.enum_name
        raise InvalidArgumentError(f"dtype {name} cannot be sent; expected one of {_known()}")
    shape, count = _shape(proto.array_shape)
    values = getattr(proto, field.name)
    per_element = 2 if dtype.numpy.kind == "c" else 1
    if len(values) != count * per_element:
        raise InvalidArgumentError(
            f"{len(values)} values in {field.name} for {dtype.enum_name} of shape {list(shape)}, "
            f"expected {count * per_element}"
        )
    if field.wire is None:
        strings = np.empty(count, np.object_)
        strings[:] = list(values)
        return strings.reshape(shape)
    return _of_wire(packed_values(values, field.wire), dtype).reshape(shape)


def _shape(proto: eas.ArrayShape) -> tuple[tuple[int, ...], int]:
    """The dimensions and the number of elements; nothing is allocated."""
    shape = tuple(proto.dim)
    if len(shape) > MAX_RANK:
        raise InvalidArgumentError(f"{len(shape)} dimensions, expected at most {MAX_RANK}")
    if shape and min(shape) < 0:
        raise InvalidArgumentError(f"negative dimension in shape {list(shape)}")
    # Zeros are left out: numpy refuses an empty array, too, whose other dimensions are beyond measure.
    if math.prod(filter(None, shape)) > _MAX_ELEMENTS:
        raise InvalidArgumentError(f"shape {list(shape)} has too many elements")
    return shape, math.prod(shape)


def _of_wire(values: Array, dtype: DType) -> Array:
    form = dtype.numpy
    assert form is not None
    if values.dtype == form:
        return values
    if form.kind == "c":
        return values.view(form)
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):  # a float beyond the range of a half is infinite, as in TensorFlow
            return values.astype(form)
    element = form if form.names is None else form[0]  # a quantised type is a record of one integer
    narrow = values.astype(element)
    if (wrong := np.flatnonzero(narrow != values)).size:
        raise InvalidArgumentError(
            f"value {values[wrong[0]]} at position {wrong[0]} is out of the range of {dtype.enum_name}"
        )
    return narrow.view(form)


_OUTPUTS = field_tag(1)
_DTYPE_TAG = b"\x08"
_SHAPE, _DIMS = field_tag(2), field_tag(1)


def encode_response(outputs: Mapping[str, Array]) -> bytes:
    """A serialized response with these outputs, sorted by name.

    Raises:
        UnimplementedError: An output has a type that cannot be carried; the message names it.
        ResourceExhaustedError: The message would be larger than protobuf allows.
    """
    pieces: list[Piece] = []
    for alias in sorted(outputs):
        pieces += map_entry(_OUTPUTS, alias, _array_pieces(alias, outputs[alias]))
    return joined_message("Response", pieces)


def check_output(spec: TensorSpec) -> None:
    """Refuse an output that an answer could not carry.

    Raises:
        UnimplementedError: Its type has no field.
    """
    if spec.dtype.name not in _FIELDS:
        raise _not_carried(spec.alias, spec.dtype)


def _not_carried(alias: str, dtype: DType) -> UnimplementedError:
    return UnimplementedError(
        f"output '{alias}' is of type {dtype.enum_name}, which an ArrayProto cannot carry"
    )


def _array_pieces(alias: str, array: Array) -> list[Piece]:
    dtype = dtypes.of_array(array)
    field = _FIELDS.get(dtype.name)
    if field is None:
        raise _not_carried(alias, dtype)
    dims = b"".join([varint(size) for size in array.shape])
    shape = _DIMS + varint(len(dims)) + dims if dims else b""
    head = _DTYPE_TAG + varint(dtype.number) + _SHAPE + varint(len(shape)) + shape
    if array.size == 0:
        return [head]
    if field.wire is None:
        items = [
            item.encode() if isinstance(item, str) else bytes(item) for item in array.reshape(-1).tolist()
        ]
        return [head, *(piece for item in items for piece in (field.tag + varint(len(item)), item))]
    if field.wire.kind == "f":
        body = raw_elements(
            array if dtype.numpy is None or dtype.numpy.kind == "c" else _widened(array, field)
        )
    else:
        body = varints(wire_integers(array, dtype))
    return [head, field.tag + varint(len(body)), body]


def _widened(array: Array, field: _Field) -> Array:
    return array if array.dtype == field.wire else array.astype(field.wire)


def structure_body(signature: Signature) -> bytes:
    """The JSON that describes a signature: its name, and alias, shape and type of its inputs and outputs.

    A free dimension is -1. A scalar and an unknown rank both have the shape [].
    """

    def described(specs: Mapping[str, TensorSpec]) -> list[dict[str, object]]:
        return [
            {
                "name": alias,
                "shape": [-1 if size is None else size for size in specs[alias].shape or ()],
                "type": specs[alias].dtype.enum_name,
            }
            for alias in sorted(specs)
        ]

    return orjson.dumps(
        {
            "signature_name": signature.key,
            "inputs": described(signature.inputs),
            "outputs": described(signature.outputs),
        }
    )


def _known() -> str:
    return ", ".join(dtype.enum_name for dtype in dtypes.ALL if dtype.name in _FIELDS)
