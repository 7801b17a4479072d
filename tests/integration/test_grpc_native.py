"""The native gRPC engine on real sockets: real clients of several makes, sizes, numbers, TLS, UNIX sockets, stops."""

from __future__ import annotations

import asyncio
import gzip
import os
import re
import resource
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import h2.config
import h2.connection
import h2.events
import pytest

from h2_wire import GREETING, HEADERS, METHOD, headers, message, read_frames, request
from pyserve.errors import InvalidArgumentError, NotFoundError
from pyserve.inference.call import Blocking
from pyserve.transport.budget import ByteBudget
from pyserve.transport.dispatch import Dispatcher
from pyserve.transport.grpc_native import NativeGrpcServer
from pyserve.transport.h2 import frames

MIB = 2**20
STREAM = "/test.Service/Stream"
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class EchoServer:
    """The engine over a few handlers, on an event loop in a thread of its own.

    Attributes:
        engine: The engine; on its loop only, but for its counters.
        gate: Holds back the calls that begin with `wait`, until it is opened.
        waiting: Released by each of them.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self.gate = threading.Event()
        self.waiting = threading.Semaphore(0)
        self.engine: Any = None
        self.port = 0
        self._loop = asyncio.new_event_loop()

    def _handle(self, data: bytes, deadline: float | None) -> bytes | Blocking[bytes]:
        if data.startswith(b"fail"):
            raise NotFoundError("Größe: " + data.decode())
        if data.startswith(b"bug"):
            raise ZeroDivisionError("a bug")
        if data.startswith(b"deadline"):
            return b"none" if deadline is None else b"%.1f" % (deadline - time.monotonic())
        if data.startswith(b"wait"):
            self.waiting.release()
            return Blocking(lambda gone: data if self.gate.wait(30) else b"", lambda: None)
        return data

    async def _count(self, data: bytes) -> AsyncGenerator[bytes, None]:
        for number in range(int(data)):
            yield b"%d" % number
            await asyncio.sleep(0)
        if int(data) > 100:
            raise NotFoundError("enough")

    async def _start(self, address: dict[str, Any], budget: int, threads: ThreadPoolExecutor) -> None:
        dispatcher = Dispatcher(lambda task: None, threads)
        handlers = {METHOD: self._handle}
        self.engine = NativeGrpcServer(
            handlers, dispatcher, ByteBudget(budget), streams={STREAM: self._count}, **self._settings
        )
        self.port = await self.engine.start(**address) or 0

    @contextmanager
    def running(
        self, *, budget: int = 2**31, socket_path: str = "", host: str = "127.0.0.1"
    ) -> Iterator[EchoServer]:
        thread = threading.Thread(target=self._loop.run_forever)
        thread.start()
        with ThreadPoolExecutor(2) as threads:
            address = {"host": host, "port": None if socket_path else 0, "socket_path": socket_path}
            try:
                self.run(self._start(address, budget, threads))
                yield self
            finally:
                self.gate.set()
                self.run(self.engine.stop(5.0))
                self._loop.call_soon_threadsafe(self._loop.stop)
                thread.join()
                self._loop.close()

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def call(self, function: Callable[[], Any]) -> Any:
        async def work() -> Any:
            return function()

        return self.run(work())

    def channel(self, *options: tuple[str, Any]) -> grpc.Channel:
        return grpc.insecure_channel(f"127.0.0.1:{self.port}", [*UNLIMITED, *options])


@pytest.fixture(scope="module")
def echo() -> Iterator[EchoServer]:
    with EchoServer().running() as server:
        yield server


@pytest.fixture(scope="module")
def method(echo: EchoServer) -> Iterator[grpc.UnaryUnaryMultiCallable]:
    with echo.channel() as channel:
        yield channel.unary_unary(METHOD)


def settled(condition: Callable[[], bool]) -> bool:
    """Whether something becomes true within ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def listens(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(0.2)
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("size", [0, 1, 1000, 65_530, 65_531, 262_144, MIB, 16 * MIB, 64 * MIB])
def test_sizes(method: Any, size: int) -> None:
    """Messages of every size go both ways unharmed."""
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert method(content, timeout=60) == content


def test_many_calls(echo: EchoServer) -> None:
    """A thousand streams at once on one connection, each with an answer of its own."""
    with echo.channel() as channel:
        call = channel.unary_unary(METHOD)
        calls = [call.future(b"%d" % number, timeout=30) for number in range(1000)]
        assert [done.result() for done in calls] == [b"%d" % number for number in range(1000)]


def test_a_thousand_streams_are_open_at_once(echo: EchoServer) -> None:
    """None of them is refused while none is complete."""
    pieces = GREETING + b"".join(headers(stream_id) for stream_id in range(1, 2001, 2))
    ends = b"".join(request(stream_id)[len(headers(1)) :] for stream_id in range(1, 2001, 2))
    with socket.create_connection(("127.0.0.1", echo.port)) as client:
        client.sendall(pieces)
        time.sleep(0.2)
        client.sendall(ends)
        wire = b""
        while wire.count(b"grpc-status") < 1000:
            wire += client.recv(MIB)
    assert {frame.kind for frame in read_frames(wire)} == {
        frames.SETTINGS, frames.WINDOW_UPDATE, frames.HEADERS, frames.DATA,
    }  # fmt: skip


def test_aio(echo: EchoServer) -> None:
    """grpcio's asyncio client, many calls and large ones mixed."""

    async def calls() -> list[bytes]:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{echo.port}", UNLIMITED) as channel:
            call = channel.unary_unary(METHOD)
            return list(await asyncio.gather(*(call(bytes(n * 5000), timeout=30) for n in range(100))))

    assert [len(answer) for answer in asyncio.run(calls())] == [n * 5000 for n in range(100)]


def test_many_connections(echo: EchoServer) -> None:
    """A thousand connections, or as many as there may be files, each with a call, and all are gone in the end."""
    count = min(1000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 200)
    clients = [socket.create_connection(("127.0.0.1", echo.port)) for _ in range(count)]
    for client in clients:
        client.sendall(GREETING + request(1))
    for client in clients:
        wire = b""
        while b"grpc-status" not in wire:
            wire += client.recv(65536)
        client.close()
    assert settled(lambda: len(echo.engine._connections) <= 1)


def test_errors(method: Any) -> None:
    """A handler's error, with its text; a bug is INTERNAL."""
    with pytest.raises(grpc.RpcError) as caught:
        method(b"fail", timeout=10)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, "Größe: fail")
    with pytest.raises(grpc.RpcError) as caught:
        method(b"bug", timeout=10)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "ZeroDivisionError" in caught.value.details()


