"""The fake over real sockets and with real clients: versions, labels, scripts, requests, and nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from callable_models import callable_models
from grpc_calls import Stubs, example, predict_request, regress_request
from pyserve.client import AsyncClient, Client, Retry
from pyserve.config import Limits
from pyserve.errors import (
    Code,
    DataLossError,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
    UnknownError,
)
from pyserve.testing import ModelServer, Recorded, serve
from servers import EXAMPLES, free_port


def half_plus_two(x: Any) -> Mapping[str, Any]:
    return {"y": x * 0.5 + 2.0}


def constant(value: float) -> Any:
    """A model that answers one number."""
    return lambda x: {"y": np.full_like(x, value)}


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serve({"m": half_plus_two}) as server:
        yield server


def ask(server: ModelServer, **where: Any) -> float:
    return float(server.client.predict("m", {"x": np.float32([2.0])}, **where)["y"][0])


def rest(server: ModelServer, path: str, body: str) -> tuple[int, Any]:
    request = urllib.request.Request(server.http_url + path, body.encode())
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


# --- models ------------------------------------------------------------------------------------------------------


def test_every_client(server: ModelServer) -> None:
    """The official stubs, plain HTTP and our client get the same answer."""
    assert ask(server) == 3.0
    assert rest(server, "/v1/models/m:predict", '{"instances": [2.0]}') == (200, {"predictions": [3.0]})
    with Stubs(server.grpc_address) as stubs:
        sent = predict_request("m", {"x": {"dtype": 1, "shape": [1], "float_val": [2.0]}})
        assert list(stubs.prediction.Predict(sent, timeout=30).outputs["y"].float_val) == [3.0]


def test_versions_come_and_go(server: ModelServer) -> None:
    """Versions and models appear and vanish while the server runs; the highest is the default."""
    server.add_version("m", 2, constant(20))
    assert (ask(server), ask(server, version=1)) == (20.0, 3.0)
    server.remove_version("m", 2)
    assert ask(server) == 3.0
    with pytest.raises(NotFoundError, match=r"Specific\(m, 2\)"):
        ask(server, version=2)
    server.add_version("m", 2, constant(200))  # a number can come back, with another model
    assert ask(server, version=2) == 200.0
    server.add_version("new", 7, constant(1))
    assert server.client.predict("new", {"x": [0.0]}).version == 7
    server.remove_version("m", 1)
    server.remove_version("m", 2)
    with pytest.raises(NotFoundError, match=r"Latest\(m\)"):
        ask(server)
    server.add_version("m", 1, constant(5))
    assert ask(server) == 5.0


def test_changes_are_over_when_they_return(server: ModelServer) -> None:
    """A version answers as soon as it was added, and no more as soon as it was removed."""
    for number in range(50):
        server.add_version("m", 2, constant(number))
        assert ask(server) == number
        server.remove_version("m", 2)
        assert ask(server) == 3.0


def test_labels(server: ModelServer) -> None:
    """Labels move and go by the rules of a reload."""
    server.add_version("m", 2, constant(20))
    server.set_label("m", "stable", 1)
    assert ask(server, label="stable") == 3.0
    server.set_label("m", "stable", 2)
    assert ask(server, label="stable") == 20.0
    with pytest.raises(
        FailedPreconditionError, match="version 9 of model m, which is not currently available"
    ):
        server.set_label("m", "stable", 9)
    assert ask(server, label="stable") == 20.0
    server.set_label("m", "stable", None)
    with pytest.raises(InvalidArgumentError, match="Unrecognized servable version label: stable"):
        ask(server, label="stable")
    with pytest.raises(KeyError, match="no model other"):
        server.set_label("other", "stable", 1)


def test_loads_that_fail(server: ModelServer) -> None:
    """A version that cannot be loaded is told to who adds it, and to clients; the others serve on."""
    with pytest.raises(DataLossError, match="damaged"):
        server.add_version("m", 2, DataLossError("damaged"))
    with pytest.raises(
        UnknownError, match=r"1 servable.s. did not become available|1 model.s. did not become"
    ):
        server.add_version("new", 1, DataLossError("damaged"))
    newest, _ = server.client.status("m")
    assert (newest.version, newest.state.name, newest.status.message) == (2, "END", "damaged")
    assert ask(server) == 3.0
    server.add_version("m", 2, constant(20))
    assert ask(server) == 20.0
    with pytest.raises(UnknownError, match="did not become available"):
        serve({"m": DataLossError("damaged")}).start()


def test_misuse(server: ModelServer) -> None:
    """What cannot be served is refused with the model's name; a server that does not run says so."""
    with pytest.raises(TypeError, match="model 'new': a model is a callable"):
        server.add_version("new", 1, 3)
    with pytest.raises(ValueError, match="version 1 already"):
        server.add_version("m", 1, half_plus_two)
    assert ask(server) == 3.0
    with pytest.raises(ValueError, match="labels for a model that is not there: n"):
        serve({"m": half_plus_two}, labels={"n": {"stable": 1}})
    with pytest.raises(RuntimeError, match="runs already"):
        server.start()
    idle = serve({"m": half_plus_two})
    for use in (
        lambda: idle.client,
        lambda: idle.grpc_address,
        lambda: idle.add_version("m", 2, constant(1)),
    ):
        with pytest.raises(FailedPreconditionError, match="use it as a context manager, or start it"):
            use()
    idle.stop()


