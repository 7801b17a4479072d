"""GetModelMetadata and GetModelStatus with the official stubs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2

from grpc_calls import Stubs, metadata_request, predict_request, status_request
from servers import EXAMPLES

AVAILABLE = 30


@pytest.fixture(scope="module")
def stubs(grpc_address: str) -> Iterator[Stubs]:
    with Stubs(grpc_address) as stubs:
        yield stubs


def failure(call: Any, request: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=30)
    return caught.value.code().name, caught.value.details()


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (metadata_request(None, ["signature_def"]), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (metadata_request(None, []), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (
            metadata_request("nope", []),
            "INVALID_ARGUMENT",
            "GetModelMetadataRequest must specify at least one metadata_field",
        ),
        (
            metadata_request("nope", ["signature_def", "size"]),
            "INVALID_ARGUMENT",
            "Metadata field size is not supported",
        ),
        (metadata_request("", ["signature_def"]), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (
            metadata_request("nope", ["signature_def"]),
            "NOT_FOUND",
            "Servable not found for request: Latest(nope)",
        ),
        (
            metadata_request("half_plus_two", ["signature_def"], label="nope"),
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: nope",
        ),
        (
            metadata_request("half_plus_two", ["signature_def"], version=9),
            "NOT_FOUND",
            "Servable not found for request: Specific(half_plus_two, 9)",
        ),
    ],
)
def test_metadata_refusals(stubs: Stubs, request_: Any, code: str, message: str) -> None:
    """The request's fields are checked before the model is looked up, each with its text."""
    assert failure(stubs.prediction.GetModelMetadata, request_) == (code, message)


@pytest.mark.saved_model("compared with its file")
def test_metadata_holds_every_signature_as_declared(stubs: Stubs) -> None:
    """The answer is the SavedModel's own map, with the type URL that clients unpack."""
    request = metadata_request("half_plus_two", ["signature_def"], version=1)
    response = stubs.prediction.GetModelMetadata(request, timeout=30)
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("half_plus_two", 1, "")
    packed = response.metadata["signature_def"]
    assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    found = get_model_metadata_pb2.SignatureDefMap()
    assert packed.Unpack(found)
    declared = saved_model_pb2.SavedModel.FromString(_saved_model("half_plus_two", "1"))
    (meta_graph,) = declared.meta_graphs
    assert dict(found.signature_def) == dict(meta_graph.signature_def)
    assert "__saved_model_init_op" in found.signature_def


@pytest.mark.parametrize(("spec", "version"), [({}, 2), ({"label": "stable"}, 1)])
def test_metadata_of_the_version_that_is_meant(stubs: Stubs, spec: dict[str, Any], version: int) -> None:
    """The highest version, or that of the label; a field may be named twice, and is answered once."""
    request = metadata_request("half_plus_two", ["signature_def"] * 2, **spec)
    response = stubs.prediction.GetModelMetadata(request, timeout=30)
    assert response.model_spec.version.value == version
    assert response.model_spec.WhichOneof("version_choice") == "version"
    assert response.metadata.keys() == {"signature_def"}


def _saved_model(name: str, version: str) -> bytes:
    return Path(EXAMPLES, name, version, "saved_model.pb").read_bytes()


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (status_request(None), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (status_request("nope"), "NOT_FOUND", "Could not find any versions of model nope"),
        (status_request(""), "NOT_FOUND", "Could not find any versions of model "),
        (
            status_request("half_plus_two", version=9),
            "NOT_FOUND",
            "Could not find version 9 of model half_plus_two",
        ),
    ],
)
def test_status_refusals(stubs: Stubs, request_: Any, code: str, message: str) -> None:
    """Unknown models and versions are NOT_FOUND, with the texts that probes look for."""
    assert failure(stubs.model.GetModelStatus, request_) == (code, message)


@pytest.mark.parametrize(
    ("spec", "versions"),
    [({}, [2, 1]), ({"version": 1}, [1]), ({"label": "stable"}, [2, 1]), ({"label": "nope"}, [2, 1])],
)
def test_status(stubs: Stubs, spec: dict[str, Any], versions: list[int]) -> None:
    """Versions are listed newest first; a label counts as no version."""
    response = stubs.model.GetModelStatus(status_request("half_plus_two", **spec), timeout=30)
    assert [status.version for status in response.model_version_status] == versions
    for status in response.model_version_status:
        assert status.state == AVAILABLE
        assert status.HasField("status")
        assert (status.status.error_code, status.status.error_message) == (0, "")


@pytest.mark.ours("unparsable protobuf is INTERNAL in TensorFlow Serving")
@pytest.mark.parametrize(
    "method",
    [
        "/tensorflow.serving.PredictionService/Predict",
        "/tensorflow.serving.PredictionService/GetModelMetadata",
        "/tensorflow.serving.ModelService/GetModelStatus",
    ],
)
@pytest.mark.parametrize(
    "data", [b"\xff", b"\x0a\x05ab", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"]
)
def test_malformed_protobuf(stubs: Stubs, method: str, data: bytes) -> None:
    """Bytes that are no message are the caller's mistake; the text says so and is short."""
    call = stubs.channel.unary_unary(method)
    code, message = failure(call, data)
    assert code == "INVALID_ARGUMENT"
    assert message.startswith("Could not parse ")
    assert len(message) < 300


@pytest.mark.ours("unparsable protobuf is INTERNAL in TensorFlow Serving")
def test_truncated_request(stubs: Stubs) -> None:
    """Every proper beginning of a Predict request is answered, with a result or an error of the caller."""
    whole = predict_request(
        "half_plus_two", {"x": {"dtype": 1, "shape": [3], "float_val": [1.0, 2.0, 5.0]}}
    ).SerializeToString()
    call = stubs.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    codes = set()
    for size in range(len(whole)):
        try:
            call(whole[:size], timeout=30)
            codes.add("OK")
        except grpc.RpcError as error:
            codes.add(error.code().name)
    assert codes <= {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}


@pytest.mark.parametrize(
    "method",
    [
        "/tensorflow.serving.PredictionService/Explain",
        "/tensorflow.serving.SessionService/SessionRun",
        "/a/b",
    ],
)
def test_unknown_methods(stubs: Stubs, method: str) -> None:
    """A method that is not served is UNIMPLEMENTED."""
    assert failure(stubs.channel.unary_unary(method), b"")[0] == "UNIMPLEMENTED"
