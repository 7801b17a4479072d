"""pyserve.client and the time, the network and the size of things: deadlines, retries, restarts, large tensors."""

from __future__ import annotations

import select
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echo_clients import CLIENTS, NUMBERS, Sync, client_of, same
from echo_servers import EchoBackend, echo_server
from pyserve import Server
from pyserve.client import Client, RestClient, Retry
from pyserve.config import Limits
from pyserve.errors import (
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
    UnimplementedError,
)
from servers import free_port

# --- deadlines, retries, restarts --------------------------------------------------------------------------------


def test_a_deadline(client: Sync) -> None:
    """The call ends when its time is over, and is not made again; the client can go on."""
    began = time.monotonic()
    with pytest.raises(DeadlineExceededError):
        client.predict("echo", {"x": NUMBERS}, signature="gate", timeout_s=0.3)
    assert 0.3 <= time.monotonic() - began < 20
    assert client.predict("echo", {"x": NUMBERS}, signature="float")["y"].tolist() == NUMBERS.tolist()


def test_unavailable_is_tried_again(client: Sync, backend: EchoBackend) -> None:
    """Until it works, or the attempts are over."""
    backend.failures, backend.calls = 2, 0
    quick = Retry(attempts=3, first_wait_s=0.01)
    client._calls._retry = quick
    assert client.predict("echo", {"x": NUMBERS}, signature="flaky")["y"].tolist() == NUMBERS.tolist()
    assert backend.calls == 3
    backend.failures, backend.calls = 5, 0
    with pytest.raises(UnavailableError, match="come back later"):
        client.predict("echo", {"x": NUMBERS}, signature="flaky")
    assert backend.calls == 3
    backend.failures = 0


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_server_that_restarts(kind: str, tmp_path: Path) -> None:
    """Calls that find nobody wait for the next server on the same port; connections are made anew."""
    ports = {"port": free_port(), "rest_api_port": free_port()}
    patient = Retry(attempts=40, max_wait_s=0.2)
    with ThreadPoolExecutor(1) as other:
        with echo_server(tmp_path, **ports) as server:
            client = client_of(kind, server, retry=patient)
            for _ in range(3):
                client.predict("echo", {"x": NUMBERS}, signature="float")
        waiting = other.submit(client.predict, "echo", {"x": NUMBERS}, signature="float")
        time.sleep(0.5)
        assert not waiting.done()
        with echo_server(tmp_path, **ports), client:
            assert waiting.result(30)["y"].tolist() == NUMBERS.tolist()
            assert client.predict("echo", {"x": NUMBERS}, signature="float")["y"].tolist() == NUMBERS.tolist()


def test_a_connection_that_the_server_has_closed(tmp_path: Path) -> None:
    """An idle HTTP connection that is gone is not used; nothing has to be tried again."""
    with (
        echo_server(tmp_path, limits=Limits(rest_api_idle_timeout_s=0.2)) as server,
        client_of("rest", server, retry=Retry(attempts=1)) as client,
    ):
        client.status("echo")
        assert isinstance(client, RestClient)
        (idle,) = client._idle
        assert select.select([idle.sock], [], [], 30)[0], "the server keeps the connection"
        assert client.status("echo")[0].available


def test_an_answer_that_breaks_off() -> None:
    """UNAVAILABLE, not half an answer."""
    with socket.create_server(("localhost", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://localhost:{listener.getsockname()[1]}"
        with (
            RestClient(url, retry=Retry(attempts=1)) as client,
            pytest.raises(UnavailableError, match="IncompleteRead"),
        ):
            client.status("m")
        thread.join()


def test_an_answer_that_trickles() -> None:
    """The deadline is that of the whole call, however often a byte comes."""
    with socket.create_server(("localhost", 0)) as listener:
        over = threading.Event()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while not over.wait(0.02):
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://localhost:{listener.getsockname()[1]}"
        with RestClient(url) as client, pytest.raises(DeadlineExceededError):
            client.status("m", timeout_s=0.5)
        over.set()
        thread.join()


# --- many rows, large tensors, many callers ----------------------------------------------------------------------


def test_rows_are_split(client: Sync, backend: EchoBackend) -> None:
    """In calls of at most that size, joined in order; one that makes no rows of them is refused."""
    backend.sizes.clear()
    rows = np.arange(1000, dtype=np.float32).reshape(100, 10)
    result = client.predict("echo", {"x": rows}, signature="float", max_rows=7, concurrency=5)
    assert same(result["y"], rows)
    assert sorted(backend.sizes) == [2] + [7] * 14
    with pytest.raises(InvalidArgumentError, match=r"output 'y': shape \(\)"):
        client.predict("echo", {"x": rows}, signature="sum", max_rows=7)
    with pytest.raises(NotFoundError):
        client.predict("nope", {"x": rows}, max_rows=7)


def test_large_tensors(echo: Server) -> None:
    """64 MB each way, whole and split: no option has to be set."""
    array = np.random.default_rng(1).random((16, 1 << 20), np.float32)
    with client_of("grpc", echo) as client:
        assert same(client.predict("echo", {"x": array}, signature="float")["y"], array)
        result = client.predict("echo", {"x": array}, signature="float", max_rows=4, concurrency=2)
        assert same(result["y"], array)


def test_large_bodies_by_rest(echo: Server) -> None:
    """A million numbers."""
    array = np.random.default_rng(1).random(1 << 20, np.float32)
    with client_of("rest", echo) as client:
        assert same(client.predict("echo", {"x": array}, signature="float")["y"], array)


def test_many_threads_with_one_client(client: Sync) -> None:
    """Each gets its own answer."""

    def ask(number: int) -> list[float]:
        x = np.full(3, number, np.float32)
        return [
            client.predict("echo", {"x": x}, signature="float")["y"].tolist() == x.tolist() for _ in range(20)
        ]

    with ThreadPoolExecutor(16) as pool:
        assert all(all(answers) for answers in pool.map(ask, range(16)))


def test_a_unix_socket(echo: Server, socket_path: Path) -> None:
    """In place of a port."""
    with Client(f"unix:{socket_path}") as client:
        assert client.predict("echo", {"x": NUMBERS}, signature="float").version == 1


def test_headers() -> None:
    """They go along with each request."""
    with socket.create_server(("localhost", 0)) as listener:
        heard: list[bytes] = []

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                heard.append(connection.recv(65536))
                connection.sendall(
                    b"HTTP/1.1 404 Not Found\r\nContent-Length: 16\r\n\r\n" + b'{"error": "none"}'[:16]
                )

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://localhost:{listener.getsockname()[1]}/proxy/"
        with RestClient(url, headers={"X-Trace": "7"}) as client, pytest.raises(NotFoundError):
            client.status("m")
        thread.join()
    assert heard[0].startswith(b"GET /proxy/v1/models/m HTTP/1.1\r\n")
    assert b"X-Trace: 7\r\n" in heard[0]


def test_headers_by_grpc() -> None:
    """As metadata, whatever their case."""
    import grpc

    seen: list[tuple[str, str]] = []

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            seen.extend((key, value) for key, value in details.invocation_metadata)

    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool, handlers=[Handler()])
        port = server.add_insecure_port("localhost:0")
        server.start()
        with (
            Client(f"localhost:{port}", headers={"X-Trace": "7"}) as client,
            pytest.raises(UnimplementedError),
        ):
            client.status("m")
        server.stop(0).wait()
    assert ("x-trace", "7") in seen
