"""One TensorProto → one numpy array, exactly as TensorFlow reads it.

First step of a gRPC Predict for each input, and of a signature's default values. `tensor_writer` is the way
back. Rule of this file: nothing is allocated because a message *says* that a tensor is large; what is
declared is compared with the data that came, before memory is taken.

Source: TensorFlow, core/framework/tensor.cc (Tensor::FromProto).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from pyserve import dtypes
from pyserve.dtypes import Array, DType
from pyserve.errors import InvalidArgumentError
from pyserve.protos import tf

EXPANSION_LIMIT = 2**28
"""How large, in bytes, a tensor may become that carries fewer values than elements."""

MAX_RANK = 64 if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else 32
"""numpy's limit of dimensions; TensorFlow's own is 254."""

_LARGEST_BYTES = 2**63 - 1


def decode(proto: tf.TensorProto, *, expansion_limit: int = EXPANSION_LIMIT) -> Array:
    """The array that a TensorProto stands for.

    `tensor_content`, when not empty, must hold the elements exactly (an empty tensor ignores it). Otherwise
    the typed field counts: when it has fewer values than the shape has elements the last one is repeated,
    when it is empty the elements are zeros or empty strings, and surplus values are dropped. Integers of
    narrow types wrap modulo 2^bits.

    A repeated value lets 30 bytes of message stand for any amount of memory (TensorFlow would allocate it).
    Clients use that for constants, so it is served as long as the result has at most `expansion_limit` bytes
    (strings: eight per element, the bytes being shared). A tensor whose elements all came is never refused.

    Args:
        proto: A message of pyserve's own classes.
        expansion_limit: In bytes.

    Returns:
        An array of the dtype's numpy form; strings are an object array of `bytes`. It may be read-only: data
        of `tensor_content` is not copied again.

    Raises:
        InvalidArgumentError: Unknown rank, negative dimension, a dtype without data, data that does not fit
            the shape, or a shape beyond the limits.
    """
    dtype = dtypes.BY_NUMBER.get(proto.dtype)
    if dtype is None or dtype.numpy is None or dtype.field is None:
        raise InvalidArgumentError(f"Tensor with dtype {proto.dtype}, which has no data")
    shape, count = _shape(proto.tensor_shape, dtype.numpy.itemsize)
    content = proto.tensor_content
    if content and count:
        flat = _strings_of_content(content, count) if dtype.is_string else _of_content(content, count, dtype)
    else:
        values = _READERS[dtype.field](proto, dtype)
        flat = _fitted(values, count, expansion_limit)
    return flat.reshape(shape)


def _shape(proto: tf.TensorShapeProto, itemsize: int) -> tuple[tuple[int, ...], int]:
    """The dimensions and the number of elements; nothing is allocated."""
    dims = proto.dim
    if len(dims) > MAX_RANK:
        raise InvalidArgumentError(f"Tensor with {len(dims)} dimensions, expected at most {MAX_RANK}")
    if proto.unknown_rank:
        raise InvalidArgumentError("Tensor of unknown rank")
    shape = tuple([dim.size for dim in dims])
    if shape and min(shape) < 0:
        raise InvalidArgumentError(f"Tensor with a negative dimension in {list(shape)}")
    # Zeros are left out: numpy refuses an empty array, too, whose other dimensions are beyond measure.
    if math.prod(filter(None, shape)) * itemsize > _LARGEST_BYTES:
        raise InvalidArgumentError(f"Tensor of shape {list(shape)} has too many elements")
    return shape, math.prod(shape)


def _of_content(content: bytes, count: int, dtype: DType) -> Array:
    assert dtype.numpy is not None
    if len(content) != count * dtype.numpy.itemsize:
        raise InvalidArgumentError(
            f"Tensor of {count} elements of {dtype.name} with {len(content)} bytes of content, "
            f"expected {count * dtype.numpy.itemsize}"
        )
    if dtype.name == "bool":
        # A numpy bool with any other byte is undefined behaviour, so this is the one copy.
        return np.asarray(np.frombuffer(content, np.uint8) != 0)
    if dtype.numpy in _NIBBLES:
        return _nibbles(np.frombuffer(content, np.uint8), dtype)
    elements: Array = np.frombuffer(content, dtype.numpy)
    return elements


def _strings_of_content(content: bytes, count: int) -> Array:
    """The lengths of all strings as varints, then their bytes."""
    if count > len(content):
        raise InvalidArgumentError(f"Tensor of {count} strings with {len(content)} bytes of content")
    lengths: list[int] = []
    position = 0
    for _ in range(count):
        length = shift = 0
        while True:
            if position == len(content) or shift > 63:
                raise InvalidArgumentError("Tensor of strings whose content has a broken length")
            byte = content[position]
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length)
    if sum(lengths) != len(content) - position:
        raise InvalidArgumentError(
            f"Tensor of strings with {len(content) - position} bytes of content, expected {sum(lengths)}"
        )
    strings = np.empty(count, np.object_)
    for index, length in enumerate(lengths):
        strings[index] = content[position : position + length]
        position += length
    return strings


def _fitted(values: Array, count: int, expansion_limit: int) -> Array:
    """Exactly `count` elements: surplus dropped, the last one repeated, or all empty."""
    given = len(values)
    if given == count:
        return values
    if given > count:
        return values[:count]
    if count * values.itemsize > expansion_limit:
        raise InvalidArgumentError(
            f"Tensor of {count} elements with {given} values would take {count * values.itemsize} bytes, "
            f"more than {expansion_limit} for repeated values"
        )
    if values.dtype.kind == "O":
        flat = np.empty(count, np.object_)
        flat.fill(values[-1] if given else b"")  # np.full would lose trailing NUL bytes
    else:
        flat = np.zeros(count, values.dtype)
        if given:
            flat[given:] = values[-1]
    flat[:given] = values
    return flat


def _numbers(field: str, wire: Any) -> Callable[[tf.TensorProto, DType], Array]:
    """Reader of a field whose values are the elements."""

    def read(proto: tf.TensorProto, dtype: DType) -> Array:
        values = packed_values(getattr(proto, field), wire)
        if dtype.numpy == values.dtype or dtype.numpy is None:
            return values
        if dtype.numpy in _NIBBLES:
            return _nibbles(values, dtype)
        if dtype.numpy.names is not None:
            return values.astype(dtype.numpy[0]).view(dtype.numpy)
        return values.astype(dtype.numpy)

    return read


_FEW = 16


def packed_values(field: Any, wire: Any) -> Array:
    """The values of a packed field; many at once through its buffer, whose set-up does not pay for a few."""
    values: Array = np.array(field[:] if len(field) <= _FEW else field, wire)
    return values


def _bits(proto: tf.TensorProto, dtype: DType) -> Array:
    """half_val: 16 bits of each number are the element."""
    assert dtype.numpy is not None
    return packed_values(proto.half_val, np.int32).astype(np.uint16).view(dtype.numpy)


def _complex(field: str, wire: Any) -> Callable[[tf.TensorProto, DType], Array]:
    """Reader of a field with real and imaginary parts in turn; half a number is dropped."""

    def read(proto: tf.TensorProto, dtype: DType) -> Array:
        assert dtype.numpy is not None
        parts = packed_values(getattr(proto, field), wire)
        return parts[: len(parts) // 2 * 2].view(dtype.numpy)

    return read


def _bytes(proto: tf.TensorProto, dtype: DType) -> Array:
    """float8_val: one byte per element."""
    return np.frombuffer(proto.float8_val, dtype.numpy)


def _strings(proto: tf.TensorProto, dtype: DType) -> Array:
    values = np.empty(len(proto.string_val), np.object_)
    values[:] = list(proto.string_val)
    return values


_NIBBLES = (np.dtype(ml_dtypes.int4), np.dtype(ml_dtypes.uint4))


def _nibbles(values: Array, dtype: DType) -> Array:
    """4-bit integers out of the low bits of wider ones."""
    low = values.astype(np.uint8) & 0xF
    if dtype.name == "int4":
        return ((low ^ 8).astype(np.int8) - np.int8(8)).astype(dtype.numpy)
    return low.astype(dtype.numpy)


_READERS: dict[str, Callable[[tf.TensorProto, DType], Array]] = {
    "float_val": _numbers("float_val", np.float32),
    "double_val": _numbers("double_val", np.float64),
    "int_val": _numbers("int_val", np.int32),
    "int64_val": _numbers("int64_val", np.int64),
    "uint32_val": _numbers("uint32_val", np.uint32),
    "uint64_val": _numbers("uint64_val", np.uint64),
    "bool_val": _numbers("bool_val", np.bool_),
    "half_val": _bits,
    "scomplex_val": _complex("scomplex_val", np.float32),
    "dcomplex_val": _complex("dcomplex_val", np.float64),
    "float8_val": _bytes,
    "string_val": _strings,
}
"""How the values of each typed field become a flat array of the dtype."""
