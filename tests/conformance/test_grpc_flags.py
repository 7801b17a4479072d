"""What the flags for method names and for `tensor_content` change in gRPC answers, with the official stubs."""

from __future__ import annotations

import json
import tempfile
import urllib.request
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import tensorflow as tf

from grpc_calls import (
    Stubs,
    classify_request,
    example,
    multi_inference_request,
    predict_request,
    regress_request,
)
from servers import EXAMPLES, ServerProcess, config_text

pytestmark = pytest.mark.ours("starts a server of its own, with flags")

CLASSIFY, REGRESS, PREDICT = (f"tensorflow/serving/{kind}" for kind in ("classify", "regress", "predict"))
HPT = "half_plus_two"
FLAGS = ["--enable_signature_method_name_check", "--enable_serialization_as_tensor_content"]
X = {"x": {"dtype": 1, "shape": [2], "float_val": [1.0, 5.0]}}


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with tempfile.NamedTemporaryFile("w", suffix=".config") as config:
        config.write(config_text({name: EXAMPLES / name for name in (HPT, "vocabulary")}))
        config.flush()
        with ServerProcess([f"--model_config_file={config.name}", *FLAGS]) as server:
            yield server


@pytest.fixture(scope="module")
def stubs(server: ServerProcess) -> Iterator[Stubs]:
    with Stubs(server.grpc_port) as stubs:
        yield stubs


def tasks(*named: tuple[str, str]) -> Any:
    return multi_inference_request([(HPT, key, method) for key, method in named], [example(x=1.0)])


def test_methods_that_fit(stubs: Stubs) -> None:
    """With the check on, each method is answered by the signature that was made for it; Predict by any of them."""
    one = [example(x=1.0)]
    calls = stubs.prediction
    classified = calls.Classify(classify_request(HPT, one, signature_name="classify_x_to_y"), timeout=30)
    assert [c.score for c in classified.result.classifications[0].classes] == [2.5]
    regressed = calls.Regress(regress_request(HPT, one, signature_name="regress_x_to_y"), timeout=30)
    assert [entry.value for entry in regressed.result.regressions] == [2.5]
    both = calls.MultiInference(tasks(("classify_x_to_y", CLASSIFY), ("regress_x_to_y", REGRESS)), timeout=30)
    assert len(both.results) == 2
    inputs = {"inputs": {"dtype": 7, "shape": [1], "string_val": [one[0].SerializeToString()]}}
    predicted = calls.Predict(predict_request(HPT, inputs, signature_name="regress_x_to_y"), timeout=30)
    assert tf.make_ndarray(predicted.outputs["outputs"]).tolist() == [[2.5]]


@pytest.mark.parametrize(
    ("method", "request_", "code", "message"),
    [
        (
            "Classify",
            classify_request(HPT, [example(x=1.0)], signature_name="regress_x_to_y"),
            "INVALID_ARGUMENT",
            f"Expected classification signature method_name to be {CLASSIFY}. Was: {REGRESS}",
        ),
        (
            "Regress",
            regress_request(HPT, [example(x=1.0)]),
            "INVALID_ARGUMENT",
            f"Expected regression signature method_name to be {REGRESS}. Was: {PREDICT}",
        ),
        (
            "MultiInference",
            tasks(("regress_x_to_y", REGRESS), ("classify_x_to_y", REGRESS)),
            "INVALID_ARGUMENT",
            f"Expected regression signature method_name to be {REGRESS}. Was: {CLASSIFY}",
        ),
        (
            "Predict",
            predict_request(HPT, X, signature_name="__saved_model_init_op"),
            "INTERNAL",
            f"Expected prediction signature method_name to be one of {{{PREDICT}, {CLASSIFY}, {REGRESS}}}. Was: ",
        ),
        (
            "Predict",
            predict_request(HPT, X, signature_name="nope"),
            "FAILED_PRECONDITION",
            'Serving signature key "nope" not found.',
        ),
    ],
)
def test_methods_that_do_not_fit(stubs: Stubs, method: str, request_: Any, code: str, message: str) -> None:
    """With the check on, a signature serves only what it was made for; the check comes before that of inputs."""
    with pytest.raises(grpc.RpcError) as caught:
        getattr(stubs.prediction, method)(request_, timeout=30)
    assert (caught.value.code().name, caught.value.details()) == (code, message)


@pytest.mark.parametrize(
    ("name", "inputs", "signature_name", "alias", "expected"),
    [
        (HPT, X, "", "y", [2.5, 4.5]),
        (HPT, {"x": {"dtype": 1, "shape": [0]}}, "", "y", []),
        (HPT, {"x": {"dtype": 1, "shape": [], "float_val": [2.0]}}, "", "y", 3.0),
        (
            "vocabulary",
            {"ids": {"dtype": 9, "shape": [2], "int64_val": [0, 9]}},
            "decode",
            "words",
            [b"the", b"?"],
        ),
    ],
)
def test_answers_as_tensor_content(
    stubs: Stubs, name: str, inputs: Any, signature_name: str, alias: str, expected: Any
) -> None:
    """Every type, strings too, comes in `tensor_content`, with nothing in the typed fields."""
    request = predict_request(name, inputs, signature_name=signature_name)
    tensor = stubs.prediction.Predict(request, timeout=30).outputs[alias]
    set_fields = {field.name for field, _ in tensor.ListFields()}
    assert set_fields <= {"dtype", "tensor_shape", "tensor_content"}
    assert tensor.HasField("tensor_shape")
    # TensorFlow's own decoder, as a C++ client has it; numpy-based ones do not take strings so.
    assert tf.io.parse_tensor(tensor.SerializeToString(), tensor.dtype).numpy().tolist() == expected


def test_rest_is_as_ever(server: ServerProcess) -> None:
    """JSON has the values whatever form gRPC gives them."""
    url = f"http://localhost:{server.rest_port}/v1/models/vocabulary:predict"
    body = {"signature_name": "decode", "instances": [0, 9]}
    with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=30) as answer:
        assert json.load(answer) == {"predictions": ["the", "?"]}
