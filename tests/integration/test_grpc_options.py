"""gRPC's channel arguments, limits and the services that are not offered, on a whole server without TensorFlow."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from function_servers import FunctionBackend, add_version, function_server
from grpc_calls import Stubs, predict_request
from pyserve import Server
from pyserve.config import Limits
from pyserve.errors import InvalidArgumentError

Serving = Callable[..., AbstractContextManager[tuple[Server, Stubs]]]


@pytest.fixture(params=["grpcio", "native"])
def serving(request: pytest.FixtureRequest, tmp_path: Path) -> Serving:
    """Makes servers with the engine of the test, each with models of its own."""
    return lambda **config: _serving(Path(tempfile.mkdtemp(dir=tmp_path)), request.param, **config)


@contextmanager
def _serving(tmp_path: Path, engine: str, **config: Any) -> Iterator[tuple[Server, Stubs]]:
    models = {"m": add_version(tmp_path, "m", mark="slow" if "backend" in config else None)}
    with function_server(models, grpc_engine=engine, **config) as server:
        assert server.grpc_port is not None
        with Stubs(server.grpc_port) as stubs:
            yield server, stubs


def request(rows: int = 1) -> Any:
    return predict_request("m", {"x": {"dtype": 1, "shape": [rows], "float_val": [2.0] * rows}})


def test_a_channel_argument_reaches_grpc(serving: Serving) -> None:
    """With a receive limit a larger message is refused by gRPC, a smaller one is served."""
    with serving(grpc_channel_arguments={"grpc.max_receive_message_length": 2000}) as (_, stubs):
        assert stubs.prediction.Predict(request(), timeout=10).outputs["y"].float_val == [3.0]
        with pytest.raises(grpc.RpcError) as caught:
            stubs.prediction.Predict(request(1000), timeout=10)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_two_servers_on_a_port(serving: Serving) -> None:
    """A second server is refused, unless both share the port on purpose."""
    shared = {"grpc.so_reuseport": 1}
    with (
        serving() as (server, _),
        pytest.raises(InvalidArgumentError, match="cannot bind"),
        serving(port=server.grpc_port),
    ):
        pass
    with (
        serving(grpc_channel_arguments=shared) as (server, _),
        serving(port=server.grpc_port, grpc_channel_arguments=shared) as (_, stubs),
    ):
        assert stubs.prediction.Predict(request(), timeout=10).outputs["y"].float_val == [3.0]


def test_concurrent_streams(serving: Serving) -> None:
    """With one stream per connection the second call waits until the first is answered."""
    backend = FunctionBackend()
    arguments = {"grpc.max_concurrent_streams": 1}
    with serving(backend=backend, num_run_threads=4, grpc_channel_arguments=arguments) as (
        _,
        stubs,
    ):
        calls = [stubs.prediction.Predict.future(request(), timeout=30) for _ in range(2)]
        assert backend.entered.acquire(timeout=10)
        assert not backend.entered.acquire(timeout=0.5)
        backend.gate.set()
        assert [list(call.result().outputs["y"].float_val) for call in calls] == [[3.0], [3.0]]


def test_bytes_in_flight(serving: Serving) -> None:
    """A message without room is refused with RESOURCE_EXHAUSTED, and served when others are through."""
    backend = FunctionBackend()
    with serving(backend=backend, limits=Limits(max_inflight_bytes=6000)) as (_, stubs):
        first = stubs.prediction.Predict.future(request(1000), timeout=30)
        assert backend.entered.acquire(timeout=10)
        with pytest.raises(grpc.RpcError) as caught:
            stubs.prediction.Predict(request(1000), timeout=10)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "--max_inflight_bytes" in caught.value.details()
        backend.gate.set()
        assert len(first.result().outputs["y"].float_val) == 1000
        assert len(stubs.prediction.Predict(request(1000), timeout=10).outputs["y"].float_val) == 1000


def test_tensor_expansion(serving: Serving) -> None:
    """One value may stand for as many as the limit allows."""
    with serving(limits=Limits(max_tensor_expansion_bytes=4000)) as (_, stubs):

        def predict(rows: int) -> int:
            one = predict_request("m", {"x": {"dtype": 1, "shape": [rows], "float_val": [2.0]}})
            return len(stubs.prediction.Predict(one, timeout=10).outputs["y"].float_val)

        assert predict(1000) == 1000
        with pytest.raises(grpc.RpcError) as caught:
            predict(1001)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_connections_over_the_limit(serving: Serving) -> None:
    """One gRPC connection too many is not served."""
    with serving(limits=Limits(max_connections=1)) as (server, stubs):
        stubs.prediction.Predict(request(), timeout=10)
        assert server.grpc_port is not None
        alone = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"localhost:{server.grpc_port}", alone) as channel:
            call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
            with pytest.raises(grpc.RpcError) as caught:
                call(request().SerializeToString(), timeout=2)
            assert caught.value.code() in (
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.DEADLINE_EXCEEDED,
            )
        stubs.prediction.Predict(request(), timeout=10)


@pytest.mark.parametrize("method", ["Profile", "Monitor", "Terminate"])
def test_the_profiler_says_that_it_is_off(serving: Serving, method: str) -> None:
    """Its calls are UNIMPLEMENTED, with a text that says what to do."""
    with serving() as (_, stubs):
        call = stubs.channel.unary_unary(f"/tensorflow.ProfilerService/{method}")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "--enable_profiler=true and --profile_dir" in caught.value.details()


def test_streams_do_not_hold_up_a_stop(serving: Serving) -> None:
    """Open calls and idle channels aside, a stop with nothing in flight is quick."""
    with serving() as (server, stubs):
        stubs.prediction.Predict(request(), timeout=10)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        stopping.join(8)
        assert not stopping.is_alive()
