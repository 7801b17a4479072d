"""The blocking client over HTTP."""

from __future__ import annotations

import http.client
import select
import socket
import time
from collections import deque
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pyserve.client.calls import DEFAULT_TIMEOUT_S, Calls
from pyserve.client.plan import Exchange, closed
from pyserve.client.rest_wire import RestWire, http_error
from pyserve.client.retry import Retry
from pyserve.client.sync_client import SyncClient
from pyserve.errors import DeadlineExceededError, UnavailableError


class RestClient(SyncClient):
    """Calls a model server's REST API, blocking the calling thread. Thread-safe; a context manager.

    Connections are kept and shared by the threads; there are as many as calls were under way at once.

    What REST cannot do: it has neither `multi_inference` nor `reload`; half, bfloat16, complex and the other dtypes
    that JSON requests do not carry are refused by the server (UNIMPLEMENTED); of some codes it tells a relative
    only (every 400 is INVALID_ARGUMENT here); an empty array keeps none of the dimensions behind the first 0.
    Answers carry no dtypes: those of the newest metadata count, read at most 10 seconds ago.

    Args:
        url: `http://host:port`, with the path in front of `/v1` where a proxy has one.
        timeout_s, retry, headers: As in `Client`.

    Raises:
        ValueError: The URL is not of that form.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retry: Retry | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port or 80
        except ValueError as error:
            raise ValueError(f"{url!r} is no address of the form http://host:port: {error}") from None
        if parts.scheme != "http" or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"{url!r} is no address of the form http://host:port")
        self._wire = RestWire()
        super().__init__(Calls(self._wire, timeout_s=timeout_s, retry=retry))
        self._address = parts.hostname, port
        self._prefix = parts.path.rstrip("/")
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        # A deque's ends may be used by several threads at once.
        self._idle: deque[http.client.HTTPConnection] = deque()
        self._closed = False

    def models(self, *, timeout_s: float | None = None) -> dict[str, str]:
        """Each configured model, and what it is up to: `available`, or why it is not.

        Only pyserve can tell; TensorFlow Serving has no list of its models (NOT_FOUND).

        Raises:
            UnavailableError: The server is not ready.
        """
        return self._run(self._calls.asked(self._wire.ask_models(), self._wire.models, timeout_s))

    def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _exchange(self, exchange: Exchange) -> bytes:
        if self._closed:
            raise closed()
        deadline = None if exchange.timeout_s is None else time.monotonic() + exchange.timeout_s
        connection = self._connection()
        try:
            status, reason, body = self._ask(connection, exchange, deadline)
        except BaseException as error:
            connection.close()
            if isinstance(error, TimeoutError):
                raise DeadlineExceededError("Deadline Exceeded") from None
            if isinstance(error, OSError | http.client.HTTPException):
                host, port = self._address
                raise UnavailableError(f"{host}:{port}: {type(error).__name__}: {error}") from None
            raise
        if self._closed or connection.sock is None:
            connection.close()
        else:
            self._idle.append(connection)
        if status != 200:
            raise http_error(status, reason, body)
        return body

    def _ask(
        self, connection: http.client.HTTPConnection, exchange: Exchange, deadline: float | None
    ) -> tuple[int, str, bytes]:
        message = exchange.message
        sock = connection.sock
        if not isinstance(sock, _Socket):
            sock = connection.sock = _Socket.connected(self._address, exchange.timeout_s)
        sock.deadline = deadline
        connection.request(
            "GET" if message.body is None else "POST",
            self._prefix + message.path,
            message.body,
            self._headers,
        )
        with connection.getresponse() as response:
            return response.status, response.reason, response.read()

    def _connection(self) -> http.client.HTTPConnection:
        """An idle connection that the server has not closed meanwhile, or a new one."""
        while True:
            try:
                found = self._idle.pop()
            except IndexError:
                return http.client.HTTPConnection(*self._address)
            # Nobody was asked anything, so what can be read is the end, or no HTTP.
            if found.sock is not None and not _readable(found.sock):
                return found
            found.close()


class _Socket(socket.socket):
    """A socket that stops at a point of the monotonic clock; the standard timeout begins anew with each byte."""

    deadline: float | None = None

    @classmethod
    def connected(cls, address: tuple[str, int], timeout_s: float | None) -> _Socket:
        made = socket.create_connection(address, timeout_s)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(fileno=made.detach())

    def sendall(self, *arguments: Any) -> None:
        self.settimeout(_left(self.deadline))  # which is that of the whole call
        super().sendall(*arguments)

    def recv_into(self, *arguments: Any) -> int:
        self.settimeout(_left(self.deadline))
        return super().recv_into(*arguments)


def _readable(sock: socket.socket) -> bool:
    poll = select.poll() if hasattr(select, "poll") else None
    if poll is None:
        return bool(select.select([sock], [], [], 0)[0])
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _left(deadline: float | None) -> float | None:
    """What is left of the time, in seconds.

    Raises:
        TimeoutError: Nothing.
    """
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
