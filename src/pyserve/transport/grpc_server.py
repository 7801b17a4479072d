"""gRPC by grpcio's asyncio server: a table of methods from bytes to bytes, and nothing that knows a message."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from types import MappingProxyType
from typing import Any, TypeAlias

import grpc
import grpc.aio

from pyserve.errors import SHUTTING_DOWN, Code, InvalidArgumentError, ServingError, Status, UnavailableError
from pyserve.inference.call import Handler, StreamHandler
from pyserve.transport.budget import ByteBudget
from pyserve.transport.dispatch import Dispatcher
from pyserve.transport.in_flight import InFlight
from pyserve.transport.status import grpc_message

logger = logging.getLogger(__name__)

# TensorFlow Serving accepts messages up to protobuf's own limit of 2 GiB - 1 and sends any size.
_MAX_MESSAGE_BYTES = 2**31 - 1

# What grpcio gets to send the last answers and its farewell to every client.
_FAREWELL_S = 1.0
# While calls are turned away: this long without one is quiet enough, and the limit of waiting for it.
_QUIET_S = 0.005
_QUIET_LIMIT_S = 0.5

_GRPC_CODES: dict[Code, grpc.StatusCode] = {Code(status.value[0]): status for status in grpc.StatusCode}

_Context: TypeAlias = Any  # grpc.aio.ServicerContext; grpcio has no types
_Behaviour = Callable[[bytes, _Context], Awaitable[bytes]]
_StreamBehaviour = Callable[[bytes, _Context], Awaitable[None]]


class GrpcServer(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Serves unary and server-streaming methods on one TCP port, on the running event loop.

    Args:
        handlers: Full method name (`/package.Service/Method`) → handler.
        dispatcher: Runs what the handlers return.
        budget: For the bytes of requests. grpcio hands over whole messages, so one without room is refused after it
            came.
        streams: Full method name → handler of a server-streaming method.
        arguments: gRPC channel arguments; they win over pyserve's own.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        dispatcher: Dispatcher,
        budget: ByteBudget,
        *,
        streams: Mapping[str, StreamHandler] = MappingProxyType({}),
        arguments: Mapping[str, int | str] = MappingProxyType({}),
    ) -> None:
        self._dispatcher = dispatcher
        self._budget = budget
        self._arguments = arguments
        self._in_flight = InFlight()
        self._turn_away = False
        self._turned_away = 0
        self._streaming: set[asyncio.Task[Any]] = set()
        self._methods = {
            name: grpc.unary_unary_rpc_method_handler(self._behaviour(handler))
            for name, handler in handlers.items()
        }
        self._methods |= {
            name: grpc.unary_stream_rpc_method_handler(self._stream_behaviour(handler))
            for name, handler in streams.items()
        }
        self._server: grpc.aio.Server | None = None

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """grpcio's look-up; None makes it answer UNIMPLEMENTED."""
        return self._methods.get(details.method)

    async def start(self, host: str, port: int | None, socket_path: str = "") -> int | None:
        """Bind and serve.

        Args:
            host: IPv4 or IPv6 address.
            port: 0 takes a free one; None: no TCP.
            socket_path: UNIX socket to listen on too; a stale file in its place is replaced.

        Returns:
            The TCP port bound, or None without TCP.

        Raises:
            InvalidArgumentError: An address cannot be bound.
        """
        options: dict[str, int | str] = {
            "grpc.max_receive_message_length": _MAX_MESSAGE_BYTES,
            "grpc.max_send_message_length": -1,
            # Otherwise a second server on the same port starts without a word and takes half of the calls.
            "grpc.so_reuseport": 0,
            # A connection that says nothing is closed after this time, not after two minutes.
            "grpc.server_handshake_timeout_ms": 5000,
            **self._arguments,
        }
        self._server = grpc.aio.server(handlers=[self], options=list(options.items()))
        bound = None
        if port is not None:
            bound = await self._bind(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        if socket_path:
            await self._bind(f"unix:{socket_path}")
        await self._server.start()
        return bound

    async def _bind(self, address: str) -> int:
        server = self._server
        assert server is not None
        bound = 0
        with suppress(RuntimeError):
            bound = server.add_insecure_port(address)  # 1 for a UNIX socket
        if not bound:
            # Raised here, not where grpcio's error is at hand: its traceback would keep grpcio's server alive.
            await self.stop(0.0)
            raise InvalidArgumentError(f"Failed to BuildAndStart gRPC server: cannot bind {address}")
        return bound

    async def stop(self, grace_s: float) -> None:
        """Accept nothing new; wait for requests in flight, at most `grace_s` seconds, then cancel them.

        grpcio answers CANCELLED to calls that no handler has seen when its server is stopped, and clients do not try
        those again. So new calls are turned away with UNAVAILABLE first, until hardly any come.
        """
        server, self._server = self._server, None
        if server is None:
            return
        self._turn_away = True
        if not await self._in_flight.finished(grace_s):
            logger.warning("%d gRPC requests cut off at shutdown", self._in_flight.count)
        for task in list(self._streaming):
            task.cancel()
        await self._quiet()
        # grpcio sends its farewell (GOAWAY). It would also wait, up to 20 s, for connections that never said a word
        # of HTTP/2; those must not delay anybody.
        await asyncio.wait([asyncio.ensure_future(server.stop(_FAREWELL_S))], timeout=_FAREWELL_S)

    async def _quiet(self) -> None:
        """Wait until no call has been turned away for a moment, but not for ever."""
        waited_s = 0.0
        while waited_s < _QUIET_LIMIT_S:
            turned_away = self._turned_away
            await asyncio.sleep(_QUIET_S)
            waited_s += _QUIET_S
            if self._turned_away == turned_away:
                return

    def _behaviour(self, handler: Handler) -> _Behaviour:
        answer, in_flight, holding = self._dispatcher.answer, self._in_flight, self._budget.holding

        async def behaviour(data: bytes, context: _Context) -> bytes:
            try:
                if self._turn_away:
                    self._turned_away += 1
                    raise UnavailableError(SHUTTING_DOWN)
                remaining_s: float | None = context.time_remaining()
                deadline = None if remaining_s is None else time.monotonic() + remaining_s
                with in_flight, holding() as held:
                    held.take(len(data))
                    return await answer(functools.partial(handler, data, deadline), len(data))
            except ServingError as error:
                status = Status.of(error)
            except Exception as error:
                logger.exception("A gRPC handler failed")
                status = Status.of(error)
            # Outside of the handlers: abort() raises.
            try:
                await context.abort(_GRPC_CODES[status.code], grpc_message(status.message))
                raise AssertionError("abort() returned")
            finally:
                # The context keeps the error, whose traceback keeps this frame: without this line they, and the
                # request's data and grpcio's threads with them, would wait for the cyclic collector.
                del context

        return behaviour

    def _stream_behaviour(self, handler: StreamHandler) -> _StreamBehaviour:
        async def behaviour(data: bytes, context: _Context) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._streaming.add(task)
            try:
                async with aclosing(handler(data)) as answers:
                    async for answer in answers:
                        await context.write(answer)
                return
            except ServingError as error:
                status = Status.of(error)
            except asyncio.CancelledError:
                if self._server is not None:
                    raise  # the caller went away
                status = Status.of(UnavailableError(SHUTTING_DOWN))
            except Exception as error:
                logger.exception("A gRPC handler failed")
                status = Status.of(error)
            finally:
                self._streaming.discard(task)
            try:
                await context.abort(_GRPC_CODES[status.code], grpc_message(status.message))
            finally:
                del context  # as above

        return behaviour
