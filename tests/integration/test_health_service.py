"""grpc.health.v1 with its official stubs: the server, its models, loading, draining."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from pyserve.testing import ModelServer, serve

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
SERVER = (
    "",
    "ModelService",
    "PredictionService",
    "tensorflow.serving.ModelService",
    "tensorflow.serving.PredictionService",
)


def model(x: Any) -> Any:
    return {"y": x}


@pytest.fixture(params=["grpcio", "native"])
def server(request: pytest.FixtureRequest) -> Iterator[ModelServer]:
    """A server with a model, and one that has no version."""
    models = {"half_plus_two": model, "later": model}
    with serve(models, enable_grpc_healthcheck_service=True, grpc_engine=request.param) as server:
        server.remove_version("later", 1)
        yield server


@pytest.fixture
def stub(server: ModelServer) -> Iterator[Any]:
    with grpc.insecure_channel(server.grpc_address) as channel:
        yield health_pb2_grpc.HealthStub(channel)


def check(stub: Any, service: str) -> int:
    status: int = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status
    return status


def test_check(stub: Any) -> None:
    """The server and a model that is there are SERVING, one that is not there yet is not, others are unknown."""
    assert {check(stub, name) for name in (*SERVER, "half_plus_two")} == {SERVING}
    assert check(stub, "later") == NOT_SERVING
    with pytest.raises(grpc.RpcError) as caught:
        check(stub, "nope")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_list(stub: Any) -> None:
    """Every name with its state."""
    found = stub.List(health_pb2.HealthListRequest(), timeout=10).statuses
    assert {name: found[name].status for name in found} == dict.fromkeys(SERVER, SERVING) | {
        "half_plus_two": SERVING,
        "later": NOT_SERVING,
    }


def test_watch_follows_a_model(stub: Any, server: ModelServer) -> None:
    """A watch hears of a model that comes; one of a name that nobody knows says so and goes on."""
    later = stub.Watch(health_pb2.HealthCheckRequest(service="later"), timeout=30)
    nobody = stub.Watch(health_pb2.HealthCheckRequest(service="nope"), timeout=30)
    assert next(later).status == NOT_SERVING
    assert next(nobody).status == SERVICE_UNKNOWN
    server.add_version("later", 1, model)
    assert next(later).status == SERVING
    later.cancel()
    nobody.cancel()
    # A cancelled watch leaves the server as it was.
    assert check(stub, "later") == SERVING


def test_draining(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is about to stop says NOT_SERVING while it still answers, and ends watches when it closes."""
    # Nothing but the server itself ends the watches within the time of this test.
    monkeypatch.setattr("pyserve.transport.grpc_server._FAREWELL_S", 30.0)
    settings = {"enable_grpc_healthcheck_service": True, "drain_delay_s": 0.5, "drain_timeout_s": 25.0}
    with (
        serve({"m": model}, **settings) as server,
        grpc.insecure_channel(server.grpc_address) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        watches = {
            name: stub.Watch(health_pb2.HealthCheckRequest(service=name), timeout=30) for name in ("", "m")
        }
        assert {next(watch).status for watch in watches.values()} == {SERVING}
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert {next(watch).status for watch in watches.values()} == {NOT_SERVING}
        assert check(stub, "") == NOT_SERVING
        for watch in watches.values():
            with pytest.raises(grpc.RpcError) as caught:
                next(watch)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert caught.value.details() == "The server is shutting down"
        stopping.join(10)
        assert not stopping.is_alive()


def test_the_service_is_off_by_default() -> None:
    """Without the flag there is no health service."""
    with (
        serve({"m": model}) as server,
        grpc.insecure_channel(server.grpc_address) as channel,
    ):
        with pytest.raises(grpc.RpcError) as caught:
            check(health_pb2_grpc.HealthStub(channel), "")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