def test_a_server_can_be_started_again() -> None:
    """After a stop everything is gone but its models; a second start serves them."""
    server = serve({"m": half_plus_two})
    for _ in range(2):
        with server:
            client = server.client
            assert ask(server) == 3.0
        with pytest.raises(FailedPreconditionError, match="closed"):
            client.status("m")
    with (
        pytest.raises(UnavailableError),
        Client(f"127.0.0.1:{free_port()}", retry=Retry(attempts=1)) as client,
    ):
        client.predict("m", {"x": np.zeros(1, np.float32)})


def test_recorded_answers() -> None:
    """A model of recorded answers refuses what it does not know."""
    with serve({"m": Recorded([({"x": [2.0]}, {"y": [7.0]})])}) as server:
        assert ask(server) == 7.0
        with pytest.raises(FailedPreconditionError, match="None of the 1 recorded requests has these inputs"):
            server.client.predict("m", {"x": [3.0]})


def test_saved_models() -> None:
    """A SavedModel is a model like a callable: versions, scripts and requests are the same."""
    with serve({"m": EXAMPLES / "half_plus_two" / "1", "mlp": str(EXAMPLES / "mlp")}) as server:
        assert ask(server) == 3.0
        server.model("m").fail("RESOURCE_EXHAUSTED", "full")
        with Stubs(server.grpc_address) as stubs:
            sent = regress_request("m", [example(x=2.0)], signature_name="regress_x_to_y")
            with pytest.raises(grpc.RpcError) as caught:
                stubs.prediction.Regress(sent, timeout=30)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            answer = stubs.prediction.Regress(sent, timeout=30)
            assert [each.value for each in answer.result.regressions] == [3.0]
        (found,) = server.model("m").calls[-1].examples
        assert found["x"].tolist() == [2.0]
        server.add_version("m", 2, constant(20))
        assert ask(server) == 20.0


# --- scripts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_failures_on_purpose(shared: ModelServer, code: grpc.StatusCode) -> None:
    """Every code reaches both protocols, as the real server sends it."""
    shared.reset()
    shared.model("m").fail(code, "on purpose", times=2)
    with Stubs(shared.grpc_address) as stubs:
        sent = predict_request("m", {"x": {"dtype": 1, "shape": [1], "float_val": [2.0]}})
        with pytest.raises(grpc.RpcError) as caught:
            stubs.prediction.Predict(sent, timeout=30)
    assert (caught.value.code(), caught.value.details()) == (code, "on purpose")
    status, body = rest(shared, "/v1/models/m:predict", '{"instances": [2.0]}')
    assert (status >= 400, body) == (True, {"error": "on purpose"})
    assert ask(shared) == 3.0


@pytest.fixture(scope="module")
def shared() -> Iterator[ModelServer]:
    with serve({"m": half_plus_two}) as server:
        yield server


def test_a_client_that_tries_again(server: ModelServer) -> None:
    """Failing the next runs shows whether a client recovers; refused requests use up nothing."""
    model = server.model("m")
    model.fail("UNAVAILABLE", times=2)
    with pytest.raises(InvalidArgumentError):
        server.client.predict("m", {"nonsense": np.zeros(1)})
    assert ask(server) == 3.0
    codes = [call.code for call in model.calls]
    assert codes == [Code.INVALID_ARGUMENT, Code.UNAVAILABLE, Code.UNAVAILABLE, Code.OK]