def test_an_unknown_method(echo: EchoServer) -> None:
    """UNIMPLEMENTED, however large the message would be."""
    with echo.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test.Service/Other")(bytes(10 * MIB), timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_deadlines(method: Any) -> None:
    """A handler is told its deadline, and none where there is none."""
    assert 8 < float(method(b"deadline", timeout=9)) <= 9
    assert method(b"deadline") == b"none"


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compression(method: Any, compression: grpc.Compression) -> None:
    """Compressed messages, small and large."""
    for content in (b"", b"x" * 100, b"compress me " * 1_000_000):
        assert method(content, timeout=30, compression=compression) == content


def test_streaming(echo: EchoServer) -> None:
    """Messages come one by one; an error may follow them; a client may leave in the middle."""
    with echo.channel() as channel:
        count = channel.unary_stream(STREAM)
        assert list(count(b"50", timeout=10)) == [b"%d" % number for number in range(50)]
        with pytest.raises(grpc.RpcError) as caught:
            list(count(b"200", timeout=10))
        assert caught.value.details() == "enough"
        endless = count(b"1000000000")
        assert next(endless) == b"0"
        endless.cancel()
    assert settled(
        lambda: (
            not any(connection.streaming for connection in echo.call(lambda: list(echo.engine._connections)))
        )
    )


