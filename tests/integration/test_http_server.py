"""The HTTP server around an API of the test's own: where requests are worked on, and what becomes of its errors."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from function_servers import Wire
from pyserve.batching.task import Task
from pyserve.errors import CancelledError, ServingError, UnavailableError
from pyserve.transport.admin import AdminApi, Readiness
from pyserve.transport.budget import ByteBudget
from pyserve.transport.dispatch import Dispatcher
from pyserve.transport.http import HttpRequest, HttpResponse
from pyserve.transport.http_server import HttpServer


class Api:
    """Answers with the name of the thread that it runs on, or fails as the URL says."""

    def begin(self, request: HttpRequest) -> HttpResponse:
        match request.target:
            case "/bug":
                raise ZeroDivisionError("oops")
            case "/cancelled":
                raise CancelledError("not any more")
        return HttpResponse(200, threading.current_thread().name.encode())

    def deadline(self, request: HttpRequest) -> float | None:
        return None

    def refuse(self, request: HttpRequest, error: ServingError) -> HttpResponse:
        return self.error(request, error)

    def error(self, request: HttpRequest, error: ServingError) -> HttpResponse:
        return AdminApi(lambda: Readiness(True)).error(request, error)


def no_models(task: Task) -> None:
    raise AssertionError(task)


@contextmanager
def serving(
    api: Api, *, budget: int = 2**30, max_body: int = 2**30, host: str | None = None, port: int = 0
) -> Iterator[int]:
    """The server on an event loop of its own; gives its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="the loop")
    thread.start()
    with ThreadPoolExecutor(1, "codec") as codec_threads:

        async def make() -> HttpServer:
            return HttpServer(
                api,
                Dispatcher(no_models, codec_threads),
                ByteBudget(budget),
                max_body_bytes=max_body,
                max_connections=100,
                idle_timeout_s=10.0,
            )

        def wait(work):  # type: ignore[no-untyped-def]
            return asyncio.run_coroutine_threadsafe(work, loop).result(20)

        server = wait(make())
        try:
            yield wait(server.start(host, port))
        finally:
            wait(server.stop(1.0))
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


def ask(wire: Wire, target: str, body: bytes = b"", headers: str = "") -> tuple[bytes, dict[str, str], bytes]:
    wire.send(
        f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body
    )
    return wire.answer()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(Api()) as port:
        yield port


@pytest.mark.parametrize(
    ("size", "headers", "on_loop"),
    [
        (10, "", True),
        (16 * 1024, "", True),
        (16 * 1024 + 1, "", False),
        (4 * 1024, "Content-Encoding: gzip\r\n", True),
        (4 * 1024 + 1, "Content-Encoding: gzip\r\n", False),
    ],
)
def test_where_a_body_is_parsed(port: int, size: int, headers: str, on_loop: bool) -> None:
    """What may take long to inflate or to parse does not hold up the event loop."""
    with Wire(port) as wire:
        _, _, name = ask(wire, "/", b"x" * size, headers)
    assert (name == b"the loop") == on_loop


def test_an_error_that_nobody_foresaw(port: int, caplog: pytest.LogCaptureFixture) -> None:
    """It is answered as INTERNAL, logged with its traceback, and the connection goes on."""
    with Wire(port) as wire:
        line, headers, body = ask(wire, "/bug")
        assert line == b"HTTP/1.1 500 Internal Server Error"
        assert headers["content-type"] == "application/json"
        assert json.loads(body) == {"error": "ZeroDivisionError: oops"}
        assert ask(wire, "/")[0] == b"HTTP/1.1 200 OK"
    assert "ZeroDivisionError: oops" in caplog.text


def test_a_status_without_a_phrase(port: int) -> None:
    """TensorFlow Serving's HTTP library calls 499 a client error."""
    with Wire(port) as wire:
        assert ask(wire, "/cancelled")[0] == b"HTTP/1.1 499 Client Error"


def test_a_body_that_finds_no_room_ends_its_connection() -> None:
    """The rest of the body is not taken in, so nothing could be read behind it."""
    with serving(Api(), budget=10) as port, Wire(port) as wire:
        line, headers, _ = ask(wire, "/", b"more than ten bytes")
        assert line == b"HTTP/1.1 429 Client Error"
        assert headers["connection"] == "close"
        assert wire.rest() == b""


def test_a_caller_that_sends_more_than_it_may() -> None:
    """What it goes on to send is thrown away for a while, so that the connection is not reset under its answer."""
    with serving(Api(), max_body=1000) as port, Wire(port) as wire:
        line, headers, body = ask(wire, "/", bytes(20_000_000))
        assert line.startswith(b"HTTP/1.1 413 ")
        assert headers["connection"] == "close"
        assert "larger than 1000 bytes" in json.loads(body)["error"]


def test_a_port_of_which_half_is_taken() -> None:
    """IPv4 alone is for machines without IPv6: here half of the callers would reach somebody else."""
    with socket.socket(socket.AF_INET6) as other:
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            other.bind(("::", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        other.listen()
        with (
            pytest.raises(UnavailableError, match="cannot bind port"),
            serving(Api(), port=other.getsockname()[1]),
        ):
            pass


@pytest.mark.parametrize("host", ["no.such.host.invalid", "é" * 64, "256.0.0.1"])
def test_a_host_that_is_none(host: str) -> None:
    """A name that nobody has, or can have, is an error that names it."""
    with pytest.raises(UnavailableError, match=f"cannot bind port 0 of {host}: "), serving(Api(), host=host):
        pass
