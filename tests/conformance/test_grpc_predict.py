"""PredictionService/Predict with the official stubs: TensorFlow Serving's answers, codes and messages, as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from tensorflow_serving.apis import predict_pb2

from conformance_cases import rows
from grpc_calls import Stubs, predict_request, text_of

FLOAT, DOUBLE, INT32, STRING, INT64 = 1, 2, 3, 7, 9


@dataclass(frozen=True)
class Case:
    """One request, given as keyword arguments of `predict_request`, and what comes back.

    Attributes:
        code, message: Of an error; an exact text, or its beginning when it ends with `…`.
        outputs: Alias → flat values of the typed field.
        served: (name, version, signature_name) of the answer's model spec.
        differs: The listed difference that the row shows, if any.
        graph: Why only a SavedModel can show it, if so.
    """

    id: str
    request: dict[str, Any]
    code: str = "OK"
    message: str = ""
    outputs: dict[str, list[Any]] = field(default_factory=dict)
    served: tuple[str, int, str] | None = None
    differs: str = ""
    graph: str = ""


def x(*values: float, shape: list[int] | None = None, **tensor: Any) -> dict[str, Any]:
    """Inputs of half_plus_two."""
    return {
        "x": {
            "dtype": FLOAT,
            "shape": [len(values)] if shape is None else shape,
            "float_val": values,
            **tensor,
        }
    }


HPT: dict[str, Any] = {"name": "half_plus_two", "inputs": x(1.0, 2.0, 5.0)}
HPT_ANSWER = {"y": [2.5, 3.0, 4.5]}


def hpt(**changes: Any) -> dict[str, Any]:
    return {**HPT, **changes}


LONG = "n" * 3000

CASES = [
    # --- which model, version, label, signature
    Case("latest", HPT, outputs=HPT_ANSWER, served=("half_plus_two", 2, "serving_default")),
    Case("version", hpt(version=1), outputs=HPT_ANSWER, served=("half_plus_two", 1, "serving_default")),
    Case("label", hpt(label="stable"), outputs=HPT_ANSWER, served=("half_plus_two", 1, "serving_default")),
    Case(
        "signature named",
        hpt(signature_name="serving_default"),
        outputs=HPT_ANSWER,
        served=("half_plus_two", 2, "serving_default"),
    ),
    Case("no model spec", hpt(name=None), "INVALID_ARGUMENT", "Missing ModelSpec"),
    Case("empty name", hpt(name=""), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    Case("unknown model", hpt(name="nope"), "NOT_FOUND", "Servable not found for request: Latest(nope)"),
    Case(
        "unknown version",
        hpt(version=9),
        "NOT_FOUND",
        "Servable not found for request: Specific(half_plus_two, 9)",
    ),
    Case(
        "unknown version of unknown model",
        hpt(name="nope", version=1),
        "NOT_FOUND",
        "Servable not found for request: Specific(nope, 1)",
    ),
    Case(
        "version 0",
        hpt(version=0),
        "NOT_FOUND",
        "Servable not found for request: Specific(half_plus_two, 0)",
    ),
    Case(
        "negative version",
        hpt(version=-1),
        "NOT_FOUND",
        "Servable not found for request: Specific(half_plus_two, -1)",
    ),
    Case("empty label", hpt(label=""), "INVALID_ARGUMENT", "Unrecognized servable version label: "),
    Case(
        "label of unknown model",
        hpt(name="nope", label="stable"),
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: stable",
    ),
    Case(
        "unknown label",
        hpt(label="canary"),
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: canary",
    ),
    Case(
        "label without its version",
        hpt(label="gone"),
        "NOT_FOUND",
        "Servable not found for request: Specific(half_plus_two, 77)",
    ),
    Case(
        "unknown signature",
        hpt(signature_name="nope"),
        "FAILED_PRECONDITION",
        'Serving signature key "nope" not found.',
    ),
    Case(
        "long message is cut",
        hpt(name=LONG),
        "NOT_FOUND",
        ("Servable not found for request: Latest(" + LONG)[:1024] + "...TRUNCATED",
    ),
    # --- input names
    Case(
        "surplus input",
        hpt(inputs={**x(1.0), "z": {"dtype": FLOAT, "shape": [1], "float_val": [1.0]}}),
        "INVALID_ARGUMENT",
        "input size does not match signature: 2!=1 len({x,z}) != len({x}). "
        "Sent extra: {z}. Missing but required: {}.",
    ),
    Case(
        "no input",
        hpt(inputs={}),
        "INVALID_ARGUMENT",
        "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}.",
    ),
    Case(
        "wrong input",
        hpt(inputs={"z": {"dtype": FLOAT, "shape": [1], "float_val": [1.0]}}),
        "INVALID_ARGUMENT",
        "Signature input alias: x(feed name: serving_default_x:0) not found in request and no default value "
        "provided. Inputs expected to be in the request {z}, or default input alias set: ",
    ),
    # --- tensors
    Case(
        "tensor content",
        hpt(inputs=x(shape=[2], tensor_content=b"\0\0\x80?\0\0\0@")),
        outputs={"y": [2.5, 3.0]},
    ),
    Case("last value repeated", hpt(inputs=x(4.0, shape=[3])), outputs={"y": [4.0, 4.0, 4.0]}),
    Case("no value means zeros", hpt(inputs=x(shape=[2])), outputs={"y": [2.0, 2.0]}),
    Case("surplus values dropped", hpt(inputs=x(1.0, 2.0, 3.0, shape=[2])), outputs={"y": [2.5, 3.0]}),
    Case("no rows", hpt(inputs=x(shape=[0])), outputs={"y": []}),
    Case("scalar", hpt(inputs=x(2.0, shape=[])), outputs={"y": [3.0]}),
    Case("rank 3", hpt(inputs=x(1.0, 2.0, shape=[1, 2, 1])), outputs={"y": [2.5, 3.0]}),
    Case(
        "content of the wrong length",
        hpt(inputs=x(shape=[3], tensor_content=b"\0\0\x80?")),
        "INVALID_ARGUMENT",
        "tensor parsing error: x…",
    ),
    Case("negative dim", hpt(inputs=x(1.0, shape=[-1])), "INVALID_ARGUMENT", "tensor parsing error: x…"),
    Case(
        "unknown rank",
        hpt(inputs=x(1.0, shape=[], unknown_rank=True)),
        "INVALID_ARGUMENT",
        "tensor parsing error: x…",
    ),
    Case("invalid dtype", hpt(inputs=x(1.0, dtype=0)), "INVALID_ARGUMENT", "tensor parsing error: x…"),
    Case(
        "resource",
        hpt(inputs=x(1.0, dtype=20)),
        "INVALID_ARGUMENT",
        "tensor parsing error: x…",
        differs="TensorFlow decodes resource handles, and refuses them later",
    ),
    Case(
        "10^12 elements with four bytes of data",
        hpt(inputs=x(shape=[10**6, 10**6], tensor_content=b"\0\0\0\0")),
        "INVALID_ARGUMENT",
        "tensor parsing error: x…",
    ),
    Case(
        "10^12 elements with one value",
        hpt(inputs=x(1.0, shape=[10**6, 10**6])),
        "INVALID_ARGUMENT",
        "tensor parsing error: x…",
        differs="one value is expanded to any size in TensorFlow Serving",
    ),
    Case(
        "element count beyond int64",
        hpt(inputs=x(1.0, shape=[2**62, 2**62])),
        "INVALID_ARGUMENT",
        "tensor parsing error: x…",
    ),
    Case(
        "wrong dtype",
        hpt(inputs={"x": {"dtype": INT64, "shape": [1], "int64_val": [1]}}),
        "INVALID_ARGUMENT",
        "Expects arg[0] to be float but int64 is provided",
    ),
    # --- output filter
    Case("output filter", hpt(output_filter=["y"]), outputs=HPT_ANSWER),
    Case(
        "unknown output",
        hpt(output_filter=["q"]),
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: q Outputs expected to be in the set {y}.",
    ),
    Case(
        "output twice", hpt(output_filter=["y", "y"]), "INVALID_ARGUMENT", "duplicate output tensor alias: y"
    ),
    # --- the graph's own errors
    Case(
        "shape that the graph refuses",
        {
            "name": "mlp",
            "inputs": {"images": {"dtype": FLOAT, "shape": [1, 3], "float_val": [1.0, 2.0, 3.0]}},
        },
        "INVALID_ARGUMENT",
        "Matrix size-incompatible: In[0]: [1,3], In[1]: [784,32]\n\t [[{{node …",
        graph="the graph's own error",
    ),
    # --- what is checked first
    Case(
        "model before signature",
        hpt(name="nope", signature_name="nope"),
        "NOT_FOUND",
        "Servable not found for request: Latest(nope)",
    ),
    Case(
        "signature before inputs",
        hpt(signature_name="nope", inputs={}),
        "FAILED_PRECONDITION",
        'Serving signature key "nope" not found.',
    ),
    Case(
        "inputs before outputs",
        hpt(inputs={}, output_filter=["q"]),
        "INVALID_ARGUMENT",
        "input size does not match signature: 0!=1 …",
    ),
    Case(
        "tensors before outputs",
        hpt(inputs=x(shape=[3], tensor_content=b"\0\0\x80?"), output_filter=["q"]),
        "INVALID_ARGUMENT",
        "tensor parsing error: x…",
    ),
    Case(
        "outputs before dtypes",
        hpt(inputs={"x": {"dtype": INT64, "shape": [1], "int64_val": [1]}}, output_filter=["q"]),
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: q …",
    ),
]


@pytest.fixture(scope="module")
def stubs(grpc_address: str) -> Iterator[Stubs]:
    with Stubs(grpc_address) as stubs:
        yield stubs


@pytest.mark.parametrize("case", rows(CASES))
def test_predict(case: Case, stubs: Stubs) -> None:
    """Each row is answered as TensorFlow Serving answers it."""
    request = predict_request(**case.request)
    if case.code != "OK":
        with pytest.raises(grpc.RpcError) as caught:
            stubs.prediction.Predict(request, timeout=30)
        assert caught.value.code().name == case.code
        assert text_of(caught.value, case.message) == case.message
        return
    response = stubs.prediction.Predict(request, timeout=30)
    assert {alias: list(tensor.float_val) for alias, tensor in response.outputs.items()} == case.outputs
    for tensor in response.outputs.values():
        assert tensor.tensor_content == b""
        assert tensor.HasField("tensor_shape")
    if case.served is not None:
        spec = response.model_spec
        assert (spec.name, spec.version.value, spec.signature_name) == case.served
        assert spec.WhichOneof("version_choice") == "version"


def test_fields_without_effect(stubs: Stubs) -> None:
    """Options for streams, the client's id and request options change nothing."""
    request = predict_request(**HPT)
    request.predict_streamed_options.request_state = 3
    request.client_id = b"me"
    request.request_options.max_cache_length = 1
    response = stubs.prediction.Predict(request, timeout=30)
    assert list(response.outputs["y"].float_val) == HPT_ANSWER["y"]


def test_of_version_and_label_the_last_counts(stubs: Stubs) -> None:
    """They share a oneof, so on the wire both can stand, and the later one wins."""
    tail = predict_request("half_plus_two", {}, label="stable")
    both = predict_request(**hpt(version=2)).SerializeToString() + tail.SerializeToString()
    call = stubs.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    response = predict_pb2.PredictResponse.FromString(call(both, timeout=30))
    assert response.model_spec.version.value == 1