def test_clients_that_vanish() -> None:
    """Their requests are dropped, their bytes given back."""
    with EchoServer().running() as server:
        for number in range(20):
            client = socket.create_connection(("127.0.0.1", server.port))
            client.sendall(
                GREETING + headers(1) + request(3, b"wait" if number < 10 else b"x")[: -number or None]
            )
            if number % 2:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
        with server.channel() as channel:
            assert channel.unary_unary(METHOD)(b"well", timeout=10) == b"well"
        server.gate.set()
        assert settled(lambda: not server.engine._connections and not server.engine.in_flight.count)
        assert settled(lambda: server.engine.budget.used == 0)


def test_a_bad_connection_beside_a_good_one(echo: EchoServer, method: Any) -> None:
    """What one client does wrong is nothing to another."""
    for wrong in (
        b"GET / HTTP/1.1\r\n\r\n",
        GREETING + b"\xff" * 100,
        GREETING + headers(2),
        os.urandom(1000),
    ):
        with socket.create_connection(("127.0.0.1", echo.port), timeout=10) as client:
            client.sendall(wrong)
            while client.recv(65536):
                pass
        assert method(b"well", timeout=10) == b"well"


def test_the_byte_budget() -> None:
    """Large messages wait for room in their windows, and are refused after a while; small ones are served."""
    with EchoServer().running(budget=3 * MIB) as server, server.channel() as channel:
        call = channel.unary_unary(METHOD)
        assert len(call(bytes(2 * MIB), timeout=10)) == 2 * MIB
        held = call.future(b"wait" + bytes(2 * MIB), timeout=30)
        assert server.waiting.acquire(timeout=10)
        late = call.future(bytes(2 * MIB), timeout=30)
        with pytest.raises(grpc.RpcError) as caught:
            late.result()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "--max_inflight_bytes" in caught.value.details()
        assert call(b"small", timeout=10) == b"small"
        server.gate.set()
        assert len(held.result()) == 2 * MIB + 4
        assert settled(lambda: server.engine.budget.used == 0)


def test_an_inflated_message_needs_room_too() -> None:
    """A small message that becomes a large one is refused before it is large."""
    bomb = gzip.compress(bytes(50 * MIB))
    with EchoServer().running(budget=MIB) as server:
        fields = [*HEADERS, ("grpc-encoding", "gzip")]
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            body = frames.frame(frames.DATA, frames.END_STREAM, 1, message(bomb, flag=1))
            client.sendall(
                GREETING + request(1, b"", fields)[: -len(frames.frame(0, 0, 1, message(b"")))] + body
            )
            wire = b""
            while b"grpc-status" not in wire:
                wire += client.recv(65536)
        assert b"larger than" in wire
        assert settled(lambda: server.engine.budget.used == 0)


def test_a_client_that_does_not_read(echo: EchoServer, method: Any) -> None:
    """No more of its requests are read when its answers pile up; others go on."""
    with socket.create_connection(("127.0.0.1", echo.port), timeout=0.5) as client:
        client.sendall(GREETING + frames.settings({4: 2**31 - 1}) + frames.window_update(0, 2**30))
        sent = 0
        try:
            for stream_id in range(1, 2001, 2):
                client.sendall(request(stream_id, bytes(60_000)))
                sent += 1
        except TimeoutError:
            pass
        assert sent < 1000
        assert method(b"well", timeout=10) == b"well"


