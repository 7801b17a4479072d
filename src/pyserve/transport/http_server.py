"""HTTP/1.1 by aiohttp's low-level server: sockets and bytes around the pure APIs.

aiohttp parses; everything that has a meaning is decided in `rest.py` and `admin.py`. Its conveniences are
switched off where they would decide instead: the target is taken as sent (`raw_path`), bodies are not inflated,
and its error pages are replaced by ours.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import time
from dataclasses import replace

from aiohttp import HttpVersion11, web
from aiohttp.web_protocol import RequestPayloadError

from pyserve.codec.inflate import is_gzip, is_zlib
from pyserve.errors import (
    CancelledError,
    DeadlineExceededError,
    ServingError,
    UnavailableError,
    as_serving_error,
)
from pyserve.transport.budget import ByteBudget, Holding
from pyserve.transport.dispatch import INLINE_BYTES, Dispatcher
from pyserve.transport.http import HttpApi, HttpRequest, HttpResponse, html_error
from pyserve.transport.http_connection import Connections
from pyserve.transport.in_flight import InFlight
from pyserve.transport.listener import BACKLOG, listen_on, stop_accepting
from pyserve.transport.status import BodyTooLargeError

logger = logging.getLogger(__name__)

# TensorFlow Serving limits neither; these only keep a single line from eating the memory.
_MAX_LINE_BYTES = 64 * 1024
_MAX_FIELD_BYTES = 64 * 1024
# How long open connections may still begin a request after that; their clients may have sent it already.
_LAST_REQUESTS_S = 0.1
# Somebody who has just connected is about to send, if only the network or a busy machine lets him. Who has said
# nothing for longer keeps his connection in store.
_NEWCOMER_S = 1.0
_NEWCOMER_CHECKS = 50

# JSON above this is parsed on another thread: a hostile kilobyte takes a millisecond.
_INLINE_JSON_BYTES = INLINE_BYTES // 16
# A gzip body above this is inflated on another thread: it can become a thousand times as large.
_INLINE_GZIP_BYTES = INLINE_BYTES // 64

# What TensorFlow Serving's HTTP library says for statuses that it has no phrase for.
_PHRASES = {429: "Client Error", 450: "Queue Full", 499: "Client Error"}

# aiohttp logs each malformed request with a traceback; a client's mistake is not our error.
_parser_log = logging.getLogger(__name__ + ".parser")
_parser_log.setLevel(logging.CRITICAL)


class HttpServer:
    """Serves an API on the running event loop.

    Args:
        api: Decides the answers.
        dispatcher: Runs what it returns.
        budget: For the bodies of requests; shared with the other front ends.
        max_body_bytes: How large a body may be as it is sent.
        max_connections: How many connections may be open; one more is answered 503 and closed.
        idle_timeout_s: How long a connection may be silent before, inside and after a request, and how long a caller
            may leave an answer unread.
    """

    def __init__(
        self,
        api: HttpApi,
        dispatcher: Dispatcher,
        budget: ByteBudget,
        *,
        max_body_bytes: int,
        max_connections: int,
        idle_timeout_s: float,
    ) -> None:
        self._api = api
        self._dispatcher = dispatcher
        self._budget = budget
        self._max_body_bytes = max_body_bytes
        self._max_connections = max_connections
        self._idle_timeout_s = idle_timeout_s
        self._protocols: Connections | None = None
        self._server: asyncio.Server | None = None
        self._listener: socket.socket | None = None
        self._closing = False  # every answer closes its connection
        self._in_flight = InFlight()

    async def start(self, host: str | None, port: int) -> int:
        """Bind and serve; port 0 takes a free one. Without a host: all addresses, IPv6 and IPv4.

        Returns:
            The port bound.

        Raises:
            UnavailableError: The port cannot be bound.
        """
        self._protocols = Connections(
            self._handle,
            lambda status: _sent(html_error(status)),
            self._max_connections,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=self._idle_timeout_s,
            # How long the rest of a refused body is read and thrown away, so that the caller gets to see the answer.
            lingering_time=min(10.0, self._idle_timeout_s),
            logger=_parser_log,
            max_field_size=_MAX_FIELD_BYTES,
            max_line_size=_MAX_LINE_BYTES,
        )
        try:
            listener = self._listener = listen_on(host, port)
        except (OSError, TypeError, ValueError) as error:  # the latter two for what can be no host
            raise UnavailableError(
                f"cannot bind port {port} of {host or 'every address'}: {error}"
            ) from error
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._protocols, sock=listener, backlog=BACKLOG)
        bound: int = listener.getsockname()[1]
        return bound

    async def stop(self, grace_s: float) -> None:
        """Accept nothing new, let requests in flight finish within `grace_s` seconds, close every connection.

        A connection that was accepted belongs to somebody who is about to send, or is sending: it is not closed while
        its request comes in, but with the answer, which says so.
        """
        if self._server is None or self._protocols is None:
            return
        assert self._listener is not None
        await stop_accepting(self._server, self._listener)
        self._closing = True
        if self._protocols.connections:
            await asyncio.sleep(_LAST_REQUESTS_S)
            await self._hear_newcomers(self._protocols)
        if not await self._in_flight.finished(grace_s):
            logger.warning("%d HTTP requests cut off at shutdown", self._in_flight.count)
        self._protocols.pre_shutdown()  # what is open now is idle
        await self._protocols.shutdown(timeout=1.0)
        self._server = self._protocols = self._listener = None

    async def _hear_newcomers(self, protocols: Connections) -> None:
        """Wait until everybody who has just connected has begun to send, but not for long."""
        for _ in range(_NEWCOMER_CHECKS):
            if not protocols.any_new(_NEWCOMER_S):
                return
            await asyncio.sleep(_NEWCOMER_S / _NEWCOMER_CHECKS)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        with self._in_flight:
            answer = await self._answer(request)
            if self._closing:
                answer.force_close()
            return answer

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        head = HttpRequest(
            request.method,
            request.raw_path,
            request.headers,
            b"",
            local_address=functools.partial(request.get_extra_info, "sockname"),
        )
        try:
            deadline = self._api.deadline(head)
        except ServingError as error:
            return _sent(replace(self._api.refuse(head, error), close=True))
        if deadline is not None:
            head = replace(head, deadline=deadline)
        with self._budget.holding() as held:
            try:
                body = b"" if not request.body_exists else await self._read_until(deadline, request, held)
            except BodyTooLargeError as error:
                return _sent(replace(self._api.refuse(head, error), status=413, close=True))
            except ServingError as error:
                return _sent(replace(self._api.refuse(head, error), close=True))
            return _sent(await self._respond(replace(head, body=body) if body else head))

    async def _respond(self, received: HttpRequest) -> HttpResponse:
        size = len(received.body)
        body = received.body
        # Clients of EAS compress without saying so; neither JSON nor a protobuf request begins as gzip or zlib does.
        packed = "Content-Encoding" in received.headers or is_gzip(body) or is_zlib(body)
        inline = _INLINE_GZIP_BYTES if packed else _INLINE_JSON_BYTES
        if size > inline:
            size = INLINE_BYTES + 1  # to another thread
        try:
            response = await self._dispatcher.answer(lambda: self._api.begin(received), size)
        except ServingError as error:
            response = self._api.error(received, error)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            logger.exception("The REST handler failed")
            response = self._api.error(received, as_serving_error(error))
        return response

    async def _read_until(self, deadline: float | None, request: web.BaseRequest, held: Holding) -> bytes:
        """The whole body, if it is there by the deadline, on `time.monotonic()`. Raises as `_read`."""
        if deadline is None:
            return await self._read(request, held)
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await self._read(request, held)
        except TimeoutError as error:
            raise DeadlineExceededError("The request's body did not arrive in time") from error

    async def _read(self, request: web.BaseRequest, held: Holding) -> bytes:
        """The whole body, accounted for as it comes in.

        Raises:
            BodyTooLargeError: It is larger than allowed; nothing more of it is kept.
            ResourceExhaustedError: Too many bytes are in flight, and stayed so while this waited.
            DeadlineExceededError: The caller was silent for too long.
            CancelledError: It ended before it was complete.
        """
        limit = self._max_body_bytes
        if (request.content_length or 0) > limit:
            raise BodyTooLargeError.of(limit)
        expected = request.headers.get("Expect", "").lower() == "100-continue"
        if expected and request.version >= HttpVersion11 and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        parts: list[bytes] = []
        content = request.content
        try:
            while not content.at_eof():
                if content.is_eof():
                    part = await content.readany()
                else:
                    async with asyncio.timeout(self._idle_timeout_s):
                        part = await content.readany()
                if held.count + len(part) > limit:
                    raise BodyTooLargeError.of(limit)
                await held.take_or_wait(len(part))
                parts.append(part)
        except TimeoutError as error:
            raise DeadlineExceededError("The request's body did not arrive") from error
        except (ConnectionError, RequestPayloadError) as error:
            # It ended in the middle, or its chunks are malformed; either way there is nothing more to come.
            raise CancelledError("The request's body ended before it was complete") from error
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _sent(response: HttpResponse) -> web.Response:
    sent = web.Response(
        status=response.status,
        reason=_PHRASES.get(response.status),
        body=response.body,
        headers=dict(response.headers),
    )
    if response.content_type:
        sent.headers["Content-Type"] = response.content_type
    sent.headers["Server"] = "pyserve"
    if response.close:
        sent.force_close()
    return sent
