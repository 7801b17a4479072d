"""The REST port byte by byte: status lines, headers, connections, limits. Raw sockets, no TensorFlow."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from function_servers import FunctionBackend, Wire, add_version, function_server
from pyserve import Server
from pyserve.config import Limits

GOOD = b'{"instances": [2.0]}'
PREDICT = b"/v1/models/m:predict"
DATE = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")


def post(body: bytes, headers: bytes = b"", target: bytes = PREDICT, version: bytes = b"1.1") -> bytes:
    head = b"POST %s HTTP/%s\r\nHost: x\r\n%s" % (target, version, headers)
    if b"Content-Length" not in headers and b"Transfer-Encoding" not in headers:
        head += b"Content-Length: %d\r\n" % len(body)
    return head + b"\r\n" + body


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with function_server({"m": add_version(tmp_path_factory.mktemp("models"), "m")}) as server:
        yield server


@pytest.fixture(scope="module")
def cors_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = {"m": add_version(tmp_path_factory.mktemp("models"), "m")}
    with function_server(models, rest_api_enable_cors_support=True) as server:
        yield server


@pytest.mark.parametrize(
    ("request_", "status", "content_type"),
    [
        (post(GOOD), b"HTTP/1.1 200 OK", "application/json"),
        (post(b"{"), b"HTTP/1.1 400 Bad Request", "application/json"),
        (post(GOOD, target=b"/v1/models/n:predict"), b"HTTP/1.1 404 Not Found", "application/json"),
        (b"GET /v1/models/m HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200 OK", "application/json"),
        (b"PUT /v1/models/m HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 400 Bad Request", "application/json"),
        (b"PATCH /v1/models/m HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 400 Bad Request", "application/json"),
        (b"DELETE /v1/models/m HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 400 Bad Request", "application/json"),
        (b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 404 Not Found", "text/html"),
        (b"TRACE /v1/models/m HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 501 Not Implemented", "text/html"),
    ],
)
def test_heads(server: Server, request_: bytes, status: bytes, content_type: str) -> None:
    """Every answer has a date, its length, and the content type of its kind; pages close the connection."""
    with Wire(server.rest_port) as wire:
        wire.send(request_)
        line, headers, body = wire.answer()
    assert line == status
    assert headers["content-type"] == content_type
    assert DATE.fullmatch(headers["date"])
    assert int(headers["content-length"]) == len(body) > 0
    assert headers.get("connection") == ("close" if content_type == "text/html" else None)
    assert "transfer-encoding" not in headers
    assert not [name for name in headers if name.startswith("access-control")]


def test_head_has_no_body(server: Server) -> None:
    """HEAD is refused with the head of that answer, and the connection goes on."""
    with Wire(server.rest_port) as wire:
        wire.send(b"HEAD /v1/models/m HTTP/1.1\r\nHost: x\r\n\r\n")
        line, headers, _ = wire.answer(head_only=True)
        assert line == b"HTTP/1.1 400 Bad Request"
        assert headers["content-type"] == "application/json"
        wire.send(post(GOOD))
        assert wire.answer()[0] == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize("origin", [b"http://a.example", b"https://a.example"])
def test_options(server: Server, origin: bytes) -> None:
    """OPTIONS with an origin is an empty 200 without a content type."""
    with Wire(server.rest_port) as wire:
        wire.send(b"OPTIONS /v1/models/m HTTP/1.1\r\nHost: x\r\nOrigin: " + origin + b"\r\n\r\n")
        line, headers, body = wire.answer()
    assert (line, body) == (b"HTTP/1.1 200 OK", b"")
    assert headers["content-length"] == "0"
    assert "content-type" not in headers


@pytest.mark.parametrize(
    ("request_", "sent"),
    [
        (post(GOOD), True),
        (post(b"{"), True),
        (b"GET /v1/models/m HTTP/1.1\r\nHost: x\r\n\r\n", True),
        (b"OPTIONS /v1/models/m HTTP/1.1\r\nHost: x\r\nOrigin: http://a\r\n\r\n", True),
        (b"OPTIONS /v1/models/m HTTP/1.1\r\nHost: x\r\n\r\n", True),
        (b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", False),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", False),
    ],
)
def test_cors(cors_server: Server, request_: bytes, sent: bool) -> None:
    """With the flag, each answer of the API has the three headers; pages do not."""
    with Wire(cors_server.rest_port) as wire:
        wire.send(request_)
        _, headers, _ = wire.answer()
    found = {name: value for name, value in headers.items() if name.startswith("access-control")}
    assert found == (
        {
            "access-control-allow-origin": "*",
            "access-control-allow-methods": "POST, GET",
            "access-control-allow-headers": "Content-Type",
        }
        if sent
        else {}
    )


def test_http_1_0(server: Server) -> None:
    """HTTP/1.0 closes after the answer, unless the caller asks to keep the connection."""
    with Wire(server.rest_port) as wire:
        wire.send(post(GOOD, version=b"1.0"))
        line, headers, body = wire.answer()
        assert line.split(b" ", 1)[1] == b"200 OK"
        assert json.loads(body) == {"predictions": [3.0]}
        assert wire.rest() == b""
    with Wire(server.rest_port) as wire:
        for _ in range(2):
            wire.send(post(GOOD, b"Connection: keep-alive\r\n", version=b"1.0"))
            line, headers, _ = wire.answer()
            assert line.split(b" ", 1)[1] == b"200 OK"
            assert headers["connection"] == "keep-alive"


def test_connection_close(server: Server) -> None:
    """A caller that asks for it is told that the connection closes, and it does."""
    with Wire(server.rest_port) as wire:
        wire.send(post(GOOD, b"Connection: close\r\n"))
        _, headers, _ = wire.answer()
        assert headers["connection"] == "close"
        assert wire.rest() == b""


def test_expect_100_continue(server: Server) -> None:
    """A caller that waits for leave to send its body gets it."""
    with Wire(server.rest_port) as wire:
        wire.send(post(b"", b"Expect: 100-continue\r\nContent-Length: %d\r\n" % len(GOOD)))
        assert wire.line() == b"HTTP/1.1 100 Continue\r\n"
        assert wire.line() == b"\r\n"
        wire.send(GOOD)
        line, _, body = wire.answer()
        assert (line, json.loads(body)) == (b"HTTP/1.1 200 OK", {"predictions": [3.0]})


@pytest.mark.parametrize(
    "body",
    [
        b"14\r\n" + GOOD + b"\r\n0\r\n\r\n",
        b"".join(b"1;x=y\r\n%c\r\n" % byte for byte in GOOD) + b"0\r\nTrailer: x\r\n\r\n",
    ],
    ids=["one chunk", "a chunk per byte, extensions, a trailer"],
)
def test_chunked(server: Server, body: bytes) -> None:
    """A chunked body is read to its end, and the connection goes on behind it."""
    with Wire(server.rest_port) as wire:
        for _ in range(2):
            wire.send(post(body, b"Transfer-Encoding: chunked\r\n"))
            line, _, answer = wire.answer()
            assert (line, json.loads(answer)) == (b"HTTP/1.1 200 OK", {"predictions": [3.0]})


def test_request_headers_that_do_not_count(server: Server) -> None:
    """Content-Type and Accept-Encoding are ignored: answers are never compressed."""
    with Wire(server.rest_port) as wire:
        wire.send(post(GOOD, b"Content-Type: text/xml\r\nAccept-Encoding: gzip, br\r\nAccept: text/html\r\n"))
        line, headers, body = wire.answer()
    assert (line, json.loads(body)) == (b"HTTP/1.1 200 OK", {"predictions": [3.0]})
    assert "content-encoding" not in headers


@pytest.mark.parametrize(
    ("target", "status", "text"),
    [
        (b"/v1/models/%6D:predict", b"200", b"predictions"),
        (b"/v1/models/m%2Fx:predict", b"404", b"Latest(m/x)"),
        (b"/v1/models/m%3Ax:predict", b"404", b"Latest(m:x)"),
        (b"/v1/models/m+x:predict", b"404", b"Latest(m+x)"),
        (b"/v1/models/m%zz:predict", b"404", b"Latest(m%zz)"),
        (b"/v1/models/m%4:predict", b"404", b"Latest(m%4)"),
        (b"/v1/models/%256D:predict", b"404", b"Latest(%6D)"),
        (b"/v1/models/m%3Apredict", b"400", b"Malformed request: POST /v1/models/m%3Apredict"),
        (b"/v1/models/m:predict#x", b"400", b"Malformed request: POST /v1/models/m:predict#x"),
        (b"/v1//models/m:predict", b"400", b"Malformed request: POST /v1//models/m:predict"),
        (b"/v1/./models/m:predict", b"400", b"Malformed request: POST /v1/./models/m:predict"),
    ],
)
def test_targets_are_taken_as_sent(server: Server, target: bytes, status: bytes, text: bytes) -> None:
    """Names are decoded once, after matching; nothing is normalised before."""
    with Wire(server.rest_port) as wire:
        wire.send(post(GOOD, target=target))
        line, _, body = wire.answer()
    assert line.split(b" ")[1] == status
    assert text in body


# --- limits


def limited(tmp_path: Path, backend: FunctionBackend | None = None, mark: str | None = None, **limits: float):  # type: ignore[no-untyped-def]
    models = {"m": add_version(tmp_path, "m", mark=mark)}
    return function_server(models, backend, limits=Limits(**limits))  # type: ignore[arg-type]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit(tmp_path: Path, chunked: bool) -> None:
    """413 with a JSON error that names the limit, before the body is taken in, and the connection closes."""
    with limited(tmp_path, rest_api_max_body_bytes=1000) as server:
        fits = GOOD + b" " * (1000 - len(GOOD))
        with Wire(server.rest_port) as wire:
            wire.send(post(fits))
            assert wire.answer()[0] == b"HTTP/1.1 200 OK"
            if chunked:
                wire.send(post(b"3e9\r\n" + fits + b" \r\n0\r\n\r\n", b"Transfer-Encoding: chunked\r\n"))
            else:
                wire.send(post(b"", b"Content-Length: 1001\r\nExpect: 100-continue\r\n"))
            line, headers, body = wire.answer()
            assert line.startswith(b"HTTP/1.1 413 ")
            assert headers["connection"] == "close"
            assert headers["content-type"] == "application/json"
            assert json.loads(body)["error"].startswith("The request's body is larger than 1000 bytes")
        with Wire(server.rest_port) as wire:
            wire.send(post(GOOD))
            assert wire.answer()[0] == b"HTTP/1.1 200 OK"


def test_the_inflated_size_is_an_option(tmp_path: Path) -> None:
    """A gzip body may become as large as the option says, and no larger."""
    with limited(tmp_path, rest_api_max_inflated_bytes=1000) as server, Wire(server.rest_port) as wire:
        for size, status in ((1000, b"200"), (1001, b"400"), (50_000_000, b"400")):
            body = gzip.compress(GOOD + b" " * (size - len(GOOD)))
            wire.send(post(body, b"Content-Encoding: gzip\r\n"))
            line, _, answer = wire.answer()
            assert line.split(b" ")[1] == status
            assert (b"it inflates to more than 1000 bytes" in answer) == (status == b"400")


def test_bytes_in_flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the budget a body waits, then is answered 429 `Client Error`; when others are through it is served."""
    monkeypatch.setattr("pyserve.transport.budget.ByteBudget._wait", _waiting_a_moment())
    backend = FunctionBackend()
    with limited(tmp_path, backend, "slow", max_inflight_bytes=1000) as server:
        large = GOOD + b" " * 700
        with Wire(server.rest_port) as first, Wire(server.rest_port) as second:
            first.send(post(large))
            assert backend.entered.acquire(timeout=10)
            second.send(post(large))
            line, headers, body = second.answer()
            assert line == b"HTTP/1.1 429 Client Error"
            assert headers["content-type"] == "application/json"
            assert "--max_inflight_bytes" in json.loads(body)["error"]
            backend.gate.set()
            assert first.answer()[0] == b"HTTP/1.1 200 OK"
        with Wire(server.rest_port) as third:
            third.send(post(large))
            assert third.answer()[0] == b"HTTP/1.1 200 OK"
            third.send(post(GOOD + b" " * 1000))
            assert third.answer()[0] == b"HTTP/1.1 429 Client Error"


