"""Bytes → frames (RFC 9113 section 4.1): a whole frame at a time, but DATA as its bytes come in.

A large message is never held twice: the pieces that the network delivers become the pieces of the message.
"""

from __future__ import annotations

from typing import Protocol

from pyserve.transport.h2.frames import (
    CONTINUATION,
    DATA,
    DEFAULT_MAX_FRAME_SIZE,
    HEADER_BYTES,
    HEADERS,
    PADDED,
    PREFACE,
    SETTINGS,
    ConnectionFailure,
    ErrorCode,
    read_header,
)
from pyserve.transport.h2.limits import Limits


class FrameSink(Protocol):
    """What takes the frames, in their order. Each may raise ConnectionFailure."""

    def data_begins(self, stream_id: int, length: int, padding: int) -> None:
        """A DATA frame with `length` bytes of payload, `padding` of them padding, begins."""

    def data_part(self, stream_id: int, part: bytes) -> None:
        """Bytes of its data."""

    def data_ends(self, stream_id: int, flags: int) -> None:
        """It is complete."""

    def whole_data(self, stream_id: int, flags: int, data: bytes, start: int, end: int) -> None:
        """A DATA frame without padding that has arrived whole: its payload is `data[start:end]`."""

    def frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Any other frame."""


class Framing:
    """Cuts one connection's bytes.

    Args:
        sink: Takes the frames.
        limits: How large frames may be.

    Attributes:
        greeted: Whether the preface has come, and the first frame, which must be SETTINGS.
        held_since: Since when an incomplete frame is waited for; None when there is none.
    """

    __slots__ = (
        "_flags", "_left", "_limits", "_needed", "_padding", "_preface", "_rest", "_sink", "_stream_id", "greeted",
        "held_since",
    )  # fmt: skip

    def __init__(self, sink: FrameSink, limits: Limits) -> None:
        self._sink = sink
        self._limits = limits
        self._rest = bytearray()
        self._needed = 0
        self._preface = False
        self.greeted = False
        self.held_since: float | None = None
        # The frame whose payload is coming in: bytes of it still to come, and of its padding at the end.
        self._left = self._padding = 0
        self._stream_id = self._flags = 0

    def feed(self, data: bytes, now: float) -> None:
        """Take the next bytes.

        Raises:
            ConnectionFailure: They break HTTP/2's rules, or those of the sink.
        """
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return
            data = bytes(self._rest)
            self._rest = bytearray()
        position = 0 if self._preface else self._read_preface(data)
        if position < 0:
            self._hold(data, 0, len(PREFACE), now)
            return
        sink = self._sink
        size = len(data)
        while True:
            if self._left:
                position = self._payload(data, position, size)
                if self._left:
                    break
            if size - position < HEADER_BYTES:
                self._hold(data, position, HEADER_BYTES, now)
                return
            high, low, kind, flags, stream_id = read_header(data, position)
            length = high << 16 | low
            stream_id &= 0x7FFFFFFF
            start = position + HEADER_BYTES
            end = start + length
            if kind == DATA and not flags & PADDED and end <= size and length <= self._limits.max_frame:
                if not self.greeted:
                    raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
                sink.whole_data(stream_id, flags, data, start, end)
                position = end
                continue
            self._check(kind, length)
            if kind == DATA:
                if not self._begin_data(data, position, size, length, flags, stream_id, now):
                    return
                position = start + (1 if flags & PADDED else 0)
            elif kind > CONTINUATION and length > DEFAULT_MAX_FRAME_SIZE:
                sink.frame(kind, flags, stream_id, b"")  # what nobody reads is not kept either
                self._left, self._padding, self._stream_id = length, length, 0
                position = start
            elif end > size:
                self._hold(data, position, HEADER_BYTES + length, now)
                return
            else:
                self.greeted = True
                sink.frame(kind, flags, stream_id, data[start:end])
                position = end
        self.held_since = None

    def _read_preface(self, data: bytes) -> int:
        """Where the frames begin; -1 when the preface is not complete."""
        if not PREFACE.startswith(data[: len(PREFACE)]):
            raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "no HTTP/2 preface")
        if len(data) < len(PREFACE):
            return -1
        self._preface = True
        return len(PREFACE)

    def _check(self, kind: int, length: int) -> None:
        """Before a frame is waited for."""
        if not self.greeted and kind != SETTINGS:
            raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if length > self._limits.max_frame:
            raise ConnectionFailure(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
        if kind in (HEADERS, CONTINUATION) and length > self._limits.max_header_block:
            raise ConnectionFailure(ErrorCode.ENHANCE_YOUR_CALM, f"a header block of {length} bytes")
        if DATA < kind < CONTINUATION and kind != HEADERS and length > DEFAULT_MAX_FRAME_SIZE:
            raise ConnectionFailure(ErrorCode.FRAME_SIZE_ERROR, f"a frame of type {kind} of {length} bytes")

    def _begin_data(
        self, data: bytes, position: int, size: int, length: int, flags: int, stream_id: int, now: float
    ) -> bool:
        """Begin a DATA frame that is padded or not here in full; False when too little of it is here."""
        padding = padded = 0
        if flags & PADDED:
            if not length:
                raise ConnectionFailure(
                    ErrorCode.FRAME_SIZE_ERROR, "a padded frame without its padding's length"
                )
            if size - position < HEADER_BYTES + 1:
                self._hold(data, position, HEADER_BYTES + 1, now)
                return False
            padding, padded = data[position + HEADER_BYTES], 1
            if padding >= length:
                raise ConnectionFailure(
                    ErrorCode.PROTOCOL_ERROR, "a frame's padding is as long as its payload"
                )
        self._sink.data_begins(stream_id, length, padding + padded)
        self._left, self._padding = length - padded, padding
        self._stream_id, self._flags = stream_id, flags
        if not self._left:
            self._sink.data_ends(stream_id, flags)
        return True

    def _payload(self, data: bytes, position: int, size: int) -> int:
        """Hand on what is here of the payload that is coming in; where it ends."""
        content = self._left - self._padding
        if content > 0 and position < size:
            end = min(position + content, size)
            whole = position == 0 and end == size
            self._sink.data_part(self._stream_id, data if whole else data[position:end])
            self._left -= end - position
            position = end
        if self._left <= self._padding:
            skipped = min(self._left, size - position)
            self._left -= skipped
            self._padding = self._left
            position += skipped
            if not self._left and self._stream_id:
                stream_id, self._stream_id = self._stream_id, 0
                self._sink.data_ends(stream_id, self._flags)
        return position

    def _hold(self, data: bytes, position: int, needed: int, now: float) -> None:
        """Keep an incomplete frame until `needed` bytes of it are there."""
        if position == len(data):
            self.held_since = None
            return
        self._rest = bytearray(data[position:] if position else data)
        self._needed = needed
        if position or self.held_since is None:
            self.held_since = now