def test_a_slow_model(server: ModelServer) -> None:
    """A caller's deadline passes while the model is held, and other models go on."""
    server.add_version("other", 1, constant(1))
    with server.model("m").hold() as gate, ThreadPoolExecutor(1) as pool:
        with pytest.raises(DeadlineExceededError):
            ask(server, timeout_s=0.05)
        later = pool.submit(ask, server)
        gate.wait_until_held(2)
        assert server.client.predict("other", {"x": [0.0]})["y"].tolist() == [1.0]
        gate.open()
        assert later.result(30) == 3.0
    server.model("m").delay(0.2)
    with pytest.raises(DeadlineExceededError):
        ask(server, timeout_s=0.05)
    server.reset()
    assert ask(server, timeout_s=30) == 3.0


def test_a_version_leaves_while_it_is_used(server: ModelServer) -> None:
    """A request that is held finishes on the version that it began on, which is unloaded then."""
    with server.model("m").hold() as gate, ThreadPoolExecutor(1) as pool:
        held = pool.submit(ask, server)
        gate.wait_until_held()
        server.add_version("m", 2, constant(20))
        server.remove_version("m", 1)
        gate.open()
        assert held.result(30) == 3.0
    assert ask(server) == 20.0


def test_a_stop_lets_go_of_everyone() -> None:
    """A forgotten gate or a long delay does not hold up the end; who waits is answered."""
    with ThreadPoolExecutor(2) as pool, serve({"m": half_plus_two}) as server:
        gate = server.model("m").hold()
        server.model("m").delay(3600)
        with Client(server.grpc_address) as client:
            held = pool.submit(client.predict, "m", {"x": np.float32([2.0])})
            gate.wait_until_held()
            server.stop()
            assert held.result(30)["y"].tolist() == [3.0]


# --- requests ----------------------------------------------------------------------------------------------------


def test_what_was_asked(server: ModelServer) -> None:
    """Each request is there with what the caller named, over both protocols, refused ones included."""
    server.set_label("m", "stable", 1)
    client = server.client
    client.predict("m", {"x": np.float32([1, 2])}, label="stable", output_filter=["y"])
    rest(server, "/v1/models/m/versions/1:predict", '{"inputs": {"x": [[3.0]]}}')
    with pytest.raises(NotFoundError):
        client.predict("nope", {"x": np.float32([1])})
    client.status("m")
    model = server.model("m")
    model.assert_any_call({"x": [1, 2]}, label="stable", output_filter=("y",), protocol="gRPC")
    model.assert_called_with({"x": [[3]]}, version=1, protocol="REST", served_version=1)
    assert [request.method for request in model.requests] == ["Predict", "Predict", "GetModelStatus"]
    assert [request.model for request in server.requests()] == ["m", "m", "nope", "m"]
    assert "NOT_FOUND" in server.report()
    assert all(request.code is not None and request.duration_s for request in server.requests())
    server.reset()
    assert server.requests() == []
    assert server.report() == "no requests"


def test_the_body_of_rest_in_a_report(server: ModelServer) -> None:
    """A refused REST request is shown with its body."""
    assert rest(server, "/v1/models/m:predict", '{"instances": ["a"]}')[0] == 400
    assert """REST Predict m: '{"instances": ["a"]}' → INVALID_ARGUMENT""" in server.report()


def test_a_body_that_is_not_taken_in() -> None:
    """A REST request that is refused before it begins is there, too."""
    with serve({"m": half_plus_two}, limits=Limits(rest_api_max_body_bytes=100)) as server:
        assert rest(server, "/v1/models/m:predict", " " * 101)[0] == 413
        server.model("m").assert_called_once_with(code=Code.RESOURCE_EXHAUSTED)


def test_the_servers_own_count() -> None:
    """Writing requests down takes nothing from what the server itself counts."""
    path = "/monitoring/prometheus/metrics"
    with serve({"m": half_plus_two}, metrics_path=path) as counted:
        assert ask(counted) == 3.0
        assert rest(counted, "/v1/models/m:predict", "{")[0] == 400
        with urllib.request.urlopen(counted.http_url + path, timeout=30) as page:
            text = page.read().decode()
    for status in ("OK", "INVALID_ARGUMENT"):
        assert f':tensorflow:serving:request_count{{model_name="m",status="{status}"}} 1\n' in text


