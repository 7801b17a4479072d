"""docs/compatibility.md against a running server: its gRPC methods, what REST forms answer, what is counted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

import embedded
from compatibility_page import rows, states
from function_servers import Wire
from grpc_calls import (
    Stubs,
    classify_request,
    example,
    multi_inference_request,
    predict_request,
    regress_request,
)
from pyserve import Server, protos
from pyserve.backends.function import FunctionServable, predict_signature
from pyserve.codec.tf_record import encode_record
from pyserve.config import ModelConfig
from pyserve.dtypes import FLOAT, STRING, Array
from pyserve.protos import tfs
from pyserve.servable import CLASSIFY_METHOD, REGRESS_METHOD, Servable, Signature, TensorSpec
from pyserve.server import front_end
from pyserve.transport.grpc_server import GrpcServer
from pyserve.transport.http import METHODS

SERVICES = (
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
    "tensorflow.serving.SessionService",
    "tensorflow.ProfilerService",
    "grpc.health.v1.Health",
)
OPTIONAL = {
    "with `--enable_session_run`": "enable_session_run",
    "with `--enable_grpc_healthcheck_service`": "enable_grpc_healthcheck_service",
}
"""State on the page → what switches the method on."""
METRICS_PATH = "/monitoring/prometheus/metrics"
BODIES = {
    "predict": {"signature_name": "p", "instances": [1.0]},
    "classify": {"signature_name": "c", "examples": [{"x": 1.0}]},
    "regress": {"signature_name": "r", "examples": [{"x": 1.0}]},
}


def classify(inputs: Array) -> Mapping[str, Array]:
    return {"scores": np.ones((len(inputs), 1), np.float32)}


def regress(inputs: Array) -> Mapping[str, Array]:
    return {"outputs": np.ones(len(inputs), np.float32)}


class Backend(embedded.FunctionBackend):
    """Every version answers Predict, Classify and Regress."""

    def make_loader(self, id: object, path: str) -> Backend:
        return self

    def load(self) -> Servable:
        text = {"inputs": TensorSpec("inputs", STRING, (None,))}
        x, y = (TensorSpec(alias, FLOAT, (None,)) for alias in "xy")
        scores, outputs = TensorSpec("scores", FLOAT, (None, 1)), TensorSpec("outputs", FLOAT, (None,))
        return FunctionServable(
            [
                (predict_signature([x], [y], "p"), embedded.half_plus_two),
                (Signature("c", CLASSIFY_METHOD, text, {"scores": scores}), classify),
                (Signature("r", REGRESS_METHOD, text, {"outputs": outputs}), regress),
            ]
        )


def warmup_file(base: Path) -> None:
    """Leave a request in the version, so that a replay is counted."""
    log = tfs.PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = "p"
    tensor = request.inputs["x"]
    tensor.dtype = 1
    tensor.tensor_shape.dim.add().size = 1
    tensor.float_val.append(1.0)
    path = base / "1" / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir(parents=True)
    path.write_bytes(encode_record(log.SerializeToString()))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server with everything on, over one model `m` whose version 1 has the label `stable`."""
    warmup_file(tmp_path / "m")
    config = embedded.config(
        tmp_path / "m",
        models=(ModelConfig("m", str(tmp_path / "m"), version_labels={"stable": 1}),),
        metrics_path=METRICS_PATH,
        enable_session_run=True,
        enable_grpc_healthcheck_service=True,
    )
    with Server(config, Backend()) as running:
        yield running


