"""The profiler service as a user meets it: TensorFlow's own client against a server whose model is called."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from grpc_calls import Stubs, predict_request
from pyserve.protos.tf import (
    MonitorRequest,
    ProfileRequest,
    ProfileResponse,
    TerminateRequest,
    TerminateResponse,
)
from servers import EXAMPLES, ServerProcess

MODEL = ["--model_name=half_plus_two", f"--model_base_path={EXAMPLES / 'half_plus_two'}"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("profiles")


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[ServerProcess]:
    flags = [*MODEL, "--enable_profiler=true", f"--profile_dir={directory}", "--drain_timeout_s=20"]
    with ServerProcess(flags) as server:
        assert "Profiler service is enabled" in server.log
        yield server


class Callers:
    """Two clients that call the model without a pause."""

    def __init__(self, server: ServerProcess) -> None:
        self.calls = 0
        self.failures: list[str] = []
        self._stubs = Stubs(server.grpc_port)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(2)]

    def _run(self) -> None:
        request = predict_request("half_plus_two", {"x": {"dtype": 1, "shape": [1], "float_val": [1.0]}})
        while not self._over.is_set():
            try:
                self._stubs.prediction.Predict(request, timeout=30)
            except grpc.RpcError as error:
                self.failures.append(str(error))
            self.calls += 1

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)
        self._stubs.channel.close()


@contextmanager
def profiler(server: ServerProcess) -> Iterator[Profiler]:
    with grpc.insecure_channel(f"localhost:{server.grpc_port}") as channel:
        yield Profiler(channel)


class Profiler:
    """The service's methods by their own messages."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def profile(self, duration_ms: int = 200, **fields: Any) -> grpc.Future:
        made = ProfileRequest(duration_ms=duration_ms, **fields)
        call = self._channel.unary_unary("/tensorflow.ProfilerService/Profile")
        return call.future(made.SerializeToString(), timeout=60)

    def terminate(self, session_id: str) -> None:
        call = self._channel.unary_unary("/tensorflow.ProfilerService/Terminate")
        TerminateResponse.FromString(
            call(TerminateRequest(session_id=session_id).SerializeToString(), timeout=30)
        )

    def monitor(self) -> bytes:
        call = self._channel.unary_unary("/tensorflow.ProfilerService/Monitor")
        answer: bytes = call(MonitorRequest(duration_ms=100).SerializeToString(), timeout=30)
        return answer


def refused(call: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call.result() if isinstance(call, grpc.Future) else call()
    return caught.value.code().name, caught.value.details()


def events(file: Path) -> set[str]:
    """The names of what happened."""
    space = xplane_pb2.XSpace.FromString(file.read_bytes())
    return {
        plane.event_metadata[event.metadata_id].name
        for plane in space.planes
        for line in plane.lines
        for event in line.events
    }


def recorded(directory: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("absolute", [True, False])
def test_tensorflows_client(server: ServerProcess, directory: Path, absolute: bool) -> None:
    """A trace has what the model did meanwhile, in TensorBoard's place, and the model's callers are served."""
    before = recorded(directory)
    logs = directory / "logs" if absolute else Path()
    with Callers(server) as callers:
        until(lambda: callers.calls > 10)
        calls = callers.calls
        log_directory = str(logs) if absolute else ""
        tf.profiler.experimental.client.trace(f"grpc://localhost:{server.grpc_port}", log_directory, 500)
        assert callers.calls > calls + 20
    assert callers.failures == []
    (file,) = recorded(directory) - before
    run = directory / logs / "plugins" / "profile"
    assert file.parent.parent == run
    assert file.name == f"localhost_{server.grpc_port}.xplane.pb"
    names = events(file)
    assert "SessionRun" in names
    assert any(name.endswith("/mul:Mul") for name in names)


def test_one_at_a_time_and_ended_early(server: ServerProcess, directory: Path) -> None:
    """A second profile is refused while one is recorded; Terminate ends that one, and what there is is kept."""
    with profiler(server) as service, Callers(server):
        first = service.profile(duration_ms=50_000, session_id="first", host_name="here:1")
        until(lambda: bool(list(directory.rglob(".recording-*"))))
        second = ("ALREADY_EXISTS", "Another profiling session active.")
        assert refused(service.profile(session_id="second")) == second
        service.terminate("second")  # not running: without effect
        assert not first.done()
        service.terminate("first")
        assert ProfileResponse.FromString(first.result()) == ProfileResponse()
        file = directory / "plugins" / "profile" / "first" / "here_1.xplane.pb"
        assert events(file)
        assert not list(directory.rglob(".recording-*"))


def test_a_caller_who_goes_away(server: ServerProcess, directory: Path) -> None:
    """Nothing is kept of a profile whose caller has gone, and the next one is recorded at once."""
    before = recorded(directory)
    with profiler(server) as service:
        gone = service.profile(duration_ms=50_000, session_id="gone")
        until(lambda: bool(list(directory.rglob(".recording-*"))))
        gone.cancel()
        until(lambda: not list(directory.rglob(".recording-*")))
        assert recorded(directory) == before
        until(lambda: service.profile(session_id="next").exception() is None)
    assert {file.parent.name for file in recorded(directory) - before} == {"next"}


def test_an_idle_server(server: ServerProcess) -> None:
    """A profile in which nothing happened says so."""
    with profiler(server) as service:
        assert ProfileResponse.FromString(service.profile(duration_ms=50).result()).empty_trace


def test_what_is_refused(server: ServerProcess, directory: Path, tmp_path: Path) -> None:
    """No file outside of the directory, no profile without an end; monitoring is for TPUs."""
    (directory / "link").symlink_to(tmp_path)
    with profiler(server) as service:
        for root in (str(tmp_path), "..", "link", "/"):
            code, text = refused(service.profile(repository_root=root))
            assert (code, text[:66]) == (
                "INVALID_ARGUMENT",
                f"repository_root must be in --profile_dir, which is {directory}"[:66],
            )
        assert refused(service.profile(session_id="../x"))[0] == "INVALID_ARGUMENT"
        assert refused(service.profile(duration_ms=0)) == (
            "INVALID_ARGUMENT",
            "duration_ms must be between 1 and 60000; was 0",
        )
        code, text = refused(service.monitor)
        assert (code, text[:20]) == ("UNIMPLEMENTED", "Monitor is for TPUs,")
    assert list(tmp_path.iterdir()) == []


def test_a_stop_ends_a_profile(server: ServerProcess, directory: Path) -> None:
    """A server that stops does not wait for the end of a profile: it is ended, kept and answered."""
    with profiler(server) as service, Callers(server) as callers:
        long = service.profile(duration_ms=50_000, session_id="last")
        until(lambda: bool(list(directory.rglob(".recording-*"))))
        calls = callers.calls
        until(lambda: callers.calls > calls)
        assert server.stop() == 0
        assert ProfileResponse.FromString(long.result()) == ProfileResponse()
    (file,) = (directory / "plugins" / "profile" / "last").iterdir()
    assert file.name == f"{socket.gethostname().replace(':', '_')}.xplane.pb"
    assert events(file)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
