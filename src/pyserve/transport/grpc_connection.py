"""One connection of the native gRPC engine: a socket's bytes into `h2`, its requests to their handlers, answers back.

Every answer that comes in one round of the event loop is written in that round, all of a connection's in one piece.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Protocol, cast

from pyserve.errors import (
    SHUTTING_DOWN,
    TIMED_OUT,
    DeadlineExceededError,
    ResourceExhaustedError,
    ServingError,
    Status,
    UnavailableError,
    error_for,
)
from pyserve.inference.call import Handler, StreamHandler
from pyserve.transport import dispatch
from pyserve.transport.budget import ByteBudget, Holding
from pyserve.transport.dispatch import INLINE_BYTES, Dispatcher
from pyserve.transport.h2.abuse import Counts
from pyserve.transport.h2.connection import Connection
from pyserve.transport.h2.events import Event, Gone, Request, RoomWanted
from pyserve.transport.h2.grpc_messages import inflate
from pyserve.transport.h2.limits import Limits
from pyserve.transport.in_flight import InFlight

logger = logging.getLogger(__name__)

# Pieces of together at most this many bytes are put into one before they are written.
_JOINED_BYTES = 1 << 18
# How much may wait for a client to read before no more of its requests are read.
_UNREAD_BYTES = 1 << 20


class Engine(Protocol):
    """What its connections need of a server."""

    handlers: Mapping[str, Handler]
    streams: Mapping[str, StreamHandler]
    methods: frozenset[str]
    dispatcher: Dispatcher
    budget: ByteBudget
    limits: Limits
    counts: Counts
    in_flight: InFlight
    closing: bool

    def welcome(self, connection: GrpcConnection) -> bool:
        """A client has connected; whether there is room for it."""

    def farewell(self, connection: GrpcConnection) -> None:
        """It is gone."""

    def flush_soon(self, connection: GrpcConnection) -> None:
        """Have `flush` called in this round of the loop."""


class _Call:
    """A request that the engine was told of, until it is answered or its client is gone."""

    __slots__ = ("connection", "counted", "held", "request", "sent", "stream_id", "task")

    def __init__(self, connection: GrpcConnection, stream_id: int, held: Holding) -> None:
        self.connection = connection
        self.stream_id = stream_id
        self.held = held
        self.counted = False  # among the requests in flight
        self.request: dispatch.Request[bytes] | None = None
        self.task: asyncio.Task[None] | None = None  # a stream, or a wait for room
        self.sent: asyncio.Event | None = None  # of a stream

    def settle(self, answer: bytes | None, error: Exception | None) -> None:
        """The dispatcher's answer."""
        self.connection.settled(self, answer, error)

    def inflated(self, request: Request, message: bytes | None, error: Exception | None) -> None:
        """The request's message, no longer compressed."""
        self.connection.inflated(self, request, message, error)


