"""gRPC by pyserve's own engine: the ports, and the life of connections. Same handlers as grpcio's, same wire.

HTTP/2 itself is in `h2/`, one connection in `grpc_connection.py`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from pyserve.errors import InvalidArgumentError
from pyserve.inference.call import Handler, StreamHandler
from pyserve.transport.budget import ByteBudget
from pyserve.transport.dispatch import Dispatcher
from pyserve.transport.grpc_arguments import read_arguments
from pyserve.transport.grpc_connection import GrpcConnection
from pyserve.transport.h2.abuse import ATTACKS, Counts
from pyserve.transport.h2.frames import DEFAULT_WINDOW
from pyserve.transport.in_flight import InFlight
from pyserve.transport.listener import BACKLOG, listen_on, stop_accepting

logger = logging.getLogger(__name__)

_TICK_S = 1.0
# How long clients may take to hear that the server stops, and to close their connections when they have their answers.
_FAREWELL_S = 1.2
_FAREWELL_CHECK_S = 0.005


class NativeGrpcServer:
    """Serves unary and server-streaming methods on the running event loop.

    Args:
        handlers: Full method name (`/package.Service/Method`) → handler.
        dispatcher: Runs what the handlers return.
        budget: For the bytes of requests; a message's window grows only as there is room for it.
        streams: Full method name → handler of a server-streaming method.
        arguments: gRPC channel arguments; those that mean nothing here are warned about.
        tls: Speaks TLS on the TCP port, and must offer `h2` by ALPN; None: clients know that they speak HTTP/2.

    Attributes:
        counts: How often each bound of `h2/abuse.py` was met.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        dispatcher: Dispatcher,
        budget: ByteBudget,
        *,
        streams: Mapping[str, StreamHandler] = MappingProxyType({}),
        arguments: Mapping[str, int | str] = MappingProxyType({}),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        read = read_arguments(arguments)
        self.handlers = handlers
        self.streams = streams
        self.methods = frozenset({*handlers, *streams})
        self.dispatcher = dispatcher
        self.budget = budget
        # All connections together may have half of the budget on its way; one must not have more.
        window = max(DEFAULT_WINDOW, min(read.limits.window, budget.limit // 2))
        self.limits = replace(read.limits, window=window)
        self.counts: Counts = Counts(dict.fromkeys(ATTACKS, 0))
        self.in_flight = InFlight()
        self.closing = False
        self._max_connections = read.max_connections
        self._reuse_port = read.reuse_port
        self._tls = tls
        self._listeners: list[tuple[asyncio.Server, socket.socket]] = []
        self._socket_path: Path | None = None
        self._connections: set[GrpcConnection] = set()
        self._to_flush: list[GrpcConnection] = []
        self._ticks: asyncio.TimerHandle | None = None

    async def start(self, host: str, port: int | None, socket_path: str = "") -> int | None:
        """Bind and serve.

        Args:
            host: IPv4 or IPv6 address.
            port: 0 takes a free one; None: no TCP.
            socket_path: UNIX socket to listen on too; a stale one in its place is replaced.

        Returns:
            The TCP port bound, or None without TCP.

        Raises:
            InvalidArgumentError: An address cannot be bound.
        """
        bound = None
        if port is not None:
            address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            await self._serve(lambda: listen_on(host, port, reuse_port=self._reuse_port), address, self._tls)
            bound = int(self._listeners[0][1].getsockname()[1])
        if socket_path:
            self._socket_path = Path(socket_path)
            await self._serve(lambda: _unix_listener(Path(socket_path)), f"unix:{socket_path}", None)
        self._ticks = self.dispatcher.loop.call_later(_TICK_S, self._tick)
        return bound

    async def _serve(
        self, bind: Callable[[], socket.socket], address: str, tls: ssl.SSLContext | None
    ) -> None:
        try:
            listener = bind()
        except (OSError, TypeError, ValueError) as error:  # the latter two for what can be no host
            await self.stop(0.0)
            raise InvalidArgumentError(
                f"Failed to BuildAndStart gRPC server: cannot bind {address}: {error}"
            ) from None
        loop = self.dispatcher.loop
        handshake_s = None if tls is None else self.limits.handshake_s
        if listener.family is socket.AF_INET or listener.family is socket.AF_INET6:
            server = await loop.create_server(
                lambda: GrpcConnection(self),
                sock=listener,
                backlog=BACKLOG,
                ssl=tls,
                ssl_handshake_timeout=handshake_s,
            )
        else:
            server = await loop.create_unix_server(
                lambda: GrpcConnection(self), sock=listener, backlog=BACKLOG
            )
        self._listeners.append((server, listener))

    async def stop(self, grace_s: float) -> None:
        """Accept nothing new; tell every client; wait for requests in flight, at most `grace_s` seconds; close.

        Requests that are on their way when a client is told are served too; later ones go elsewhere: gRPC's clients
        see that they were not begun, and try them again by themselves.
        """
        listeners, self._listeners = self._listeners, []
        for server, listener in listeners:
            await stop_accepting(server, listener)
        if self._socket_path is not None and listeners:
            with suppress(OSError):
                self._socket_path.unlink()
        self.closing = True
        for connection in list(self._connections):
            connection.shut_down()
        await self._until(lambda: all(connection.is_told for connection in self._connections))
        if not await self.in_flight.finished(grace_s):
            logger.warning("%d gRPC requests cut off at shutdown", self.in_flight.count)
        streaming = [task for connection in self._connections for task in connection.streaming]
        for task in streaming:
            task.cancel()
        await asyncio.gather(*streaming, return_exceptions=True)
        await self._until(lambda: not self._connections)
        for connection in list(self._connections):
            connection.abort()
        if self._ticks is not None:
            self._ticks.cancel()
            self._ticks = None

    async def _until(self, done: Callable[[], bool]) -> None:
        """Wait for clients, but not for long."""
        for _ in range(int(_FAREWELL_S / _FAREWELL_CHECK_S)):
            if done():
                return
            await asyncio.sleep(_FAREWELL_CHECK_S)

    def _tick(self) -> None:
        now = time.monotonic()
        for connection in list(self._connections):
            connection.tick(now)
        self._ticks = self.dispatcher.loop.call_later(_TICK_S, self._tick)

    # --- for the connections -------------------------------------------------------------------------------------

    def welcome(self, connection: GrpcConnection) -> bool:
        """A client has connected; whether there is room for it."""
        if self._max_connections is not None and len(self._connections) >= self._max_connections:
            return False
        self._connections.add(connection)
        return True

    def farewell(self, connection: GrpcConnection) -> None:
        """It is gone."""
        self._connections.discard(connection)

    def flush_soon(self, connection: GrpcConnection) -> None:
        """Write a connection's answers when all of this round of the loop are there."""
        if not self._to_flush:
            self.dispatcher.loop.call_soon(self._flush)
        self._to_flush.append(connection)

    def _flush(self) -> None:
        connections, self._to_flush = self._to_flush, []
        for connection in dict.fromkeys(connections):
            connection.flush()


def _unix_listener(path: Path) -> socket.socket:
    """A bound UNIX socket; a socket that a server left there is replaced."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.bind(str(path))
    except OSError:
        listener.close()
        raise
    return listener
