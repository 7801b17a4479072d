"""The messages of EAS's TensorFlow processor: bytes that its own client makes, and what is refused."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest

from pyserve import dtypes
from pyserve.backends.function import predict_signature
from pyserve.codec.eas import check_output, decode_array, decode_request, encode_response, structure_body
from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError, UnimplementedError
from pyserve.protos import eas
from pyserve.servable import TensorSpec

A = "0a0373696712170a01781212080112040a0201021a080000803f00000040"
STRINGS = np.array([b"a", b"bc"], object)

REQUESTS: dict[str, tuple[str, str, tuple[str, ...], Array]] = {
    "A": (A, "sig", (), np.array([[1, 2]], np.float32)),
    "B": (A + "1a01791a017a", "sig", ("y", "z"), np.array([[1, 2]], np.float32)),
    "C": ("120f0a0178120a080112001a0400004040", "", (), np.array(3, np.float32)),
    "D": ("12190a01781214080612030a01022a0bffffffffffffffffff017f", "", (), np.array([-1, 127], np.int8)),
    "E": ("12100a0178120b080412030a01012a02ff01", "", (), np.array([255], np.uint8)),
    "F": ("12110a0178120c081112030a01012a03ffff03", "", (), np.array([65535], np.uint16)),
    "G": ("12180a01781213080912030a01013a0afeffffffffffffffff01", "", (), np.array([-2], np.int64)),
    "H": ("12160a01781211080212030a01012208000000000000e03f", "", (), np.array([0.5])),
    "I": ("12100a0178120b080a12030a010242020100", "", (), np.array([True, False])),
    "J": ("12130a0178120e080712030a010232016132026263", "", (), STRINGS),
    "K": ("120d0a01781208080112040a020003", "", (), np.zeros((0, 3), np.float32)),
}
"""Name → bytes, signature, filter, and the array of the input `x`."""


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_of_the_client(name: str) -> None:
    """What the client's bytes say."""
    data, signature, output_filter, array = REQUESTS[name]
    request = decode_request(bytes.fromhex(data))
    assert (request.signature_name, request.output_filter) == (signature, output_filter)
    assert list(request.arrays) == ["x"]
    found = request.array("x")
    assert found.dtype == array.dtype
    assert (found.shape, found.tolist()) == (array.shape, array.tolist())


def test_a_response() -> None:
    """The bytes of an answer are those that protobuf would write."""
    answer = encode_response({"y": np.array([[1.5], [-1]], np.float32)})
    assert answer.hex() == "0a170a01791212080112040a0202011a080000c03f000080bf"


@pytest.mark.parametrize("name", REQUESTS)
def test_arrays_there_and_back(name: str) -> None:
    """An answer carries an array just as a request does."""
    array = REQUESTS[name][3]
    message = eas.PredictResponse.FromString(encode_response({"x": array}))
    sent = eas.PredictRequest.FromString(bytes.fromhex(REQUESTS[name][0])).inputs["x"]
    assert message.outputs["x"] == sent


@pytest.mark.parametrize(
    ("array", "field", "values"),
    [
        (np.array([1.5, 2], np.float16), "float_val", [1.5, 2]),
        (np.array([1.5, 2], ml_dtypes.bfloat16), "float_val", [1.5, 2]),
        (np.array([1 + 2j, 3], np.complex64), "float_val", [1, 2, 3, 0]),
        (np.array([1 + 2j, 3], np.complex128), "double_val", [1, 2, 3, 0]),
        (np.array([-5, 7], np.int16), "int_val", [-5, 7]),
        (np.array([-5, 7], np.int32), "int_val", [-5, 7]),
        (np.array([(-5,), (7,)], dtypes.BY_NAME["qint8"].numpy), "int_val", [-5, 7]),
        (np.array([(5,), (65535,)], dtypes.BY_NAME["quint16"].numpy), "int_val", [5, 65535]),
    ],
)
def test_types_that_travel_in_a_wider_field(array: Array, field: str, values: list[float]) -> None:
    """Values, not bit patterns; the type stays what it is."""
    proto = eas.PredictResponse.FromString(encode_response({"y": array})).outputs["y"]
    assert proto.dtype == dtypes.of_array(array).number
    assert list(getattr(proto, field)) == values
    assert [name.name for name, _ in proto.ListFields()] == ["dtype", "array_shape", field]
    back = decode_array(proto)
    assert back.dtype == array.dtype
    assert back.tolist() == array.tolist()


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (eas.ArrayProto(dtype=0), "dtype number 0 cannot be sent"),
        (eas.ArrayProto(dtype=20), "dtype DT_RESOURCE cannot be sent"),
        (eas.ArrayProto(dtype=22), "dtype DT_UINT32 cannot be sent"),
        (eas.ArrayProto(dtype=1), "0 values in float_val for DT_FLOAT of shape [], expected 1"),
        (
            eas.ArrayProto(dtype=1, array_shape=eas.ArrayShape(dim=[2]), float_val=[1]),
            "1 values in float_val for DT_FLOAT of shape [2], expected 2",
        ),
        (
            eas.ArrayProto(dtype=1, array_shape=eas.ArrayShape(dim=[1]), float_val=[1, 2]),
            "2 values in float_val for DT_FLOAT of shape [1], expected 1",
        ),
        (
            eas.ArrayProto(dtype=1, array_shape=eas.ArrayShape(dim=[1]), double_val=[1]),
            "0 values in float_val",
        ),
        (
            eas.ArrayProto(dtype=8, array_shape=eas.ArrayShape(dim=[1]), float_val=[1]),
            "1 values in float_val for DT_COMPLEX64 of shape [1], expected 2",
        ),
        (eas.ArrayProto(dtype=1, array_shape=eas.ArrayShape(dim=[-1])), "negative dimension in shape [-1]"),
        (
            eas.ArrayProto(dtype=1, array_shape=eas.ArrayShape(dim=[2**62, 2**62, 2])),
            "has too many elements",
        ),
        (eas.ArrayProto(dtype=1, array_shape=eas.ArrayShape(dim=[0, 2**62, 2**62])), "has too many elements"),
        (eas.ArrayProto(dtype=1, array_shape=eas.ArrayShape(dim=[1] * 100)), "100 dimensions"),
        (
            eas.ArrayProto(dtype=4, array_shape=eas.ArrayShape(dim=[2]), int_val=[1, 256]),
            "value 256 at position 1 is out of the range of DT_UINT8",
        ),
        (
            eas.ArrayProto(dtype=6, array_shape=eas.ArrayShape(dim=[1]), int_val=[-129]),
            "value -129 at position 0 is out of the range of DT_INT8",
        ),
        (eas.ArrayProto(dtype=11, int_val=[128]), "value 128 at position 0 is out of the range of DT_QINT8"),
    ],
)
def test_arrays_that_are_refused(message: eas.ArrayProto, text: str) -> None:
    """The reason names the input, what came and what was expected."""
    request = eas.PredictRequest()
    request.inputs["the input"].CopyFrom(message)
    with pytest.raises(InvalidArgumentError) as caught:
        decode_request(request.SerializeToString()).array("the input")
    assert caught.value.message.startswith("input 'the input': ")
    assert text in caught.value.message


