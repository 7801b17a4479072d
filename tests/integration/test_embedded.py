"""The server inside another program: nothing before `start`, everything back after `stop`."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import socket
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from embedded import FunctionBackend, config
from grpc_calls import Stubs, predict_request
from pyserve import Server
from pyserve.config import LoadOptions
from pyserve.errors import (
    CancelledError,
    DataLossError,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
)
from pyserve.servable import Servable

REQUEST = predict_request("m", {"x": {"dtype": 1, "shape": [1], "float_val": [2.0]}})


def footprint() -> tuple[list[str], int, set[str]]:
    """Threads, number of open descriptors, temporary files."""
    threads = sorted(thread.name for thread in threading.enumerate())
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    return threads, descriptors, {path.name for path in Path(tempfile.gettempdir()).iterdir()}


def call(server: Server) -> list[float]:
    assert server.grpc_port is not None
    with Stubs(server.grpc_port) as stubs:
        return list(stubs.prediction.Predict(REQUEST, timeout=10).outputs["y"].float_val)


def test_making_a_server_does_nothing(tmp_path: Path) -> None:
    """No thread, port, file or look at the disk before `start`."""
    before = footprint()
    server = Server(config(tmp_path), FunctionBackend())
    assert footprint() == before
    assert (server.grpc_port, server.rest_port, server.admin_port) == (None, None, None)
    server.stop()  # of one that never ran: nothing happens


def test_context_manager(tmp_path: Path) -> None:
    """Inside, both protocols answer on free ports; outside, the ports are closed."""
    with Server(config(tmp_path), FunctionBackend()) as server:
        server.wait_until_available("m", 10)
        assert call(server) == [3.0]
        url = f"http://127.0.0.1:{server.rest_port}/v1/models/m:predict"
        with urllib.request.urlopen(url, b'{"instances": [2.0]}', timeout=10) as answer:
            assert json.loads(answer.read()) == {"predictions": [3.0]}
        port = server.grpc_port
    assert server.grpc_port is None
    with socket.socket() as probe:
        assert port is not None
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_signals_are_left_alone(tmp_path: Path) -> None:
    """An embedded server takes no signal handler, also when it is started in the main thread."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with Server(config(tmp_path), FunctionBackend()):
        assert {number: signal.getsignal(number) for number in handlers} == handlers
    assert {number: signal.getsignal(number) for number in handlers} == handlers


def test_inside_a_running_event_loop(tmp_path: Path) -> None:
    """Its loop is its own: a test that runs on asyncio can use it."""

    async def main() -> list[float]:
        with Server(config(tmp_path), FunctionBackend()) as server:
            return await asyncio.to_thread(call, server)

    assert asyncio.run(main()) == [3.0]


def test_several_at_once(tmp_path: Path) -> None:
    """Servers side by side do not know of each other."""
    with (
        Server(config(tmp_path / "a"), FunctionBackend()) as a,
        Server(config(tmp_path / "b"), FunctionBackend()) as b,
    ):
        assert a.grpc_port != b.grpc_port
        assert call(a) == call(b) == [3.0]


def test_failed_starts(tmp_path: Path) -> None:
    """A start that fails raises its reason on the caller's thread, and leaves nothing behind."""
    before = footprint()[0]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = Server(config(tmp_path, port=taken.getsockname()[1]), FunctionBackend())
        with pytest.raises(InvalidArgumentError, match="Failed to BuildAndStart gRPC server"):
            server.start()
    missing = Server(config(tmp_path / "x"), FunctionBackend())
    (tmp_path / "x" / "1").rename(tmp_path / "x" / "not a version")
    with pytest.raises(DeadlineExceededError, match="did not start within"):
        missing.start(timeout_s=0.3)
    assert footprint()[0] == before


def test_misuse(tmp_path: Path) -> None:
    """Waiting on a server that does not run, and starting it twice, are errors that say so."""
    server = Server(config(tmp_path), FunctionBackend())
    with pytest.raises(FailedPreconditionError, match="not running"):
        server.wait_until_available("m", 1)
    with server:
        with pytest.raises(DeadlineExceededError, match="No version of model other"):
            server.wait_until_available("other", 0.05)
        with pytest.raises(RuntimeError, match="started once"):
            server.start()
    server.stop()


def test_stopping_a_server_that_was_never_started(tmp_path: Path) -> None:
    """It does nothing: the server can still be started."""
    server = Server(config(tmp_path), FunctionBackend())
    server.stop()
    with server:
        assert call(server) == [3.0]


def test_a_stop_while_it_starts(tmp_path: Path) -> None:
    """A start that is cut short says so, instead of returning without ports."""
    server = Server(config(tmp_path / "gone"), FunctionBackend())
    (tmp_path / "gone" / "1").rename(tmp_path / "gone" / "no version")
    timer = threading.Timer(0.2, server.stop)
    timer.start()
    with pytest.raises(CancelledError, match="stopped before it had started"):
        server.start()
    timer.join()


def test_waiting_ends_with_the_server_and_with_the_model(tmp_path: Path) -> None:
    """Nobody waits for ever for a model of a stopped server, or for one that has failed."""
    server = Server(config(tmp_path / "a"), FunctionBackend())
    with server:
        timer = threading.Timer(0.2, server.request_stop)
        timer.start()
        with pytest.raises(FailedPreconditionError, match="not running"):
            server.wait_until_available("other")
        timer.join()
    with pytest.raises(FailedPreconditionError, match="not running"):
        server.wait_until_available("m")

    class Broken(FunctionBackend):
        def load(self) -> Servable:
            raise DataLossError("the file is damaged")

    load = LoadOptions(max_num_load_retries=0, fail_on_initial_load_error=False)
    with (
        Server(config(tmp_path / "b", load=load), Broken()) as broken,
        pytest.raises(
            FailedPreconditionError, match="m cannot be loaded: version 1: DATA_LOSS: the file is damaged"
        ),
    ):
        broken.wait_until_available("m")


def test_readiness_without_any_model(tmp_path: Path) -> None:
    """A server whose only model has gone is not ready, and says why."""
    with Server(config(tmp_path), FunctionBackend()) as server:
        assert server.readiness().ready
        (tmp_path / "1").rename(tmp_path / "no version")
        deadline = time.monotonic() + 20
        while server.readiness().ready and time.monotonic() < deadline:
            time.sleep(0.01)
        readiness = server.readiness()
        assert (readiness.ready, readiness.reason) == (False, "no model is available")


def test_many_starts_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred starts and stops leave no Python thread, descriptor or temporary file (a thousand: the fake's)."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))  # other processes use the usual one
    settings = config(tmp_path / "models")
    with Server(settings, FunctionBackend()) as server:
        assert call(server) == [3.0]
    gc.collect()
    threads, descriptors, files = footprint()
    for _ in range(100):
        with Server(settings, FunctionBackend()):
            pass
    gc.collect()
    assert footprint()[0] == threads
    assert footprint()[1] <= descriptors
    assert footprint()[2] - files == set()


def test_a_server_without_models_is_ready(tmp_path: Path) -> None:
    """Nothing is asked of it, so nothing is missing."""
    with Server(config(tmp_path, models=()), FunctionBackend()) as server:
        assert server.readiness().ready
