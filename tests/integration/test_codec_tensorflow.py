"""The codec beside TensorFlow itself: parse_tensor reads a TensorProto exactly as the C++ server does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pyserve import dtypes
from pyserve.codec.predict import decode_request, encode_response
from pyserve.codec.tensor_proto import decode
from pyserve.codec.tensor_writer import encode
from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError
from pyserve.protos import tf

tensorflow = pytest.importorskip("tensorflow")

NAMES = [dtype.name for dtype in dtypes.ALL if dtype.numpy is not None]


def tensorflow_reads(data: bytes, number: int) -> Array:
    return plain(tensorflow.io.parse_tensor(data, tensorflow.DType(number)).numpy())


def plain(array: Any) -> Array:
    """The array in numpy's terms: quantised types as their integers, a string scalar as an object."""
    values: Array = np.asarray(array, object if isinstance(array, bytes) else None)
    return values[values.dtype.names[0]] if values.dtype.names else values


def assert_same(left: Array, right: Array) -> None:
    assert left.shape == right.shape
    assert str(left.dtype) == str(right.dtype)
    if left.dtype.kind == "O":
        assert left.tolist() == right.tolist()
    elif "int4" in str(left.dtype):
        assert left.astype(np.int8).tolist() == right.astype(np.int8).tolist()  # the unused bits may differ
    else:
        assert left.tobytes() == right.tobytes()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("as_content", [False, True])
def test_tensorflow_reads_what_is_encoded(name: str, as_content: bool) -> None:
    """What the codec writes, TensorFlow reads, bit by bit, for every dtype."""
    dtype = dtypes.BY_NAME[name]
    assert dtype.numpy is not None
    array = np.array([b"a\0", b"", b"c" * 200], object) if dtype.is_string else sample(dtype.numpy, name)
    for shaped in (
        array,
        array.reshape(3, 1, 1),
        array[0:0],
        array[1].reshape(()) if not dtype.is_string else array,
    ):
        data = encode(np.asarray(shaped), as_content=as_content)
        assert_same(tensorflow_reads(data, dtype.number), plain(shaped))


def sample(form: Any, name: str) -> Array:
    if name in ("int4", "uint4"):
        return np.array([0, 7, -8 if name == "int4" else 15]).astype(form)
    raw = np.frombuffer(bytes(range(100, 100 + 3 * form.itemsize)), np.uint8)
    return (raw % 2 if name == "bool" else raw).view(form)


@st.composite
def protos(draw: st.DrawFn) -> tf.TensorProto:
    """A TensorProto with any fitting or unfitting number of values in its typed field."""
    dtype = dtypes.BY_NAME[draw(st.sampled_from(NAMES))]
    message = tf.TensorProto(dtype=dtype.number)
    for size in draw(st.lists(st.integers(0, 4), max_size=3)):
        message.tensor_shape.dim.add(size=size)
    count = draw(st.integers(0, 8))
    field = dtype.field
    assert field is not None
    if field == "float8_val":
        message.float8_val = draw(st.binary(min_size=count, max_size=count))
        return message
    limits = {"uint32_val": (0, 2**32 - 1), "uint64_val": (0, 2**64 - 1), "int64_val": (-(2**63), 2**63 - 1)}
    element: st.SearchStrategy[Any] = st.integers(*limits.get(field, (-(2**31), 2**31 - 1)))
    if field == "string_val":
        element = st.binary(max_size=5)
    elif field == "bool_val":
        element = st.booleans()
    elif field in ("float_val", "double_val", "scomplex_val", "dcomplex_val"):
        element = st.floats(width=32)
    getattr(message, field).extend(draw(st.lists(element, min_size=count, max_size=count)))
    return message


@settings(deadline=None, max_examples=500)
@given(protos())
def test_decoding_agrees_with_tensorflow(message: tf.TensorProto) -> None:
    """Repeating, dropping, wrapping and combining values is TensorFlow's, for every dtype."""
    expected = tensorflow_reads(message.SerializeToString(), message.dtype)
    assert_same(plain(decode(message)), expected)


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(["float", "int16", "string", "bool", "complex64"]),
    st.lists(st.integers(0, 3), max_size=2),
    st.binary(min_size=1, max_size=24),
)
def test_content_agrees_with_tensorflow(name: str, shape: list[int], content: bytes) -> None:
    """tensor_content is taken or refused as TensorFlow does."""
    if name == "bool":
        content = bytes(byte & 1 for byte in content)
    message = tf.TensorProto(dtype=dtypes.BY_NAME[name].number, tensor_content=content)
    for size in shape:
        message.tensor_shape.dim.add(size=size)
    try:
        expected = tensorflow_reads(message.SerializeToString(), message.dtype)
    except tensorflow.errors.InvalidArgumentError:
        with pytest.raises(InvalidArgumentError):
            decode(message)
    else:
        assert_same(decode(message), expected)


ARRAYS = st.sampled_from(
    [np.float32, np.float64, np.int32, np.int64, np.bool_, np.uint8, np.float16]
).flatmap(lambda form: hnp.arrays(form, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))


@settings(deadline=None)
@given(ARRAYS)
def test_make_tensor_proto_is_understood(array: Array) -> None:
    """What Python clients send comes out as the array they had."""
    data = tensorflow.make_tensor_proto(array).SerializeToString()
    assert_same(decode(tf.TensorProto.FromString(data)), array)


@pytest.mark.parametrize("as_content", [False, True])
def test_official_classes(as_content: bool) -> None:
    """The classes of tensorflow-serving-api read the response and write the request."""
    apis = pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    outputs = {"y": np.arange(6, dtype=np.float32).reshape(2, 3), "s": np.array([b"a\0", b"b"], object)}
    data = encode_response(outputs, name="m", version=7, signature_name="sig", as_content=as_content)
    response = apis.PredictResponse.FromString(data)
    assert (response.model_spec.name, response.model_spec.version.value) == ("m", 7)
    assert response.model_spec.signature_name == "sig"
    for alias, array in outputs.items():
        tensor = response.outputs[alias]
        assert_same(tensorflow_reads(tensor.SerializeToString(), tensor.dtype), array)

    request = apis.PredictRequest()
    request.model_spec.name = "m"
    request.model_spec.version_label = "stable"
    request.inputs["x"].CopyFrom(tensorflow.make_tensor_proto([[1.0, 2.0]]))
    request.output_filter.append("y")
    found = decode_request(request.SerializeToString())
    assert found.model_spec is not None
    assert found.model_spec.version_label == "stable"
    assert found.array("x").tolist() == [[1.0, 2.0]]
    assert found.output_filter == ("y",)