def _waiting_a_moment():  # type: ignore[no-untyped-def]
    from pyserve.transport.budget import ByteBudget

    original = ByteBudget._wait
    return lambda self, count, within_s: original(self, count, 0.05)


def test_connections_over_the_limit(tmp_path: Path) -> None:
    """One connection too many is answered 503 and closed; when one goes there is room again."""
    with limited(tmp_path, max_connections=2) as server:
        first, second = Wire(server.rest_port), Wire(server.rest_port)
        for wire in (first, second):
            wire.send(post(GOOD))
            assert wire.answer()[0] == b"HTTP/1.1 200 OK"
        with Wire(server.rest_port) as third:
            assert third.rest().startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        first.__exit__()
        deadline = time.monotonic() + 10
        while True:
            with Wire(server.rest_port) as fourth:
                fourth.send(post(GOOD))
                if fourth.answer()[0] == b"HTTP/1.1 200 OK":
                    break
            assert time.monotonic() < deadline
        second.__exit__()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", b""),
        (b"POST /v1/models/m:predict HTTP/1.1\r\nHo", b""),
        (post(GOOD), b"HTTP/1.1 200 OK"),
        (post(b"{", b"Content-Length: 20\r\n"), b"HTTP/1.1 504 Gateway Timeout"),
    ],
    ids=["nothing", "half a head", "a request", "half a body"],
)
def test_silence_ends_a_connection(tmp_path: Path, data: bytes, status: bytes) -> None:
    """A connection that says nothing for too long is closed, wherever it stopped, after the answer if one is due."""
    with limited(tmp_path, rest_api_idle_timeout_s=1.0) as server, Wire(server.rest_port) as wire:
        wire.send(data)
        assert wire.rest().split(b"\r\n", 1)[0] == status


def test_a_slow_model_is_not_silence(tmp_path: Path) -> None:
    """While an answer is being made, a connection may be silent for as long as it takes."""
    backend = FunctionBackend()
    with (
        limited(tmp_path, backend, "slow", rest_api_idle_timeout_s=0.5) as server,
        Wire(server.rest_port) as wire,
    ):
        wire.send(post(GOOD))
        assert backend.entered.acquire(timeout=10)
        time.sleep(1.2)
        backend.gate.set()
        assert wire.answer()[0] == b"HTTP/1.1 200 OK"


def test_an_answer_that_nobody_reads(tmp_path: Path) -> None:
    """A caller that does not read its answer is cut off."""
    with (
        limited(tmp_path, mark="large", rest_api_idle_timeout_s=0.5) as server,
        Wire(server.rest_port) as wire,
    ):
        wire.send(post(GOOD))
        time.sleep(4)  # the model and the codec, and then some silence
        try:
            received = len(wire.rest())
        except ConnectionError:
            received = 0
        assert received < 10_000_000
