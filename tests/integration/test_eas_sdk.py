"""EAS's own client, as PyPI has it, against a server of ours: it must notice nothing."""

from __future__ import annotations

import functools
import gzip
import json
import re
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eas_sdk import Sdk, SdkMissingError
from function_servers import Wire, add_version, function_server
from pyserve import Server, dtypes
from pyserve.backends.function import FunctionServable, predict_signature
from pyserve.codec.eas import decode_request
from pyserve.config import EasOptions, EasService, LoadOptions, ModelConfig
from pyserve.dtypes import Array
from pyserve.errors import InternalError, NotFoundError
from pyserve.servable import Servable, ServableId, TensorSpec

TOKEN = "c2VjcmV0LXRva2Vu"
METRICS = "/monitoring/prometheus/metrics"
DTYPES: dict[str, list[Any]] = {
    "float": [1.5, -2.0], "double": [0.1, -2.0], "int32": [-(2**31), 5], "uint8": [0, 255], "int16": [-5, 7],
    "int8": [-128, 127], "string": ["a", "bc"], "int64": [-(2**63), 7], "bool": [True, False], "uint16": [0, 65535],
    "qint8": [-5, 7], "quint8": [5, 255], "qint16": [-5, 7], "quint16": [5, 65535], "qint32": [-5, 7],
}  # fmt: skip
UNREAD = ("uint8", "uint16", "qint8", "quint8", "qint16", "quint16", "qint32")
"""Types that the client sends and whose values it does not give back, whatever the answer holds."""


class Backend:
    """Loads a model that echoes each type, halves floats, fails, or waits for a test.

    Attributes:
        gate: Opened by a test to let `slow` answer.
        entered: How many of its runs have begun.
        runs: Inputs of `serving_default`.
        loading: Opened by a test to let a version with a file `held` be loaded.
    """

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.loading = threading.Event()
        self.entered = threading.Semaphore(0)
        self.runs: list[list[float]] = []

    def prepare(self, *, own_process: bool) -> None: ...

    def incomplete_reason(self, path: str) -> None: ...

    def make_loader(self, id: ServableId, path: str) -> _Loader:
        return _Loader(self, Path(path))


class _Loader:
    def __init__(self, backend: Backend, path: Path) -> None:
        self.backend, self.path = backend, path

    def load(self) -> Servable:
        if (self.path / "broken").exists():
            raise NotFoundError("broken on purpose")
        if (self.path / "held").exists():
            self.backend.loading.wait(30)
        backend = self.backend

        def half_plus_two(x: Array) -> Mapping[str, Array]:
            backend.runs.append(x.ravel().tolist())
            return {"y": x / 2 + 2}

        def slow(x: Array) -> Mapping[str, Array]:
            backend.entered.release()
            backend.gate.wait(30)
            return {"y": x}

        def broken(x: Array) -> Mapping[str, Array]:
            raise InternalError("the kernel is broken")

        def float_in(name: str, run: Any) -> Any:
            x, y = TensorSpec("x", dtypes.FLOAT, (None, 2)), TensorSpec("y", dtypes.FLOAT, (None, 2))
            return predict_signature([x], [y], name), run

        def pair(a: Array, b: Array) -> Mapping[str, Array]:
            return {"sum": a + b, "product": a * b, "first": a[0]}

        a, b = TensorSpec("a", dtypes.FLOAT, (None,)), TensorSpec("b", dtypes.FLOAT, (None,))
        answers = [TensorSpec(name, dtypes.FLOAT, None) for name in ("sum", "product", "first")]
        functions = [
            float_in("serving_default", half_plus_two),
            float_in("slow", slow),
            float_in("broken", broken),
            (predict_signature([a, b], answers, "pair"), pair),
        ]
        for name in DTYPES:
            x, y = (TensorSpec(alias, dtypes.BY_NAME[name], (None,)) for alias in "xy")
            functions.append((predict_signature([x], [y], name), lambda x: {"y": x}))
        wide = TensorSpec("y", dtypes.BY_NAME["uint32"], (None, 2))
        x = TensorSpec("x", dtypes.FLOAT, (None, 2))
        functions.append((predict_signature([x], [wide], "wide"), lambda x: {"y": x.astype(np.uint32)}))
        return FunctionServable(functions)


