"""TensorProto → array: every dtype, every way of carrying data, and every limit."""

from __future__ import annotations

import tracemalloc
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pyserve import dtypes
from pyserve.codec import tensor_writer
from pyserve.codec.tensor_proto import MAX_RANK, decode
from pyserve.codec.tensor_writer import encode
from pyserve.dtypes import Array, DType
from pyserve.errors import InvalidArgumentError
from pyserve.protos import tf

WITH_DATA = [dtype for dtype in dtypes.ALL if dtype.numpy is not None]


def proto(name: str, shape: list[int] | None = None, **fields: Any) -> tf.TensorProto:
    message = tf.TensorProto(dtype=dtypes.BY_NAME[name].number, **fields)
    for size in shape or []:
        message.tensor_shape.dim.add(size=size)
    return message


def sample(dtype: DType, shape: tuple[int, ...]) -> Array:
    """An array with different values, extreme ones among them, where the dtype has some."""
    count = int(np.prod(shape))
    assert dtype.numpy is not None
    if dtype.is_string:
        array = np.empty(count, object)
        array[:] = [b"\0" * (n % 3) + b"v" * (n * 50 % 333) + b"\xff\0" for n in range(count)]
        return array.reshape(shape)
    if dtype.name in ("int4", "uint4"):
        return (np.arange(count) % 16 - (8 if dtype.name == "int4" else 0)).astype(dtype.numpy).reshape(shape)
    raw = np.random.default_rng(dtype.number).integers(0, 256, count * dtype.numpy.itemsize, np.uint8)
    if dtype.name == "bool":
        raw %= 2
    return raw.view(dtype.numpy).reshape(shape)


def same(left: Array, right: Array) -> bool:
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    return left.tolist() == right.tolist() if left.dtype.kind == "O" else left.tobytes() == right.tobytes()


@pytest.mark.parametrize("dtype", WITH_DATA, ids=repr)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 0, 3), (7,), (3, 5), (100, 3)])
@pytest.mark.parametrize("as_content", [False, True])
def test_round_trip(dtype: DType, shape: tuple[int, ...], as_content: bool) -> None:
    """Every dtype and shape comes back bit by bit, in the form that was asked for."""
    array = sample(dtype, shape)
    message = tf.TensorProto.FromString(encode(array, as_content=as_content))
    assert message.HasField("tensor_shape")
    assert [dim.size for dim in message.tensor_shape.dim] == list(shape)
    assert same(decode(message), array)
    if array.size:
        assert dtype.field is not None
        assert bool(message.tensor_content) == as_content
        assert bool(len(getattr(message, dtype.field))) != as_content


@pytest.mark.parametrize("dtype", WITH_DATA, ids=repr)
@pytest.mark.parametrize("shape", [(11, 13), (2, 0), ()])
def test_encoding_is_what_protobuf_would_write(dtype: DType, shape: tuple[int, ...]) -> None:
    """The bytes assembled by hand are those of protobuf's own serialisation."""
    data = encode(sample(dtype, shape))
    assert tf.TensorProto.FromString(data).SerializeToString(deterministic=True) == data


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4).T,
        np.arange(12, dtype=np.int64)[::-3],
        np.arange(5, dtype=">f8"),
        np.arange(5, dtype=">i2"),
        np.array([1 + 2j], ">c8"),
    ],
)
@pytest.mark.parametrize("as_content", [False, True])
def test_any_layout(array: Array, as_content: bool) -> None:
    """Transposed, strided and big-endian arrays are written by value."""
    decoded = decode(tf.TensorProto.FromString(encode(array, as_content=as_content)))
    np.testing.assert_array_equal(decoded, array)


def test_arrays_of_fixed_width_strings() -> None:
    """numpy's own string arrays are strings too."""
    for array in (np.array([b"a", b"bc"]), np.array(["a", "bc"])):
        assert decode(tf.TensorProto.FromString(encode(array))).tolist() == [b"a", b"bc"]


@settings(deadline=None)
@given(hnp.arrays(np.int64, st.integers(1, 60), elements=st.integers(-(2**63), 2**63 - 1)))
def test_varints(array: Array) -> None:
    """Any 64-bit numbers, negative ones included, are the varints that protobuf reads."""
    for values in (array, array.view(np.uint64), array.astype(np.int32), array >> 50):
        assert same(decode(tf.TensorProto.FromString(encode(values))), values)