def test_a_stop_loses_nothing() -> None:
    """Calls go on beside a stop: each is answered, or refused in the way that clients try again elsewhere."""
    with EchoServer().running() as first, EchoServer().running() as second:
        target = f"ipv4:127.0.0.1:{first.port},127.0.0.1:{second.port}"
        with grpc.insecure_channel(target, UNLIMITED) as channel:
            call = channel.unary_unary(METHOD)
            assert call(b"up", timeout=10, wait_for_ready=True) == b"up"
            done = threading.Event()
            failed: list[Any] = []
            count = 0

            def load() -> None:
                nonlocal count
                while not done.is_set():
                    try:
                        assert call(b"x", timeout=10, wait_for_ready=True) == b"x"
                        count += 1
                    except grpc.RpcError as error:
                        failed.append((error.code(), error.details()))

            threads = [threading.Thread(target=load) for _ in range(4)]
            for thread in threads:
                thread.start()
            time.sleep(0.2)
            first.run(first.engine.stop(5.0))
            served = count
            time.sleep(0.2)
            done.set()
            for thread in threads:
                thread.join()
            assert failed == []
            assert count > served > 0


def test_requests_in_flight_finish_at_a_stop() -> None:
    """The call that runs is answered; the port is closed meanwhile."""
    with EchoServer().running() as server, server.channel() as channel:
        call = channel.unary_unary(METHOD).future(b"wait", timeout=30)
        assert server.waiting.acquire(timeout=10)
        stopping = threading.Thread(target=lambda: server.run(server.engine.stop(10.0)))
        stopping.start()
        assert settled(lambda: not listens(server.port))
        server.gate.set()
        assert call.result() == b"wait"
        stopping.join(10)
        assert not stopping.is_alive()


@pytest.mark.parametrize("host", ["nonsense.invalid", "no\udcffhost", "1.2.3.4.5"])
def test_an_address_that_is_none(host: str) -> None:
    """The start says so."""
    with pytest.raises(InvalidArgumentError, match="cannot bind"), EchoServer().running(host=host):
        pass


def test_a_unix_socket(tmp_path: Path) -> None:
    """It is served, a stale one is replaced, and it is gone afterwards."""
    path = tmp_path / "grpc.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with EchoServer().running(socket_path=str(path)), grpc.insecure_channel(f"unix:{path}") as channel:
        assert channel.unary_unary(METHOD)(b"hello", timeout=10) == b"hello"
    assert not path.exists()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A key and a certificate for localhost."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    directory = tmp_path_factory.mktemp("tls")
    key, cert = directory / "key.pem", directory / "cert.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert]  # type: ignore[list-item]
    subprocess.run(command, check=True, capture_output=True)
    return key, cert


def test_tls(certificate: tuple[Path, Path]) -> None:
    """With a context the port speaks TLS, and HTTP/2 where both sides say so by ALPN; others are turned away."""
    key, cert = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.set_alpn_protocols(["h2"])
    with EchoServer(tls=context).running() as server:
        credentials = grpc.ssl_channel_credentials(cert.read_bytes())
        with grpc.secure_channel(f"localhost:{server.port}", credentials, UNLIMITED) as channel:
            for size in (0, 10, MIB):
                assert len(channel.unary_unary(METHOD)(bytes(size), timeout=10)) == size
        plain = ssl.create_default_context(cafile=str(cert))
        with (
            socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw,
            plain.wrap_socket(raw, server_hostname="localhost") as client,
            suppress(OSError),  # it may be reset
        ):
            assert client.recv(100) == b""


# --- clients of other makes ------------------------------------------------------------------------------------------


