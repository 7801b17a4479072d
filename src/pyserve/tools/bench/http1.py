"""The client's side of one HTTP/1.1 connection: bytes in, answers out. No socket.

Reads what a load generator needs: the status, where the answer ends, and the body of an answer that is an error.
"""

from __future__ import annotations

from typing import NamedTuple

from pyserve.tools.bench.connection import Answer, ProtocolError

_SHOWN_BYTES = 300
_HEADS = 1000


class _Head(NamedTuple):
    code: str
    length: int  # of the body; -1: in chunks
    close: bool


class Http1Connection:
    """One connection, with one request on it at a time.

    Args:
        request: What is sent, head and body.
    """

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._started: float | None = None
        self._buffer = b""
        self._heads: dict[bytes, _Head] = {}
        self._closing = False
        self.outbox: list[bytes] = []

    @property
    def room(self) -> int:
        return 0 if self._closing or self._started is not None else 1

    @property
    def spent(self) -> bool:
        return self._closing and self._started is None

    def begin(self, started: float) -> None:
        self._started = started
        self.outbox.append(self._request)

    def receive(self, data: bytes) -> list[Answer]:
        self._buffer += data
        if self._started is None:
            raise ProtocolError("an answer that nobody asked for")
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return []
        head = self._head(self._buffer[:end])
        body = _chunks(self._buffer, end + 4) if head.length < 0 else self._buffer[end + 4 :]
        if body is None or len(body) < head.length:
            return []
        started, self._started, self._buffer = self._started, None, b""
        self._closing = head.close
        text = "" if head.code == "OK" else body[:_SHOWN_BYTES].decode(errors="replace").strip()
        return [Answer(started, head.code, text)]

    def abandon(self) -> list[float]:
        started, self._started = self._started, None
        return [] if started is None else [started]

    def _head(self, data: bytes) -> _Head:
        if (known := self._heads.get(data)) is not None:
            return known
        if len(self._heads) > _HEADS:
            self._heads.clear()
        first, *lines = data.lower().split(b"\r\n")
        pieces = first.split(b" ", 2)
        if len(pieces) < 2 or not pieces[0].startswith(b"http/1.") or not pieces[1].isdigit():
            raise ProtocolError(f"{data[:_SHOWN_BYTES]!r} is no answer of HTTP/1.1")
        fields = dict(line.split(b":", 1) for line in lines if b":" in line)
        chunked = b"chunked" in fields.get(b"transfer-encoding", b"")
        length = fields.get(b"content-length", b"").strip()
        if not chunked and not length.isdigit():
            raise ProtocolError("an answer without Content-Length")
        status = pieces[1].decode()
        close = b"close" in fields.get(b"connection", b"") or pieces[0] == b"http/1.0"
        head = _Head("OK" if status == "200" else status, -1 if chunked else int(length), close)
        self._heads[data] = head
        return head


def _chunks(data: bytes, position: int) -> bytes | None:
    """The body that comes in chunks from a position on; None while it is not whole."""
    body = b""
    while True:
        end = data.find(b"\r\n", position)
        if end < 0:
            return None
        try:
            size = int(data[position:end].split(b";")[0], 16)
        except ValueError:
            raise ProtocolError(f"a chunk of {data[position:end][:20]!r} bytes") from None
        position = end + 2 + size + 2
        if len(data) < position:
            return None
        if size == 0:
            return body
        body += data[end + 2 : end + 2 + size]
