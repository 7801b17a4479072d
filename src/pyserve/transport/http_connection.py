"""aiohttp's connections, with the rules of ours that it lacks.

A request that cannot be parsed gets our page; connections beyond a limit are turned away; a caller that does not read
its answer is cut off. (Silence before, between and inside the heads of requests is cut off by aiohttp itself, that
inside bodies by whoever reads them.)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

logger = logging.getLogger(__name__)

_TURNED_AWAY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class _Connection(RequestHandler):
    """One connection.

    Args:
        manager: The server.
        page: status → response for a request that cannot be parsed.
        unread_timeout_s: How long an answer may make no progress.
        settings: aiohttp's.
    """

    __slots__ = ("_page", "_silent_since", "_unread", "_unread_check", "_unread_timeout_s")

    def __init__(
        self,
        manager: web.Server,
        page: Callable[[int], web.Response],
        unread_timeout_s: float,
        **settings: Any,
    ) -> None:
        super().__init__(manager, **settings)
        self._page = page
        self._unread_timeout_s = unread_timeout_s
        self._unread = 0
        self._unread_check: asyncio.TimerHandle | None = None
        self._silent_since: float | None = self._loop.time()

    def data_received(self, data: bytes) -> None:
        self._silent_since = None
        super().data_received(data)

    def is_new(self, age_s: float) -> bool:
        """Whether nothing was ever sent here, and the connection is younger than `age_s` seconds."""
        return self._silent_since is not None and self._loop.time() - self._silent_since < age_s

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, Exception) and status >= 500:
            logger.error("Answering an HTTP request failed", exc_info=exc)
        return self._page(status)  # aiohttp's message is in its own words, and quotes the request

    def pause_writing(self) -> None:
        """asyncio: much of an answer is waiting for the caller to read."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """asyncio: most of it has been read."""
        super().resume_writing()
        self._stop_watching()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def _watch_reader(self) -> None:
        transport = self.transport
        if transport is None:
            return
        self._unread = transport.get_write_buffer_size()
        self._unread_check = self._loop.call_later(self._unread_timeout_s, self._check_reader)

    def _check_reader(self) -> None:
        transport = self.transport
        if transport is not None and transport.get_write_buffer_size() >= self._unread:
            transport.abort()
            return
        self._watch_reader()

    def _stop_watching(self) -> None:
        if self._unread_check is not None:
            self._unread_check.cancel()
            self._unread_check = None


class _TurnedAway(asyncio.Protocol):
    """A connection over the limit: told so, and closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connection = cast("asyncio.Transport", transport)  # uvloop's is none by name
        connection.write(_TURNED_AWAY)
        connection.close()


class Connections(web.Server):
    """aiohttp's server, which makes a protocol for each connection: ours.

    Args:
        handler: Answers a request.
        page: status → response for a request that cannot be parsed.
        limit: Connections at the same time.
        keepalive_timeout: Seconds that a connection may be silent, or an answer unread.
        settings: aiohttp's.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        page: Callable[[int], web.Response],
        limit: int,
        *,
        keepalive_timeout: float,
        **settings: Any,
    ) -> None:
        super().__init__(handler, handler_cancellation=True)  # nobody computes for callers who have gone
        self._page = page
        self._limit = limit
        self._open = 0
        self._unread_timeout_s = keepalive_timeout
        self._settings = {**settings, "loop": self._loop, "keepalive_timeout": keepalive_timeout}

    def __call__(self) -> Any:
        if self._open >= self._limit:
            return _TurnedAway()
        return _Connection(self, self._page, self._unread_timeout_s, **self._settings)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        self._open += 1
        super().connection_made(handler, transport)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        self._open -= 1
        super().connection_lost(handler, exc)

    def any_new(self, age_s: float) -> bool:
        """Whether a connection younger than `age_s` seconds is open on which nothing was sent yet."""
        return any(isinstance(one, _Connection) and one.is_new(age_s) for one in self.connections)