# --- where it runs -----------------------------------------------------------------------------------------------


def test_in_an_asyncio_test() -> None:
    """Inside a running loop, with an asyncio client in that loop, many calls at once."""

    async def main() -> None:
        with serve({"m": half_plus_two}) as server:
            async with AsyncClient(server.grpc_address) as client:
                answers = await asyncio.gather(
                    *(client.predict("m", {"x": np.float32([number])}) for number in range(100))
                )
        assert [float(answer["y"][0]) for answer in answers] == [n / 2 + 2 for n in range(100)]

    asyncio.run(main())


def test_on_any_thread() -> None:
    """Servers are started, changed and stopped on several threads at once."""

    def work(number: int) -> float:
        with serve({"m": constant(number)}) as server:
            server.add_version("m", 2, constant(number + 0.5))
            return ask(server)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(24))) == [number + 0.5 for number in range(24)]


def test_changes_from_many_threads(server: ModelServer) -> None:
    """Changes at the same time are made one after the other, and none is lost."""
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: server.add_version("m", n, constant(n)), range(2, 14)))
        list(pool.map(lambda n: server.set_label("m", f"l{n}", n), range(2, 14)))
    assert [ask(server, label=f"l{n}") for n in range(2, 14)] == [float(n) for n in range(2, 14)]


def test_beside_the_official_stubs() -> None:
    """It needs no TensorFlow; with tensorflow-serving-api, which imports it, both work in one process."""
    code = """
import sys
from pyserve.testing import serve
with serve({"m": lambda x: {"y": x * 2}}) as server:
    assert server.client.predict("m", {"x": [2.0]})["y"].tolist() == [4.0]
    assert "tensorflow" not in sys.modules
    from grpc_calls import Stubs, predict_request
    with Stubs(server.grpc_address) as stubs:
        sent = predict_request("m", {"x": {"dtype": 1, "shape": [1], "float_val": [2.0]}})
        print(list(stubs.prediction.Predict(sent, timeout=30).outputs["y"].float_val))
"""
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.stdout.strip() == "[4.0]", done.stderr


# --- nothing is left ---------------------------------------------------------------------------------------------


def footprint() -> dict[str, Any]:
    """What a process has that a server could leave behind."""
    return {
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "descriptors": sorted(str(fd.readlink()) for fd in _descriptors()),
        "files": sorted(path.name for path in Path(tempfile.gettempdir()).iterdir()),
        "environment": dict(os.environ),
        "directory": Path.cwd(),
    }


def _descriptors() -> list[Path]:
    return [fd for fd in list(Path("/proc/self/fd").iterdir()) if fd.is_symlink()]


def counted(found: dict[str, Any]) -> dict[str, Any]:
    """A footprint with the number of descriptors of each kind, for their inodes differ."""
    kinds = [name.split("[")[0] for name in found["descriptors"]]
    return {**found, "descriptors": {kind: kinds.count(kind) for kind in kinds}}


def use(server: ModelServer) -> None:
    """One of everything that may leave something: an answer, a refusal, a failure, another version, a label."""
    assert ask(server) == 3.0
    with pytest.raises(NotFoundError):
        server.client.predict("nope", {"x": np.float32([1])})
    server.model("m").fail("INTERNAL")
    assert rest(server, "/v1/models/m:predict", '{"instances": [2.0]}')[0] == 500
    server.add_version("m", 2, constant(20))
    server.set_label("m", "stable", 2)
    server.remove_version("m", 1)


def test_nothing_waits_for_the_collector() -> None:
    """Threads and ports are given back by the stop itself, whatever was asked before."""
    gc.collect()
    before = counted(footprint())
    gc.disable()
    try:
        for _ in range(3):
            with serve({"m": half_plus_two}) as server:
                use(server)
            assert footprint()["threads"] == before["threads"]
    finally:
        gc.enable()


@pytest.mark.slow
def test_a_thousand_starts_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 starts, each with a call: no thread, descriptor, port, file or variable more than after the first."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # other processes use the usual one
    models = callable_models()
    with serve(models) as server:
        server.client.predict("half_plus_two", {"x": [1.0]})
    gc.collect()
    before = counted(footprint())
    for number in range(1000):
        with serve({"m": half_plus_two}) as server:
            if number % 10 == 0:
                use(server)
            else:
                assert ask(server) == 3.0
    gc.collect()
    assert counted(footprint()) == before