def test_h2load(echo: EchoServer, tmp_path: Path) -> None:
    """nghttp2: many connections and streams, all answered."""
    if shutil.which("h2load") is None:
        pytest.skip("h2load is not installed")
    body = tmp_path / "body"
    body.write_bytes(message(b"hello" * 100))
    command = ["h2load", "-n5000", "-c20", "-m50", "-t1", f"-d{body}", "-H", "content-type: application/grpc"]
    command += ["-H", "te: trailers", f"http://127.0.0.1:{echo.port}{METHOD}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert re.search(r"5000 succeeded, 0 failed", done.stdout), done.stdout


def test_curl(echo: EchoServer, tmp_path: Path) -> None:
    """curl speaks HTTP/2 with prior knowledge; what is no gRPC gets an HTTP status."""
    if (
        shutil.which("curl") is None
        or "HTTP2" not in subprocess.run(["curl", "-V"], capture_output=True, text=True).stdout
    ):
        pytest.skip("curl with HTTP/2 is not installed")
    url = f"http://127.0.0.1:{echo.port}{METHOD}"
    curl = ["curl", "--silent", "--http2-prior-knowledge", "--max-time", "10"]
    status = ["--output", "/dev/null", "--write-out", "%{http_code}"]
    assert subprocess.run([*curl, *status, url], capture_output=True, text=True).stdout == "405"
    assert subprocess.run([*curl, *status, "-d", "x", url], capture_output=True, text=True).stdout == "415"
    body = tmp_path / "body"
    body.write_bytes(message(b"hello"))
    grpc_headers = ["-H", "content-type: application/grpc", "-H", "te: trailers", "--data-binary", f"@{body}"]
    assert subprocess.run([*curl, *grpc_headers, url], capture_output=True).stdout == message(b"hello")


def test_python_h2(echo: EchoServer) -> None:
    """The h2 package as a client: windows, padding, priorities, pings, and a message in small pieces."""
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1000})
    content = message(bytes(range(256)) * 1000)
    received, trailers = b"", {}
    with socket.create_connection(("127.0.0.1", echo.port), timeout=10) as connection:
        client.send_headers(1, HEADERS, priority_weight=20, priority_depends_on=0, priority_exclusive=True)
        client.ping(b"12345678")
        position = 0
        ended = False
        while not ended:
            while position < len(content) and (room := client.local_flow_control_window(1)) > 50:
                piece = content[position : position + min(room - 20, 5000)]
                position += len(piece)
                client.send_data(1, piece, end_stream=position == len(content), pad_length=10)
            connection.sendall(client.data_to_send())
            for event in client.receive_data(connection.recv(65536)):
                if isinstance(event, h2.events.DataReceived):
                    received += event.data
                    client.acknowledge_received_data(event.flow_controlled_length, 1)
                elif isinstance(event, h2.events.TrailersReceived):
                    trailers = dict(event.headers)
                elif isinstance(event, h2.events.StreamEnded):
                    ended = True
    assert received == content
    assert trailers[b"grpc-status"] == b"0"


_GRPC_JS = """
const grpc = require('@grpc/grpc-js');
const same = (x) => x;
const Client = grpc.makeGenericClientConstructor({
  call: {path: '/test.Service/Method', requestStream: false, responseStream: false, requestSerialize: same,
         requestDeserialize: same, responseSerialize: same, responseDeserialize: same},
});
const client = new Client('127.0.0.1:' + process.argv[1], grpc.credentials.createInsecure(),
                          {'grpc.max_receive_message_length': -1});
let left = 200;
for (let i = 0; i < 200; i++) {
  client.call(Buffer.alloc(i * 2000, i), {deadline: Date.now() + 10000 + i}, (error, answer) => {
    if (error || answer.length !== i * 2000) { console.error(error || answer.length); process.exit(1); }
    if (--left === 0) client.call(Buffer.from('fail'), (error) => {
      console.log(error.code, error.details);
      process.exit(0);
    });
  });
}
"""


def test_grpc_js(echo: EchoServer) -> None:
    """The client of Node.js, which changes its deadlines and Huffman-codes its headers; where it is installed."""
    if (
        shutil.which("node") is None
        or subprocess.run(["node", "-e", "require('@grpc/grpc-js')"], capture_output=True).returncode
    ):
        pytest.skip("@grpc/grpc-js is not installed (set NODE_PATH)")
    done = subprocess.run(
        ["node", "-e", _GRPC_JS, str(echo.port)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "5 Größe: fail", done.stderr