def test_varints_over_several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks join without a gap, each with its own width."""
    monkeypatch.setattr(tensor_writer, "_CHUNK", 7)
    array = np.concatenate([np.arange(10), np.array([2**40, -1]), np.arange(300, 320)])
    assert same(decode(tf.TensorProto.FromString(encode(array))), array)


def test_no_such_dtype() -> None:
    """An array of a type that no tensor has is refused."""
    with pytest.raises(InvalidArgumentError, match="datetime64"):
        encode(np.array(["2020-01-01"], "datetime64[D]"))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (proto("float", [4], float_val=[1, 2]), np.array([1, 2, 2, 2], np.float32)),
        (proto("float", [2], float_val=[1, 2, 3]), np.array([1, 2], np.float32)),
        (proto("float", [3]), np.zeros(3, np.float32)),
        (proto("float", None, float_val=[5]), np.array(5, np.float32)),
        (proto("float", [0], float_val=[5]), np.zeros(0, np.float32)),
        (proto("float"), np.array(0, np.float32)),
        (proto("string", [3]), np.array([b"", b"", b""], object)),
        (proto("string", [3], string_val=[b"a", b"b\0"]), np.array([b"a", b"b\0", b"b\0"], object)),
        (proto("string", None, string_val=[b"a"]), np.array(b"a", object)),
        (proto("int8", [3], int_val=[300, -129, 128]), np.array([44, 127, -128], np.int8)),
        (proto("uint8", [2], int_val=[256, -1]), np.array([0, 255], np.uint8)),
        (proto("int16", [2], int_val=[65536, 32768]), np.array([0, -32768], np.int16)),
        (proto("uint16", [1], int_val=[-1]), np.array([65535], np.uint16)),
        (proto("qint8", [2], int_val=[200, 1]), np.array([(-56,), (1,)], np.dtype([("qint8", "i1")]))),
        (proto("quint16", [1], int_val=[-1]), np.array([(65535,)], np.dtype([("quint16", "<u2")]))),
        (proto("int4", [3], int_val=[7, 8, -1]), np.array([7, -8, -1], ml_dtypes.int4)),
        (proto("uint4", [2], int_val=[15, 16]), np.array([15, 0], ml_dtypes.uint4)),
        (proto("half", [2], half_val=[0x3C00, 0x13C00]), np.array([1, 1], np.float16)),
        (proto("bfloat16", [1], half_val=[0x3F80]), np.array([1], ml_dtypes.bfloat16)),
        (proto("complex64", [2], scomplex_val=[1, 2]), np.array([1 + 2j, 1 + 2j], np.complex64)),
        (proto("complex64", [1], scomplex_val=[1, 2, 3]), np.array([1 + 2j], np.complex64)),
        (proto("complex128", [2]), np.zeros(2, np.complex128)),
        (proto("float8_e5m2", [3], float8_val=b"\x3c\x40"), np.array([1, 2, 2], ml_dtypes.float8_e5m2)),
        (proto("bool", [3], bool_val=[True]), np.array([True] * 3)),
        (proto("bool", [3], tensor_content=b"\0\1\2"), np.array([False, True, True])),
        (proto("string", [3], tensor_content=b"\x01\x00\x02abc"), np.array([b"a", b"", b"bc"], object)),
        (proto("float", [1], float_val=[9], tensor_content=b"\0\0\x80\x3f"), np.array([1], np.float32)),
        (proto("float", [3, 0], tensor_content=b"1"), np.zeros((3, 0), np.float32)),
        (proto("int64", [40], int64_val=range(20)), np.array([*range(20), *[19] * 20], np.int64)),
    ],
)
def test_reading(message: tf.TensorProto, expected: Array) -> None:
    """Values are repeated, dropped, wrapped and combined as TensorFlow does."""
    assert same(decode(message), expected)


def unknown_rank() -> tf.TensorProto:
    message = proto("float", [], float_val=[1])
    message.tensor_shape.unknown_rank = True
    return message


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (unknown_rank(), "unknown rank"),
        (proto("float", [-1], float_val=[1]), "negative dimension"),
        (proto("float", [2, -3], float_val=[1]), "negative dimension"),
        (tf.TensorProto(), "dtype 0"),
        (tf.TensorProto(dtype=101), "dtype 101"),
        (tf.TensorProto(dtype=20), "dtype 20"),
        (tf.TensorProto(dtype=21), "dtype 21"),
        (proto("float", [2], tensor_content=b"1234"), "expected 8"),
        (proto("float", [1], tensor_content=b"12345678"), "expected 4"),
        (proto("string", [5], tensor_content=b"\x01a"), "2 bytes of content"),
        (proto("string", [2], tensor_content=b"\x01\x05ab"), "expected 6"),
        (proto("string", [1], tensor_content=b"\x01ab"), "expected 1"),
        (proto("string", [1], tensor_content=b"\xff"), "broken length"),
        (proto("string", [1], tensor_content=b"\xff" * 20), "broken length"),
        (proto("float", [10**12], float_val=[1]), "repeated values"),
        (proto("float", [10**6, 10**6]), "repeated values"),
        (proto("string", [10**10], string_val=[b"x"]), "repeated values"),
        (proto("bool", [2**28 + 1], bool_val=[True]), "repeated values"),
        (proto("float", [2**62, 2**62], float_val=[1]), "too many elements"),
        (proto("float", [2**62, 2**62, 0], float_val=[1]), "too many elements"),
        (proto("double", [2**62], tensor_content=b"12345678"), "too many elements"),
        (proto("double", [10**17], tensor_content=b"12345678"), "expected 800"),
        (proto("float", [1] * (MAX_RANK + 1), float_val=[1]), "dimensions"),
    ],
)
def test_refusal(message: tf.TensorProto, reason: str) -> None:
    """What is no tensor, or claims to be one out of measure, is refused without taking memory for it."""
    tracemalloc.start()
    try:
        with pytest.raises(InvalidArgumentError, match=reason):
            decode(message)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_expansion_limit() -> None:
    """The limit is on repeated values only, in bytes of the result."""
    assert decode(proto("float", [100], float_val=[1]), expansion_limit=400).shape == (100,)
    with pytest.raises(InvalidArgumentError):
        decode(proto("float", [101], float_val=[1]), expansion_limit=400)
    assert decode(proto("float", [101], float_val=range(101)), expansion_limit=0).shape == (101,)
    assert decode(proto("float", [1] * MAX_RANK, float_val=[1])).ndim == MAX_RANK


def test_content_is_not_copied() -> None:
    """Data of tensor_content is a view."""
    array = decode(proto("float", [2], tensor_content=b"12345678"))
    assert array.base is not None
    assert not array.flags.writeable


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes(data: bytes) -> None:
    """Whatever parses as a message gives an array or a refusal, never another exception."""
    try:
        message = tf.TensorProto.FromString(
            b"\x08\x07\x12\x04\x12\x02\x08\x02\x22" + bytes([len(data)]) + data
        )
        assert decode(message).shape == (2,)
    except InvalidArgumentError:
        assert data != b"\0\0"