class GrpcConnection(asyncio.Protocol):
    """A connection. Belongs to the event loop.

    Args:
        engine: The server that it is of.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection = Connection(engine.methods, engine.limits, engine.counts, time.monotonic())
        self._transport: asyncio.Transport | None = None
        self._calls: dict[int, _Call] = {}
        self._busy = False  # inside a callback that flushes at its end
        self._waiting = 0  # whole requests that wait for room
        self._unread_since: float | None = None
        self._ended_at: float | None = None  # since when nothing more is written

    # --- asyncio's callbacks -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        tls = transport.get_extra_info("ssl_object")
        if not self._engine.welcome(self) or (tls is not None and tls.selected_alpn_protocol() != "h2"):
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(_UNREAD_BYTES)
        if self._engine.closing:
            self.shut_down()
        self.flush()

    def data_received(self, data: bytes) -> None:
        self._busy = True
        try:
            self._handle(self._connection.receive(data, time.monotonic()))
        finally:
            self._busy = False
        self.flush()

    def eof_received(self) -> bool:
        return False  # a client that has closed its half does not wait for answers

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._handle(self._connection.lost())
        self._transport = None
        self._engine.farewell(self)

    def pause_writing(self) -> None:
        self._unread_since = time.monotonic()
        self._pause()

    def resume_writing(self) -> None:
        self._unread_since = None
        self._resume()
        self.flush()

    def _pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._waiting or self._unread_since is not None:
            return
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # --- for the engine ------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Let time pass."""
        patience_s = self._engine.limits.unread_s
        if self._unread_since is not None and now - self._unread_since > patience_s:
            self._engine.counts["zero_window_stall"] += 1
            self.abort()
            return
        if self._ended_at is not None and now - self._ended_at > patience_s:
            self.abort()  # it was asked to close, and does not
            return
        self._handle(self._connection.tick(now))
        self.flush()

    def shut_down(self) -> None:
        """Begin the end: the client is told, requests that it has sent are served."""
        self._connection.shut_down(time.monotonic())
        self.flush()

    @property
    def is_told(self) -> bool:
        """Whether the end has begun for the client too: it begins no requests any more."""
        return self._connection.told

    @property
    def streaming(self) -> list[asyncio.Task[None]]:
        """The streamed answers that go on."""
        return [call.task for call in self._calls.values() if call.sent is not None and call.task is not None]

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def flush(self) -> None:
        """Write what there is to be written, as far as the client reads it."""
        transport, connection = self._transport, self._connection
        if transport is None or self._ended_at is not None or transport.is_closing():
            return
        while connection.has_output and self._unread_since is None:
            if connection.has_more:
                self._handle(connection.pump())
            self._write(transport, connection.take_output())
        if connection.closed:
            self._ended_at = time.monotonic()
            transport.close()
        elif connection.finished and not connection.has_output:
            self._ended_at = time.monotonic()
            if transport.can_write_eof():
                transport.write_eof()  # the client reads everything, and closes
            else:
                transport.close()

    def _write(self, transport: asyncio.Transport, pieces: list[bytes | memoryview]) -> None:
        if len(pieces) == 1:
            transport.write(pieces[0])
        elif sum(map(len, pieces)) <= _JOINED_BYTES:
            transport.write(b"".join(pieces))
        elif pieces:
            transport.writelines(pieces)

    # --- requests ------------------------------------------------------------------------------------------------

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Request):
                self._begin(event)
            elif isinstance(event, RoomWanted):
                self._make_room(event)
            elif isinstance(event, Gone):
                self._drop(event.stream_id)
            elif (call := self._calls.get(event.stream_id)) is not None and call.sent is not None:
                call.sent.set()

    def _call(self, stream_id: int) -> _Call:
        call = self._calls.get(stream_id)
        if call is None:
            call = self._calls[stream_id] = _Call(self, stream_id, self._engine.budget.holding())
        return call

    def _begin(self, request: Request) -> None:
        """A request is there: see that it is accounted for, and give it to its handler."""
        call = self._call(request.stream_id)
        missing = len(request.message) - call.held.count
        if missing > 0 and not call.held.try_take(missing):
            self._wait(call, missing, functools.partial(self._start, call, request), pause=True)
            return
        self._start(call, request)

    def _start(self, call: _Call, request: Request) -> None:
        engine = self._engine
        if request.compressed:
            free = max(0, engine.budget.limit - engine.budget.used)
            limit = min(engine.limits.max_message, free)
            make = functools.partial(inflate, request.message, request.head.encoding, limit)
            settle = functools.partial(call.inflated, request)
            call.request = engine.dispatcher.begin(make, INLINE_BYTES + 1, settle)
            return
        message = request.message
        handler = engine.handlers.get(request.head.path)
        if handler is None:
            call.sent = asyncio.Event()
            stream = self._stream(call, engine.streams[request.head.path], message, request.deadline)
            call.task = engine.dispatcher.loop.create_task(stream)
            return
        call.counted = True
        engine.in_flight.begin()
        begin = functools.partial(handler, message, request.deadline)
        call.request = engine.dispatcher.begin(begin, len(message), call.settle)

    def inflated(self, call: _Call, request: Request, message: bytes | None, error: Exception | None) -> None:
        """A compressed message is inflated: it is accounted for as it is now."""
        if message is None:
            self._calls.pop(call.stream_id, None)
            self._refuse(call, error)
            return
        request.message, request.compressed = message, False
        self._begin(request)

    def settled(self, call: _Call, answer: bytes | None, error: Exception | None) -> None:
        """A unary request has its answer."""
        self._engine.in_flight.end()
        self._calls.pop(call.stream_id, None)
        if answer is None:
            self._refuse(call, error)
            return
        call.held.give_back()
        self._connection.answer(call.stream_id, answer)
        if not self._busy:
            self._engine.flush_soon(self)

    def _refuse(self, call: _Call, error: Exception | None) -> None:
        call.held.give_back()
        if not isinstance(error, ServingError):
            logger.error("A gRPC handler failed", exc_info=error)
            status = Status.of(error or AssertionError("a handler without an answer"))
            error = error_for(status.code, status.message)
        self._connection.answer_error(call.stream_id, error)
        if not self._busy:
            self._engine.flush_soon(self)

    def _drop(self, stream_id: int) -> None:
        """Nobody waits for an answer any more."""
        call = self._calls.pop(stream_id, None)
        if call is None:
            return
        call.held.give_back()
        if call.task is not None:
            call.task.cancel()
        if call.request is not None:
            call.request.cancel()
        if call.counted:
            self._engine.in_flight.end()

    # --- streamed answers ----------------------------------------------------------------------------------------

    async def _stream(
        self, call: _Call, handler: StreamHandler, message: bytes, deadline: float | None
    ) -> None:
        connection, sent = self._connection, call.sent
        assert sent is not None
        error: ServingError | None = None
        try:
            async with asyncio.timeout(None if deadline is None else max(0.0, deadline - time.monotonic())):
                async with aclosing(handler(message)) as answers:
                    async for answer in answers:
                        sent.clear()
                        connection.send(call.stream_id, answer)
                        self.flush()
                        await sent.wait()
        except ServingError as failure:
            error = failure
        except TimeoutError:
            error = DeadlineExceededError(TIMED_OUT)
        except asyncio.CancelledError:
            if not self._engine.closing:
                raise  # the caller went away
            error = UnavailableError(SHUTTING_DOWN)
        except Exception as failure:
            logger.exception("A gRPC handler failed")
            status = Status.of(failure)
            error = error_for(status.code, status.message)
        self._calls.pop(call.stream_id, None)
        call.held.give_back()
        if error is None:
            connection.finish(call.stream_id)
        else:
            connection.answer_error(call.stream_id, error)
        self.flush()

    # --- room for messages ---------------------------------------------------------------------------------------

    def _make_room(self, wanted: RoomWanted) -> None:
        call = self._call(wanted.stream_id)
        if call.held.try_take(wanted.count):
            self._connection.grant(wanted.stream_id, wanted.count)
            return
        self._wait(call, wanted.count, functools.partial(self._grant, wanted), pause=False)

    def _grant(self, wanted: RoomWanted) -> None:
        self._connection.grant(wanted.stream_id, wanted.count)
        self.flush()

    def _wait(self, call: _Call, count: int, then: Callable[[], None], *, pause: bool) -> None:
        """Wait for room, not for ever. For whole requests no more of this client's are read meanwhile."""
        call.task = self._engine.dispatcher.loop.create_task(self._wait_for_room(call, count, then, pause))

    async def _wait_for_room(self, call: _Call, count: int, then: Callable[[], None], pause: bool) -> None:
        if pause:
            self._waiting += 1
            self._pause()
        try:
            await call.held.take_or_wait(count)
        except ResourceExhaustedError as error:
            self._calls.pop(call.stream_id, None)
            self._refuse(call, error)
            return
        finally:
            if pause:
                self._waiting -= 1
                self._resume()
        call.task = None
        then()
