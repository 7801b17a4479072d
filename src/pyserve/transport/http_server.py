"""HTTP/1.1 by aiohttp's low-level server: sockets and bytes around the pure APIs.

aiohttp parses; everything that has a meaning is decided in `rest.py` and `admin.py`. Its conveniences are
switched off where they would decide instead: the target is taken as sent (`raw_path`), bodies are not inflated,
and its error pages are replaced by ours.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from typing import Protocol

from aiohttp import web
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from pyserve.errors import CancelledError, InternalError, ServingError, Status, UnavailableError
from pyserve.inference.call import Call
from pyserve.transport.dispatch import Dispatcher
from pyserve.transport.http import HttpRequest, HttpResponse, html_error
from pyserve.transport.in_flight import InFlight

logger = logging.getLogger(__name__)

# TensorFlow Serving limits neither; these only keep a single line from eating the memory.
_MAX_LINE_BYTES = 64 * 1024
_MAX_FIELD_BYTES = 64 * 1024
_LISTEN_BACKLOG = 1024
# Rounds of the event loop between the wish to stop and the end of accepting.
_LAST_ACCEPTS = 5

# aiohttp logs each malformed request with a traceback; a client's mistake is not our error.
_parser_log = logging.getLogger(__name__ + ".parser")
_parser_log.setLevel(logging.CRITICAL)


class HttpApi(Protocol):
    """What an HTTP server serves: a pure function of the request."""

    def begin(self, request: HttpRequest) -> HttpResponse | Call[HttpResponse]:
        """The response, or what to run for it; raises ServingError."""
        ...

    def error(self, status: Status) -> HttpResponse:
        """The response that reports a failure."""
        ...


class HttpServer:
    """Serves an API on the running event loop.

    Args:
        api: Decides the answers.
        dispatcher: Runs what it returns.
    """

    def __init__(self, api: HttpApi, dispatcher: Dispatcher) -> None:
        self._api = api
        self._dispatcher = dispatcher
        self._protocols: _Protocols | None = None
        self._server: asyncio.Server | None = None
        self._listener: socket.socket | None = None
        self._in_flight = InFlight()

    async def start(self, host: str | None, port: int) -> int:
        """Bind and serve; port 0 takes a free one. Without a host: all addresses, IPv6 and IPv4.

        Returns:
            The port bound.

        Raises:
            UnavailableError: The port cannot be bound.
        """
        self._protocols = _Protocols(
            self._handle,
            access_log=None,
            auto_decompress=False,
            logger=_parser_log,
            max_field_size=_MAX_FIELD_BYTES,
            max_line_size=_MAX_LINE_BYTES,
        )
        try:
            listener = self._listener = _listener(host, port)
        except OSError as error:
            raise UnavailableError(f"cannot bind port {port}: {error.strerror}") from error
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._protocols, sock=listener, backlog=_LISTEN_BACKLOG)
        bound: int = listener.getsockname()[1]
        return bound

    async def stop(self, grace_s: float) -> None:
        """Accept nothing new, let requests in flight finish within `grace_s` seconds, close every connection."""
        if self._server is None or self._protocols is None:
            return
        # The kernel may have connections for us that the loop has not accepted yet; closing would reset them. So the
        # queue is made as short as it can be, what is in it is accepted, and then it is closed.
        if self._listener is not None:
            self._listener.listen(0)
        for _ in range(_LAST_ACCEPTS):
            await asyncio.sleep(0)
        self._server.close()
        self._protocols.pre_shutdown()  # idle connections close now, busy ones after their answer
        if not await self._in_flight.finished(grace_s):
            logger.warning("%d HTTP requests cut off at shutdown", self._in_flight.count)
        await self._protocols.shutdown(timeout=1.0)
        self._server = self._protocols = self._listener = None

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        with self._in_flight:
            return await self._answer(request)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            body = b"" if not request.body_exists else await _read(request)
            received = HttpRequest(request.method, request.raw_path, request.headers, body)
            response = await self._dispatcher.answer(lambda: self._api.begin(received), len(body))
        except ServingError as error:
            response = self._api.error(Status.of(error))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            logger.exception("The REST handler failed")
            response = self._api.error(Status.of(InternalError(f"{type(error).__name__}: {error}")))
        return _sent(response)


def _sent(response: HttpResponse) -> web.Response:
    sent = web.Response(status=response.status, body=response.body, headers=dict(response.headers))
    sent.headers["Content-Type"] = response.content_type
    sent.headers["Server"] = "pyserve"
    if response.close:
        sent.force_close()
    return sent


async def _read(request: web.BaseRequest) -> bytes:
    parts: list[bytes] = []
    try:
        while part := await request.content.readany():
            parts.append(part)
    except (ConnectionError, RequestPayloadError) as error:
        # It ended in the middle, or its chunks are malformed; either way there is nothing more to come.
        raise CancelledError("The request's body ended before it was complete") from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _listener(host: str | None, port: int) -> socket.socket:
    """A bound socket: dual-stack IPv6, or IPv4 where IPv6 cannot be had, as TensorFlow Serving binds."""
    if host is not None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return _bound(family, host, port)
    try:
        return _bound(socket.AF_INET6, "::", port)
    except OSError as error:
        # A port in use is no reason to fall back: IPv4 alone might be free, and half of the clients would fail.
        if error.errno == errno.EADDRINUSE:
            raise
        return _bound(socket.AF_INET, "0.0.0.0", port)


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.setblocking(False)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


class _Protocol(RequestHandler):
    """aiohttp's connection, with our page for requests that it cannot parse."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, Exception) and status >= 500:
            logger.error("Answering an HTTP request failed", exc_info=exc)
        return _sent(html_error(status, message or ""))


class _Protocols(web.Server):
    """aiohttp's server, making our protocol for each connection."""

    def __call__(self) -> RequestHandler:
        return _Protocol(self, loop=self._loop, **self._kwargs)
