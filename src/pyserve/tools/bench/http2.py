"""The client's side of one HTTP/2 connection with unary gRPC calls on it: bytes in, answers out. No socket.

Only as much of HTTP/2 as a load of equal requests needs, so that a call costs microseconds: the header block is made
once, answers' header blocks are looked up by their bytes, answers' messages are skipped.

Source: RFC 9113; gRPC over HTTP/2 (doc/PROTOCOL-HTTP2.md in grpc/grpc).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from urllib.parse import unquote

from hpack import Decoder, HPACKError

from pyserve.errors import Code
from pyserve.tools.bench.connection import Answer, ProtocolError
from pyserve.transport.h2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    DEFAULT_MAX_FRAME_SIZE,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    MAX_WINDOW,
    PADDED,
    PING,
    PREFACE,
    PRIORITY_FLAG,
    RST_STREAM,
    SETTINGS,
    SETTINGS_ACK,
    WINDOW_UPDATE,
    frame,
    read_settings,
    settings,
    window_update,
)
from pyserve.transport.h2.hpack.encoder import encode
from pyserve.transport.h2.settings import (
    ENABLE_PUSH,
    ENTRY_BYTES,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
)

# The connection's receive window is filled up again when so much came.
_REFILL_BYTES = 2**29
# Stream numbers end at 2^31; a connection is replaced long before.
_LAST_STREAM = 2**30
_BLOCKS = 1000
_HIGHEST_STREAMS = 100
"""Calls open at once on a connection, when the server allows more: what servers commonly allow."""


@dataclass(slots=True, eq=False)
class _Stream:
    started: float
    window: int
    sent: int = 0


class Http2Connection:
    """One connection with many calls on it.

    Args:
        headers: Of every call.
        body: Of every call, gRPC's prefix included.
    """

    def __init__(self, headers: list[tuple[str, str]], body: bytes) -> None:
        # Means the same on every connection, at any time.
        block = encode((name.encode(), value.encode()) for name, value in headers)
        self._head = len(block).to_bytes(3, "big") + bytes((HEADERS, END_HEADERS))
        self._block = block
        self._body = body
        self._whole = len(body).to_bytes(3, "big") + bytes((DATA, END_STREAM))
        self._next_stream = 1
        self._streams: dict[int, _Stream] = {}
        self._unsent: deque[int] = deque()
        self._window = DEFAULT_WINDOW
        self._stream_window = DEFAULT_WINDOW
        self._max_frame = DEFAULT_MAX_FRAME_SIZE
        self._max_streams = _HIGHEST_STREAMS
        self._received = 0
        self._buffer = b""
        self._decoder = Decoder()
        self._blocks: dict[bytes, dict[str, str]] = {}
        self._partial: tuple[int, int, bytes] | None = None
        self._headers_of: dict[int, dict[str, str]] = {}
        self._closing = False
        opening = {
            HEADER_TABLE_SIZE: 0,
            ENABLE_PUSH: 0,
            INITIAL_WINDOW_SIZE: MAX_WINDOW,
        }
        self.outbox: list[bytes] = [
            PREFACE + settings(opening),
            window_update(0, MAX_WINDOW - DEFAULT_WINDOW),
        ]

    @property
    def room(self) -> int:
        return 0 if self._closing else max(0, self._max_streams - len(self._streams))

    @property
    def spent(self) -> bool:
        return self._closing and not self._streams

    def begin(self, started: float) -> None:
        number = self._next_stream
        self._next_stream += 2
        if self._next_stream > _LAST_STREAM:
            self._closing = True
        stream = self._streams[number] = _Stream(started, self._stream_window)
        id, size = number.to_bytes(4, "big"), len(self._body)
        if size <= self._window and size <= stream.window and size <= self._max_frame and not self._unsent:
            self._window -= size
            stream.sent = size
            self.outbox.append(b"".join((self._head, id, self._block, self._whole, id, self._body)))
        else:
            self.outbox.append(b"".join((self._head, id, self._block)))
            self._unsent.append(number)
            self._send()

    def _send(self) -> None:
        """Send of the bodies that are not out yet what the windows allow."""
        body, size = self._body, len(self._body)
        for _ in range(len(self._unsent)):
            number = self._unsent.popleft()
            stream = self._streams.get(number)
            if stream is None:
                continue
            while (part := min(size - stream.sent, self._window, stream.window, self._max_frame)) > 0:
                end = stream.sent + part
                flags = END_STREAM if end == size else 0
                self.outbox.append(frame(DATA, flags, number, body[stream.sent : end]))
                stream.sent = end
                stream.window -= part
                self._window -= part
            if stream.sent < size:
                self._unsent.append(number)

    def receive(self, data: bytes) -> list[Answer]:
        buffer = self._buffer + data if self._buffer else data
        answers: list[Answer] = []
        position, end = 0, len(buffer)
        while end - position >= 9:
            size = int.from_bytes(buffer[position : position + 3], "big")
            after = position + 9 + size
            if after > end:
                break
            kind, flags = buffer[position + 3], buffer[position + 4]
            number = int.from_bytes(buffer[position + 5 : position + 9], "big") & MAX_WINDOW
            if kind == DATA:
                self._received += size
                if flags & END_STREAM:
                    self._finish(number, answers)
            elif kind == HEADERS:
                payload = _unpadded(buffer[position + 9 : after], flags)
                if flags & END_HEADERS:
                    self._on_headers(number, flags, payload, answers)
                else:
                    self._partial = (number, flags, payload)
            else:
                self._on_other(kind, flags, number, buffer[position + 9 : after], answers)
            position = after
        self._buffer = buffer[position:]
        if self._received >= _REFILL_BYTES:
            self.outbox.append(window_update(0, self._received))
            self._received = 0
        return answers

    def abandon(self) -> list[float]:
        started = [stream.started for stream in self._streams.values()]
        self._streams.clear()
        return started

    def _on_headers(self, number: int, flags: int, block: bytes, answers: list[Answer]) -> None:
        known = self._decode(block)
        if number in self._headers_of:
            known = {**self._headers_of[number], **known}
        if flags & END_STREAM:
            self._headers_of.pop(number, None)
            self._finish(number, answers, known)
        elif known.get(":status") != "200":
            self._headers_of[number] = known  # no gRPC server's answer: a proxy's, say

    def _decode(self, block: bytes) -> dict[str, str]:
        """What of a header block counts; equal blocks mean the same as long as the dynamic table stays empty."""
        if (known := self._blocks.get(block)) is not None:
            return known
        try:
            headers = self._decoder.decode(block, raw=True)
        except HPACKError as error:
            raise ProtocolError(f"headers that cannot be read: {error}") from None
        wanted = (b":status", b"grpc-status", b"grpc-message")
        known = {
            bytes(name).decode(): bytes(value).decode(errors="replace")
            for name, value in headers
            if bytes(name) in wanted
        }
        if self._decoder.header_table.dynamic_entries:
            self._blocks.clear()
        else:
            if len(self._blocks) > _BLOCKS:
                self._blocks.clear()
            self._blocks[block] = known
        return known

    def _finish(self, number: int, answers: list[Answer], headers: dict[str, str] | None = None) -> None:
        if (stream := self._streams.pop(number, None)) is not None:
            headers = self._headers_of.pop(number, {}) if headers is None else headers
            answers.append(Answer(stream.started, *_outcome(headers)))

    def _on_other(self, kind: int, flags: int, number: int, payload: bytes, answers: list[Answer]) -> None:
        if kind == SETTINGS:
            if not flags & ACK:
                self._on_settings(payload)
        elif kind == WINDOW_UPDATE:
            more = int.from_bytes(payload, "big") & MAX_WINDOW
            if number == 0:
                self._window += more
            elif (stream := self._streams.get(number)) is not None:
                stream.window += more
            self._send()
        elif kind == PING:
            if not flags & ACK:
                self.outbox.append(frame(PING, ACK, 0, payload))
        elif kind == RST_STREAM:
            if (reset := self._streams.pop(number, None)) is not None:
                answers.append(
                    Answer(reset.started, "reset", f"HTTP/2 error {int.from_bytes(payload, 'big')}")
                )
        elif kind == GOAWAY:
            self._closing = True
            last = int.from_bytes(payload[:4], "big") & MAX_WINDOW
            unseen = [number for number in self._streams if number > last]
            answers += [
                Answer(self._streams.pop(number).started, "turned away", "GOAWAY") for number in unseen
            ]
        elif kind == CONTINUATION:
            if self._partial is None or self._partial[0] != number:
                raise ProtocolError("a CONTINUATION of nothing")
            _, before, block = self._partial
            self._partial = (number, before, block + payload)
            if flags & END_HEADERS:
                self._partial = None
                self._on_headers(number, before, block + payload, answers)

    def _on_settings(self, payload: bytes) -> None:
        for key, value in read_settings(payload[: len(payload) // ENTRY_BYTES * ENTRY_BYTES]):
            if key == MAX_CONCURRENT_STREAMS:
                self._max_streams = min(value, _HIGHEST_STREAMS)
            elif key == INITIAL_WINDOW_SIZE:
                for stream in self._streams.values():
                    stream.window += value - self._stream_window
                self._stream_window = value
            elif key == MAX_FRAME_SIZE:
                self._max_frame = value
        self.outbox.append(SETTINGS_ACK)
        self._send()


def _outcome(headers: dict[str, str]) -> tuple[str, str]:
    """What is counted of a call's headers and trailers, and what the server said."""
    status = headers.get("grpc-status")
    if status == "0":
        return "OK", ""
    if status is None:
        return f"HTTP {headers.get(':status', 200)}", "no gRPC status"
    name = Code(int(status)).name if status.isdigit() and int(status) <= max(Code) else f"code {status}"
    return name, unquote(headers.get("grpc-message", ""))


def _unpadded(payload: bytes, flags: int) -> bytes:
    """The header block in a HEADERS frame."""
    begin, end = 0, len(payload)
    if flags & PADDED:
        begin, end = 1, end - payload[0]
    return payload[begin + 5 : end] if flags & PRIORITY_FLAG else payload[begin:end]