def ask(server: Server, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
    """Status and body; OPTIONS has an Origin."""
    head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\nContent-Length: {len(body)}\r\n\r\n"
    with Wire(server.rest_port) as wire:
        wire.send(head.encode() + body)
        status, _, content = wire.answer(head_only=method == "HEAD")
    return int(status.split()[1]), content


def test_every_method_of_the_services_is_on_the_page() -> None:
    """The page names exactly the methods that the services have."""
    assert states("rpcs").keys() == {
        method.path.removeprefix("/") for service in SERVICES for method in protos.methods(service)
    }


@pytest.mark.parametrize(
    "on", [[], ["enable_session_run"], ["enable_grpc_healthcheck_service"], [*OPTIONAL.values()]]
)
def test_what_a_server_registers(on: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With each option a server has the methods that the page promises, and answers exactly those."""
    registered: list[str] = []

    class Recording(GrpcServer):
        def __init__(
            self, handlers: Mapping[str, Any], *args: Any, streams: Mapping[str, Any], **more: Any
        ) -> None:
            registered.extend([*handlers, *streams])
            super().__init__(handlers, *args, streams=streams, **more)

    monkeypatch.setattr(front_end, "GrpcServer", Recording)
    promised = {
        path for path, state in states("rpcs").items() if state == "served" or OPTIONAL.get(state) in on
    }
    refused = {path for path, state in states("rpcs").items() if state == "not offered"}
    with Server(embedded.config(tmp_path, **dict.fromkeys(on, True)), Backend()) as running:
        assert sorted(registered) == sorted("/" + path for path in promised | refused)
        with grpc.insecure_channel(f"localhost:{running.grpc_port}") as channel:
            answered = {path for path in states("rpcs") if code_of(channel, path) != "UNIMPLEMENTED"}
    assert answered == promised


def code_of(channel: grpc.Channel, path: str) -> str:
    """What an empty request is answered with; for a stream, its first message counts."""
    if path.endswith("/Watch"):
        stream = channel.unary_stream("/" + path)(b"", timeout=10)
        try:
            next(stream)
        except grpc.RpcError as error:
            return str(error.code().name)
        stream.cancel()
        return "OK"
    try:
        channel.unary_unary("/" + path)(b"", timeout=10)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def columns() -> list[list[str]]:
    """The methods of each column of the table of REST forms."""
    return [["GET"], ["POST"], ["OPTIONS"], ["HEAD"], ["PUT", "DELETE", "PATCH"]]


def test_the_page_has_every_http_method() -> None:
    """No method that the server lets in is without a column."""
    assert {method for column in columns() for method in column} == METHODS


def test_every_form_answers_as_the_page_says(server: Server) -> None:
    """Each form with each method has the status of its row."""
    wrong = []
    for form, *expected in rows("rest"):
        target = form.replace("NAME", "m").replace("VERSION", "1").replace("LABEL", "stable")
        body = json.dumps(BODIES.get(form.rpartition(":")[2], {})).encode()
        for column, status in zip(columns(), expected, strict=True):
            for method in column:
                found, _ = ask(server, method, target, body if method == "POST" else b"")
                if found != int(status):
                    wrong.append(f"{method} {form}: {found}, the page says {status}")
    assert wrong == []


def test_every_rest_action_is_on_the_page() -> None:
    """Each action of the URL grammar has a row for each way to name a version."""
    forms = {row[0] for row in rows("rest")}
    for version in ("", "/versions/VERSION", "/labels/LABEL"):
        for action in (":predict", ":classify", ":regress", "", "/metadata"):
            assert f"/v1/models/NAME{version}{action}" in forms


def test_the_metrics_page_is_as_documented(server: Server) -> None:
    """A page has each metric of the table by its type, and values of exactly those that are recorded."""
    one = example(x=1.0)
    assert server.grpc_port is not None
    with Stubs(server.grpc_port) as stubs:
        inputs = {"x": {"dtype": 1, "shape": [1], "float_val": [1.0]}}
        stubs.prediction.Predict(predict_request("m", inputs, signature_name="p"))
        stubs.prediction.Classify(classify_request("m", [one], signature_name="c"))
        stubs.prediction.Regress(regress_request("m", [one], signature_name="r"))
        tasks = [("m", "c", CLASSIFY_METHOD), ("m", "r", REGRESS_METHOD)]
        stubs.prediction.MultiInference(multi_inference_request(tasks, [one]))
    _, page = ask(server, "GET", METRICS_PATH)
    lines = page.decode().splitlines()
    types = [line.split()[2:] for line in lines if line.startswith("# TYPE")]
    assert types == [row[:2] for row in rows("metrics")]
    names = {line.partition("{")[0] for line in lines if not line.startswith("#")}
    for name, _, _, state in rows("metrics"):
        found = name in names or f"{name}_count" in names
        assert found is (state == "recorded"), name
