"""What a gRPC call costs by engine: bare echo handlers on grpcio's server and on pyserve's own, in one run.

    python benchmarks/grpc_engines.py [--rounds 7] [--calls 20000] [--models]

Both servers run at once and are loaded in turn, round by round, at 1, 8 and 64 calls in flight, by a client that sends
requests encoded beforehand and only counts answers. `fixed`: the header is the same in each call. `unique`: each call
has a deadline and a traceparent of its own, as real clients send them. With --models, half_plus_two in two servers too.
Prints medians: calls per second, the server's CPU time per call, the client's share of a core (a row in which that
reaches 90 % says nothing about the server), and the ratio of the two engines' CPU times.
"""

from __future__ import annotations

import argparse
import random
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import hpack
from grpc_cost import body, cpu_s

from h2_wire import GREETING, data, headers, replaced, settings
from pyserve.transport.h2 import frames
from servers import EXAMPLES, ServerProcess, free_port

METHOD = "/tensorflow.serving.PredictionService/Predict"
IN_FLIGHT = {1: (1, 1), 8: (8, 1), 64: (8, 8)}  # in flight → connections, streams on each
LIMITS_AWAY = settings(window=2**31 - 1) + frames.window_update(0, 2**30)

_ECHO = """
import asyncio, sys
import grpc, grpc.aio
from concurrent.futures import ThreadPoolExecutor
from pyserve.transport.budget import ByteBudget
from pyserve.transport.dispatch import Dispatcher
from pyserve.transport.grpc_native import NativeGrpcServer
METHOD = "/tensorflow.serving.PredictionService/Predict"
class Echo(grpc.GenericRpcHandler):
    def __init__(self):
        async def echo(data, context):
            return data
        self.method = grpc.unary_unary_rpc_method_handler(echo)
    def service(self, details):
        return self.method
async def main():
    if sys.argv[2] == "grpcio":
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        server = grpc.aio.server(handlers=[Echo()], options=options)
        server.add_insecure_port("127.0.0.1:" + sys.argv[1])
        await server.start()
    else:
        dispatcher = Dispatcher(lambda task: None, ThreadPoolExecutor(1))
        handlers = {METHOD: lambda data, deadline: data}
        server = NativeGrpcServer(handlers, dispatcher, ByteBudget(2**31))
        await server.start("127.0.0.1", int(sys.argv[1]))
    print("ready", flush=True)
    await asyncio.Event().wait()
try:
    import uvloop
    uvloop.run(main())
except ImportError:
    asyncio.run(main())
"""


class Client:
    """One connection, with its requests encoded beforehand in batches."""

    def __init__(self, port: int, batches: int, streams: int, payload: bytes, *, unique: bool) -> None:
        self._streams = streams
        self._batches = list(_batches(batches, streams, payload, unique))
        self._rest = b""
        self._missing = self._messages = 0
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(GREETING + LIMITS_AWAY)

    def next(self) -> bool:
        """Send the next batch; False when there is none."""
        if not self._batches:
            return False
        self.socket.sendall(self._batches.pop())
        self._missing = self._streams
        return True

    def read(self) -> bool:
        """Take what has come; whether the batch is answered."""
        wire = self._rest + self.socket.recv(1 << 18)
        position = 0
        while len(wire) - position >= frames.HEADER_BYTES:
            high, low, kind, flags, _ = frames.read_header(wire, position)
            end = position + frames.HEADER_BYTES + (high << 16 | low)
            if end > len(wire):
                break
            if kind == frames.HEADERS and flags & frames.END_STREAM:
                self._missing -= 1
                self._messages -= 1  # an error has none
                if self._messages < 0:
                    raise RuntimeError(f"an answer without a message: {wire[position:end]!r}")
            elif kind == frames.DATA:
                self._messages += 1
            elif kind == frames.PING and not flags:
                self.socket.sendall(frames.frame(frames.PING, frames.ACK, 0, wire[end - 8 : end]))
            position = end
        self._rest = wire[position:]
        return not self._missing


def _batches(count: int, streams: int, payload: bytes, unique: bool) -> Iterator[bytes]:
    """The batches, the last one first: they are taken from the end."""
    encoder = hpack.Encoder()
    fields = [
        *replaced((":path", METHOD)),
        ("user-agent", "grpc-python/1.80.0 grpc-c/50.0.0 (linux; chttp2)"),
    ]
    made = []
    stream_id = 1
    for _ in range(count):
        batch = b""
        for _ in range(streams):
            extra = []
            if unique:
                extra = [("grpc-timeout", f"{random.randrange(10**6, 10**7)}u")]
                extra += [
                    ("traceparent", f"00-{random.getrandbits(128):032x}-{random.getrandbits(64):016x}-01")
                ]
            batch += headers(stream_id, encoder.encode([*fields, *extra])) + data(stream_id, payload)
            stream_id += 2
        made.append(batch)
    return reversed(made)


def load(port: int, pid: int, in_flight: int, calls: int, *, unique: bool) -> tuple[float, float, float]:
    """Calls per second, the server's CPU seconds per call, and the client's share of a core."""
    connections, streams = IN_FLIGHT[in_flight]
    batches = calls // connections // streams
    clients = [Client(port, batches, streams, body(), unique=unique) for _ in range(connections)]
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.socket, selectors.EVENT_READ, client)
        before, mine, began = cpu_s(pid), resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
        for client in clients:
            client.next()
        left = len(clients)
        while left:
            for key, _ in selector.select():
                if key.data.read() and not key.data.next():
                    selector.unregister(key.fileobj)
                    left -= 1
        seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
        cpu = cpu_s(pid) - before
    for client in clients:
        client.socket.close()
    own = after.ru_utime + after.ru_stime - mine.ru_utime - mine.ru_stime
    done = batches * connections * streams
    return done / seconds, cpu / done, own / seconds


@contextmanager
def echo(engine: str) -> Iterator[tuple[int, int]]:
    """An echo server: its port and process."""
    port = free_port()
    command = [sys.executable, "-c", _ECHO, str(port), engine]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield port, process.pid
        finally:
            process.terminate()


@contextmanager
def whole(engine: str) -> Iterator[tuple[int, int]]:
    """A pyserve with half_plus_two."""
    arguments = [f"--model_base_path={EXAMPLES / 'half_plus_two'}", f"--grpc_engine={engine}"]
    with ServerProcess(arguments, rest=False) as server:
        yield server.grpc_port, server.pid


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--models", action="store_true")
    arguments = parser.parse_args()
    for kind in (echo, whole) if arguments.models else (echo,):
        with ExitStack() as stack:
            targets = {engine: stack.enter_context(kind(engine)) for engine in ("grpcio", "native")}
            for in_flight in IN_FLIGHT:
                for unique in (False, True):
                    seen: dict[str, list[tuple[float, float, float]]] = {engine: [] for engine in targets}
                    for _ in range(arguments.rounds):
                        for engine, (port, pid) in targets.items():
                            seen[engine].append(load(port, pid, in_flight, arguments.calls, unique=unique))
                    medians = {}
                    for engine, rows in seen.items():
                        rate, cpu, own = (statistics.median(column) for column in zip(*rows, strict=True))
                        medians[engine] = cpu
                        print(
                            f"{kind.__name__:>5}, {in_flight:2} in flight, {'unique' if unique else 'fixed':>6}, "
                            f"{engine:>6}: {rate:7.0f} calls/s, {cpu * 1e6:6.1f} µs CPU per call, client {own:.0%}"
                        )
                    print(f"{'':31}ratio: {medians['grpcio'] / medians['native']:.1f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
