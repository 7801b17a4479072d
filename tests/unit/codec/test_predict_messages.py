"""PredictRequest in, PredictResponse out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pyserve.codec import predict
from pyserve.codec.predict import ModelSpec, decode_request, encode_response
from pyserve.codec.tensor_proto import decode
from pyserve.codec.tensor_writer import encode
from pyserve.errors import InvalidArgumentError, ResourceExhaustedError
from pyserve.protos import tfs


def request(**arrays: Any) -> tfs.PredictRequest:
    message = tfs.PredictRequest()
    for alias, array in arrays.items():
        message.inputs[alias].ParseFromString(encode(array))
    return message


def test_request() -> None:
    """Names, filter and arrays come out as they were sent."""
    message = request(x=np.array([1.5], np.float32), y=np.array(b"s", object))
    message.model_spec.name = "m"
    message.model_spec.signature_name = "sig"
    message.output_filter.extend(["b", "a", "b"])
    found = decode_request(message.SerializeToString())
    assert found.model_spec == ModelSpec(name="m", signature_name="sig")
    assert set(found.aliases) == {"x", "y"}
    assert found.array("x").tolist() == [1.5]
    assert found.array("y").item() == b"s"
    assert found.output_filter == ("b", "a", "b")


def test_absent_model_spec() -> None:
    """A request without a model spec differs from one with an empty spec."""
    assert decode_request(b"").model_spec is None
    assert decode_request(b"\x0a\x00").model_spec == ModelSpec()


def test_version_choice() -> None:
    """A version of 0 is a choice; version and label exclude each other."""
    message = tfs.PredictRequest()
    message.model_spec.version.value = 0
    assert decode_request(message.SerializeToString()).model_spec == ModelSpec(version=0)
    message.model_spec.version_label = ""
    assert decode_request(message.SerializeToString()).model_spec == ModelSpec(version_label="")


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\xff" * 1000, b"\x12\x05abc"])
def test_bytes_that_are_no_request(data: bytes) -> None:
    """Broken bytes are the caller's error, told shortly."""
    with pytest.raises(InvalidArgumentError) as caught:
        decode_request(data)
    assert len(caught.value.message) < 100


def test_bad_tensor_names_its_input() -> None:
    """Only asking for the bad input fails, and the error names it."""
    message = request(x=np.array([1.0]))
    message.inputs["bad"].dtype = 1
    message.inputs["bad"].tensor_shape.dim.add(size=-1)
    found = decode_request(message.SerializeToString())
    assert found.array("x").tolist() == [1.0]
    with pytest.raises(InvalidArgumentError) as caught:
        found.array("bad")
    assert caught.value.message.startswith("tensor parsing error: bad: ")
    assert "negative dimension" in str(caught.value.__cause__)


@pytest.mark.parametrize("as_content", [False, True])
def test_response(as_content: bool) -> None:
    """The assembled bytes are a PredictResponse with each output and the model spec."""
    outputs: dict[str, Any] = {
        "a": np.arange(1000, dtype=np.float32).reshape(10, 100),
        "": np.array(7, np.int64),
        "strings ☃": np.array([b"x" * 300, b""], object),
    }
    data = encode_response(outputs, name="m", version=3, signature_name="s", as_content=as_content)
    message = tfs.PredictResponse.FromString(data)
    assert ModelSpec.of(message.model_spec) == ModelSpec(name="m", signature_name="s", version=3)
    assert set(message.outputs) == set(outputs)
    for alias, array in outputs.items():
        np.testing.assert_array_equal(decode(message.outputs[alias]), array)
        assert bool(message.outputs[alias].tensor_content) == as_content
    assert data == message.SerializeToString() or len(data) == message.ByteSize()


def test_response_without_outputs() -> None:
    """No outputs still name the model; version 0 is present."""
    message = tfs.PredictResponse.FromString(encode_response({}, name="", version=0, signature_name=""))
    assert message.model_spec.HasField("version")
    assert not message.outputs


def test_response_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A response that protobuf could not hold is refused before it is built."""
    monkeypatch.setattr(predict, "LARGEST_MESSAGE", 100)
    with pytest.raises(ResourceExhaustedError):
        encode_response({"a": np.zeros(100)}, name="m", version=1, signature_name="s")