def test_values_in_other_fields_are_ignored() -> None:
    """Only the field of the type counts."""
    assert decode_array(eas.ArrayProto(dtype=1, float_val=[1], int_val=[7, 8])) == 1


def test_any_legal_form_is_read() -> None:
    """Unpacked values, a split run, unknown fields, any order, the last of equal keys."""
    unpacked = bytes.fromhex("1d0000803f") + bytes.fromhex("1d00000040")  # two single floats
    split = bytes.fromhex("1a040000803f") + bytes.fromhex("1a0400000040")
    for values in (unpacked, split):
        array = values + bytes.fromhex("0801") + bytes.fromhex("12030a0102") + bytes.fromhex("f80107")
        other = bytes.fromhex("0a0178") + bytes.fromhex("1202080a")
        entry = bytes([0x12, len(array)]) + array + bytes.fromhex("0a0178")
        request = decode_request(bytes([0x12, len(other)]) + other + bytes([0x12, len(entry)]) + entry)
        assert request.array("x").tolist() == [1, 2]


@pytest.mark.parametrize("data", [b"\xff", b"{}", b"\x12\x05\x0a", bytes.fromhex(A)[:-1]])
def test_bytes_that_are_no_request(data: bytes) -> None:
    """They are the caller's mistake."""
    with pytest.raises(InvalidArgumentError, match="is no serialized PredictRequest"):
        decode_request(data)


def test_a_filter_counts_each_name_once() -> None:
    """In the order given."""
    request = eas.PredictRequest(output_filter=["z", "y", "z"])
    assert decode_request(request.SerializeToString()).output_filter == ("z", "y")


def test_outputs_that_cannot_be_carried() -> None:
    """They are named, before a model runs and after."""
    with pytest.raises(UnimplementedError, match="output 'y' is of type DT_UINT32"):
        encode_response({"y": np.array([1], np.uint32)})
    with pytest.raises(UnimplementedError, match="output 'y' is of type DT_UINT64"):
        check_output(TensorSpec("y", dtypes.BY_NAME["uint64"], None))


def test_outputs_are_sorted_and_keep_odd_strings() -> None:
    """An answer does not depend on the order in which a model gives its outputs; strings need be no text."""
    strings = np.array([[b"\xff\0"]], object)
    answer = encode_response({"z": strings, "a": np.array(1)})
    message = eas.PredictResponse.FromString(answer)
    assert answer.index(b"\x0a\x01a") < answer.index(b"\x0a\x01z")
    assert list(message.outputs["z"].string_val) == [b"\xff\0"]
    assert list(message.outputs["z"].array_shape.dim) == [1, 1]
    assert message.outputs["a"].HasField("array_shape")


def test_structure() -> None:
    """Aliases by name, -1 for what is free, nothing for a scalar and an unknown rank."""
    signature = predict_signature(
        [TensorSpec("b", dtypes.FLOAT, (None, 784)), TensorSpec("a", dtypes.STRING, ())],
        [TensorSpec("y", dtypes.BY_NAME["uint32"], None)],
        "predict_images",
    )
    assert json.loads(structure_body(signature)) == {
        "signature_name": "predict_images",
        "inputs": [
            {"name": "a", "shape": [], "type": "DT_STRING"},
            {"name": "b", "shape": [-1, 784], "type": "DT_FLOAT"},
        ],
        "outputs": [{"name": "y", "shape": [], "type": "DT_UINT32"}],
    }