@pytest.fixture(scope="session")
def sdk() -> Iterator[Sdk]:
    try:
        client = Sdk()
    except SdkMissingError as error:
        pytest.skip(str(error))
    yield client
    client.close()


@contextmanager
def serving(
    directory: Path, service: EasService | None = None, *, backend: Backend | None = None, **options: Any
) -> Iterator[tuple[Server, Backend]]:
    """A server for the model `m`, with metrics."""
    backend = backend or Backend()
    eas = EasOptions({"m": service or EasService()}, **options)
    models = {"m": add_version(directory, "m")}
    with function_server(models, backend, metrics_path=METRICS, eas=eas, num_run_threads=2) as server:
        try:
            yield server, backend
        finally:
            backend.gate.set()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("eas")) as (server, _):
        yield server


def arrivals(server: Server) -> dict[str, int]:
    """Requests for `m` that were answered so far, by their code."""
    with Wire(server.rest_port) as wire:
        wire.send(f"GET {METRICS} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        page = wire.answer()[2].decode()
    rows = re.findall(r':tensorflow:serving:request_count{model_name="m",status="(\w+)"} (\d+)', page)
    return {code: int(count) for code, count in rows}


def posted(body: bytes, target: str = "/api/predict/m", **headers: str) -> bytes:
    """A plain request; `_` in the name of a header is `-`."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body


def post(
    port: int | None, body: bytes, target: str = "/api/predict/m", **headers: str
) -> tuple[bytes, Any, bytes]:
    """The answer to a plain request: status line, headers, body."""
    with Wire(port) as wire:
        wire.send(posted(body, target, **headers))
        return wire.answer()


FEED = {"x": ([1, 2], "DT_FLOAT", [1, 2])}


@pytest.mark.parametrize("name", DTYPES)
def test_every_type(sdk: Sdk, server: Server, name: str) -> None:
    """What went in comes out, of the same type."""
    values = DTYPES[name]
    dtype = "DT_" + name.upper()
    answer = sdk.ask(server.rest_port, "m", {"x": ([2], dtype, values)}, signature=name)
    shape, number, found = answer["outputs"]["y"]
    assert (shape, number) == ([2], dtypes.BY_NAME[name].number)
    if name == "float":
        values = np.array(values, np.float32).tolist()
    assert found == (None if name in UNREAD else values)


def test_a_thousand_calls(sdk: Sdk, server: Server) -> None:
    """One after the other over kept connections; the default signature is found."""
    before = arrivals(server)["OK"] if arrivals(server) else 0
    answer = sdk.ask(server.rest_port, "m", FEED, times=1000)
    assert answer["outputs"] == {"y": [[1, 2], 1, [2.5, 3]]}
    assert arrivals(server)["OK"] == before + 1000


def test_filters_and_several_inputs(sdk: Sdk, server: Server) -> None:
    """The outputs that were asked for, each once; a scalar has no dimensions."""
    feeds = {"a": ([2], "DT_FLOAT", [1, 2]), "b": ([2], "DT_FLOAT", [3, 5])}
    answer = sdk.ask(server.rest_port, "m", feeds, signature="pair", fetch=["sum", "first", "sum"])
    assert answer["outputs"] == {"sum": [[2], 1, [4, 7]], "first": [[], 1, [1]]}
    assert sdk.ask(server.rest_port, "m", feeds, signature="pair")["outputs"].keys() == {
        "sum",
        "product",
        "first",
    }


def test_structure(sdk: Sdk, server: Server) -> None:
    """An empty request gets the JSON, and so does GET; one by a name too, and of a signature that is named."""
    text = json.loads(sdk.ask(server.rest_port, "m", structure=True)["text"])
    assert text == {
        "signature_name": "serving_default",
        "inputs": [{"name": "x", "shape": [-1, 2], "type": "DT_FLOAT"}],
        "outputs": [{"name": "y", "shape": [-1, 2], "type": "DT_FLOAT"}],
    }
    status, headers, body = post(server.rest_port, b"", "/api/predict/m/?signature_name=pair")
    assert (status, headers["content-type"]) == (b"HTTP/1.1 200 OK", "application/json")
    assert json.loads(body)["signature_name"] == "pair"


@pytest.mark.parametrize(
    ("service", "feeds", "how", "code", "text"),
    [
        ("m", {"x": ([1, 3], "DT_FLOAT", [1, 2, 3])}, {}, 400, "input 'x': shape [1, 3], expected [-1, 2]"),
        ("m", {"x": ([2], "DT_FLOAT", [1, 2])}, {}, 400, "input 'x': shape [2], expected [-1, 2]"),
        ("m", {"x": ([1, 2], "DT_INT32", [1, 2])}, {}, 400, "input 'x': dtype DT_INT32, expected DT_FLOAT"),
        ("m", {"x": ([1, 2], "DT_FLOAT", [1])}, {}, 400, "input 'x': 1 values in float_val"),
        ("m", {"z": ([1, 2], "DT_FLOAT", [1, 2])}, {}, 400, "unknown input 'z'; expected: x"),
        ("m", {"a": ([1], "DT_FLOAT", [1])}, {"signature": "pair"}, 400, "missing input 'b'"),
        ("m", FEED, {"signature": "none"}, 400, "unknown signature 'none'; expected one of: bool, broken"),
        ("m", FEED, {"fetch": ["z"]}, 400, "unknown output 'z'; expected: y"),
        ("m", FEED, {"signature": "wide"}, 501, "output 'y' is of type DT_UINT32"),
        ("none", FEED, {}, 404, "There is no service none"),
        ("m/other", FEED, {}, 404, "No such path: /api/predict/m/other"),
        ("m/versions/9", FEED, {}, 404, "Servable not found"),
        ("m/labels/none", FEED, {}, 404, "none"),
    ],
)
def test_mistakes_are_not_repeated(
    sdk: Sdk, server: Server, service: str, feeds: dict[str, Any], how: dict[str, Any], code: int, text: str
) -> None:
    """Each gets its status and a reason, and arrives once."""
    before = sum(arrivals(server).values())
    answer = sdk.ask(server.rest_port, service, feeds, **how)
    assert (answer["code"], text in answer["message"]) == (code, True), answer
    assert sum(arrivals(server).values()) - before == (service != "none")


def test_a_failure_of_the_model_is_repeated(sdk: Sdk, server: Server) -> None:
    """500 is what the client tries five times."""
    before = arrivals(server).get("INTERNAL", 0)
    answer = sdk.ask(server.rest_port, "m", FEED, signature="broken")
    assert (answer["code"], "the kernel is broken" in answer["message"]) == (500, True)
    assert arrivals(server)["INTERNAL"] - before == 5


def test_versions_and_direct_mode(sdk: Sdk, server: Server) -> None:
    """A version by its number, and the client that asks for addresses first."""
    assert "outputs" in sdk.ask(server.rest_port, "m/versions/1", FEED)
    assert "outputs" in sdk.ask(server.rest_port, "m", FEED, direct=True)
    for prefix in ("/api/v1/servicediscovery", "/exported/apis/eas.alibaba-inc.k8s.io/v1"):
        body = post(server.rest_port, b"", f"{prefix}/upstreams/m?internal=true")[2]
        (item,) = json.loads(body)["endpoints"]["items"]
        assert item["port"] == server.rest_port
        assert item["weight"] == 100
        assert post(server.rest_port, b"", f"{prefix}/upstreams/none")[0].startswith(b"HTTP/1.1 404")


def test_tokens(sdk: Sdk, tmp_path: Path) -> None:
    """The right token opens, signed or as it is, also to a name that must be escaped; a wrong one arrives once."""
    service = EasService(tokens=(TOKEN,))
    name = "服务 one"
    models = {"m": add_version(tmp_path, "m"), name: add_version(tmp_path, "named")}
    eas = EasOptions({"m": service, name: service})
    with function_server(models, Backend(), eas=eas, metrics_path=METRICS) as server:
        assert "outputs" in sdk.ask(server.rest_port, "m", FEED, token=TOKEN)
        assert "outputs" in sdk.ask(server.rest_port, name, FEED, token=TOKEN)
        assert arrivals(server) == {"OK": 1}
        wrong = sdk.ask(server.rest_port, "m", FEED, token="wrong")
        assert (wrong["code"], wrong["message"]) == (401, "The token is wrong")
        missing = sdk.ask(server.rest_port, "m", FEED)
        assert (missing["code"], "needs a token" in missing["message"]) == (401, True)
        assert arrivals(server) == {"OK": 1, "UNAUTHENTICATED": 2}
        with Wire(server.rest_port) as wire:  # a large body is not even begun
            wire.send(b"POST /api/predict/m HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n")
            wire.send(b"Expect: 100-continue\r\n\r\n")
            assert wire.answer()[0].split()[1] == b"401"
        large = {"x": ([50_000, 2], "DT_FLOAT", [0.5] * 100_000)}
        assert sdk.ask(server.rest_port, "m", large, token="wrong")["code"] == 401
        assert "outputs" in sdk.ask(server.rest_port, "m", large, token=TOKEN)
        assert arrivals(server) == {"OK": 2, "UNAUTHENTICATED": 4}
        body = missing["request"]
        for text in (TOKEN, f"Bearer {TOKEN}"):
            assert post(server.rest_port, body, Authorization=text)[0] == b"HTTP/1.1 200 OK"
        assert post(server.rest_port, b"", Authorization="no")[0].startswith(b"HTTP/1.1 401")


def test_bodies_of_other_clients(sdk: Sdk, server: Server) -> None:
    """Compressed without a word, in chunks, announced first; and another verb, which is counted as a mistake."""
    request = sdk.ask(server.rest_port, "m", FEED)["request"]
    for body in (gzip.compress(request), zlib.compress(request)):
        assert post(server.rest_port, body)[0] == b"HTTP/1.1 200 OK"
    large = sdk.ask(server.rest_port, "m", {"x": ([10_000, 2], "DT_FLOAT", [0.5] * 20_000)})["request"]
    status, headers, answer = post(server.rest_port, gzip.compress(large))
    assert (status, headers["content-length"]) == (b"HTTP/1.1 200 OK", str(len(answer)))
    assert post(server.rest_port, request, Content_Encoding="br")[0].split()[1] == b"415"
    with Wire(server.rest_port) as wire:
        wire.send(b"POST /api/predict/m HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        wire.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(request), request))
        assert wire.answer()[0] == b"HTTP/1.1 200 OK"
        wire.send(posted(request, Expect="100-continue"))
        assert wire.line() == b"HTTP/1.1 100 Continue\r\n"
        assert wire.line() == b"\r\n"
        assert wire.answer()[0] == b"HTTP/1.1 200 OK"
        before = arrivals(server)["INVALID_ARGUMENT"]
        wire.send(b"PUT /api/predict/m HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, _ = wire.answer()
        assert (status.split()[1], headers["allow"]) == (b"405", "GET, POST")
    assert arrivals(server)["INVALID_ARGUMENT"] == before + 1


def test_a_slow_model(sdk: Sdk, tmp_path: Path) -> None:
    """After the service's time 408, once, and the connection is closed; the server goes on."""
    with serving(tmp_path, EasService(keepalive_s=0.3)) as (server, backend):
        answer = sdk.ask(server.rest_port, "m", FEED, signature="slow")
        assert answer["code"] == 408
        assert arrivals(server) == {"DEADLINE_EXCEEDED": 1}
        request = answer["request"]
        with Wire(server.rest_port) as wire:
            wire.send(posted(request))
            assert wire.answer()[0].split()[1] == b"408"
            assert wire.rest() == b""
        backend.gate.set()
        assert "outputs" in sdk.ask(server.rest_port, "m", FEED)
        with Wire(server.rest_port) as wire:  # a body that does not come counts too
            wire.send(b"POST /api/predict/m HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
            status, headers, _ = wire.answer()
            assert (status.split()[1], headers["connection"]) == (b"408", "close")


def test_a_caller_who_gives_up(sdk: Sdk, tmp_path: Path) -> None:
    """The client's own time-out: it tries five times, and what it left behind is recorded as cancelled."""
    with serving(tmp_path) as (server, backend):
        answer = sdk.ask(server.rest_port, "m", FEED, signature="slow", timeout=200)
        assert answer["code"] == 500  # its own
        deadline = time.monotonic() + 10
        while arrivals(server).get("CANCELLED", 0) < 5 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert arrivals(server) == {"CANCELLED": 5}
        backend.gate.set()


def test_a_full_queue(sdk: Sdk, tmp_path: Path) -> None:
    """Two at work and three waiting: the next one gets 450 at once, arrives once, and the connection is closed."""
    with serving(tmp_path, EasService(max_queue_size=3, keepalive_s=30)) as (server, backend):
        request = sdk.ask(server.rest_port, "none", FEED, signature="slow")["request"]
        with ExitStack() as stack:
            waiting = [stack.enter_context(Wire(server.rest_port)) for _ in range(5)]
            structure = functools.partial(sdk.ask, server.rest_port, "m", structure=True)
            structure()  # the server knows the connections
            for wire in waiting:
                wire.send(posted(request))
            structure(), structure()  # and has read what came over them; this needs no place in the queue
            answer = sdk.ask(server.rest_port, "m", FEED)
            assert answer["code"] == 450, answer
            status, headers, _ = post(server.rest_port, request)
            assert (status, headers["connection"]) == (b"HTTP/1.1 450 Queue Full", "close")
            backend.gate.set()
            assert [wire.answer()[0] for wire in waiting] == [b"HTTP/1.1 200 OK"] * 5
        assert arrivals(server) == {"OK": 8, "UNAVAILABLE": 2}
        assert "outputs" in sdk.ask(server.rest_port, "m", FEED)


def test_warm_up(sdk: Sdk, tmp_path: Path) -> None:
    """A file that the client wrote is run five times before the version answers anything but 503."""
    probe = sdk.ask(1, "m", FEED, timeout=1)["request"]
    assert decode_request(probe).array("x").tolist() == [[1, 2]]
    backend = Backend()
    base = add_version(tmp_path, "m", mark="held")
    other = add_version(tmp_path, "other")
    eas = EasOptions({"m": EasService(warm_up=(probe,))})
    models = (ModelConfig("other", str(other)),)
    with function_server({"other": other}, backend, eas=eas) as server:
        core = server._core
        assert core is not None
        core.configuration.apply((*models, ModelConfig("m", str(base))))
        deadline = time.monotonic() + 10
        while (answer := sdk.ask(server.rest_port, "m", FEED))["code"] == 404 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert (answer["code"], backend.runs) == (503, [])
        backend.loading.set()
        server.wait_until_available("m", 10)
        assert backend.runs == [[1, 2]] * 5
        assert "outputs" in sdk.ask(server.rest_port, "m", FEED)


def test_a_model_that_cannot_be_loaded(sdk: Sdk, tmp_path: Path) -> None:
    """It is known, and not ready."""
    models = {"m": add_version(tmp_path, "m", mark="broken"), "other": add_version(tmp_path, "other")}
    load = LoadOptions(max_num_load_retries=0, fail_on_initial_load_error=False)
    with function_server(models, Backend(), eas=EasOptions(), load=load) as server:
        answer = sdk.ask(server.rest_port, "m", FEED)
        assert (answer["code"], "not ready" in answer["message"]) == (503, True)
