"""What each frame of a client means for its connection and its streams (RFC 9113 sections 5 and 6)."""

from __future__ import annotations

from collections.abc import Callable, Container

from pyserve.errors import ServingError
from pyserve.transport.h2 import frames
from pyserve.transport.h2.events import RoomWanted
from pyserve.transport.h2.frames import ConnectionFailure, ErrorCode, StreamFailure
from pyserve.transport.h2.grpc_messages import PREFIX_BYTES
from pyserve.transport.h2.header_blocks import HeaderBlocks, OpenBlock
from pyserve.transport.h2.headers import OVERSIZED_HEAD, RequestHead
from pyserve.transport.h2.receiving import ConnectionWindow, room_wanted
from pyserve.transport.h2.shutdown import Shutdown
from pyserve.transport.h2.stream import Stream
from pyserve.transport.h2.streams import Streams


class Inbound:
    """Takes the frames from `Framing`, in their order. What breaks the rules for the connection is raised.

    Args:
        methods: The paths that are served.
        streams: Changed by the frames.

    Attributes:
        open_block: A header block whose last piece has not come.
        shutdown: Whether new streams are ignored.
    """

    def __init__(self, methods: Container[str], streams: Streams) -> None:
        self._streams = streams
        self._open = streams.open
        self._limits = streams.limits
        self._blocks = HeaderBlocks(methods, streams.limits, streams.counts)
        self._window = ConnectionWindow(streams.limits.window)
        self.open_block: OpenBlock | None = None
        self.shutdown = Shutdown()

    def widen(self, *, first: bool = False) -> None:
        """Give back the connection's window for what has come in, when it is due."""
        if increment := self._window.increment(1 if first else None):
            self._streams.write(frames.window_update(0, increment))

    def whole_data(self, stream_id: int, flags: int, data: bytes, start: int, end: int) -> None:
        """DATA in one piece; most requests are one such frame."""
        stream = self._open.get(stream_id)
        length = end - start
        if (
            stream is None
            or stream.received
            or not flags & frames.END_STREAM
            or length < PREFIX_BYTES
            or stream.ended
            or length > stream.window
        ):
            self.data_begins(stream_id, length, 0)
            if length:
                self.data_part(stream_id, data[start:end])
            self.data_ends(stream_id, flags)
            return
        if self.open_block is not None:
            raise _block_interrupted()
        self._window.receive(length)
        declared = int.from_bytes(data[start + 1 : start + PREFIX_BYTES], "big")
        if declared != length - PREFIX_BYTES:
            stream.received = length
            self.data_part(stream_id, data[start:end])
            self.data_ends(stream_id, flags)
            return
        try:
            stream.declare(data[start], declared, self._limits.max_message)
        except ServingError as error:
            self._streams.refuse_early(stream, error)
            return
        stream.received = length
        self._streams.complete(stream, data[start + PREFIX_BYTES : end])

    def data_begins(self, stream_id: int, length: int, padding: int) -> None:
        """DATA counts against the windows as soon as its length is known (section 6.9.1)."""
        if self.open_block is not None:
            raise _block_interrupted()
        self._window.receive(length)
        stream = self._open.get(stream_id)
        if stream is None or stream.ended:
            self._streams.check_late(stream_id, stream)
            return
        if length == padding:
            self._streams.suspect("empty_frame_flood")
        stream.received += length
        stream.padding += padding
        if stream.received > stream.window:
            self._streams.failed(stream_id, ErrorCode.FLOW_CONTROL_ERROR)

    def data_part(self, stream_id: int, part: bytes) -> None:
        """Some of a message."""
        stream = self._open.get(stream_id)
        if stream is None or stream.ended:
            return
        try:
            stream.add(part, self._limits.max_message)
        except ServingError as error:
            self._streams.refuse_early(stream, error)
            return
        stream.progressed_at = self._streams.now
        self._make_room(stream)

    def data_ends(self, stream_id: int, flags: int) -> None:
        """The frame is complete, and maybe the request."""
        stream = self._open.get(stream_id)
        if stream is None or stream.ended:
            return
        if flags & frames.END_STREAM:
            self._streams.ended(stream)
            return
        self._make_room(stream)

    def _make_room(self, stream: Stream) -> None:
        if not stream.room_wanted and (count := room_wanted(stream)):
            stream.room_wanted = stream.told = True
            self._streams.events.append(RoomWanted(stream.id, count))

    def frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Any frame but DATA."""
        block = self.open_block
        if block is not None and (kind != frames.CONTINUATION or stream_id != block.stream_id):
            raise _block_interrupted()
        handle = _FRAMES.get(kind)
        if handle is None:  # unknown types are ignored (section 5.5)
            self._streams.suspect("empty_frame_flood")
        else:
            handle(self, flags, stream_id, payload)

    def _headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if flags & (frames.PADDED | frames.PRIORITY_FLAG):
            payload = frames.unpadded(payload, flags)
            if flags & frames.PRIORITY_FLAG:
                if len(payload) < 5:
                    raise ConnectionFailure(ErrorCode.FRAME_SIZE_ERROR, "HEADERS without their priority")
                payload = payload[5:]
        if flags & frames.END_HEADERS:
            self._block(flags, stream_id, payload)
        else:
            self.open_block = OpenBlock(stream_id, flags, payload, self._streams.now)

    def _continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        block = self.open_block
        if block is None:
            raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without a header block")
        try:
            whole = block.add(payload, flags, self._limits)
        except ConnectionFailure:
            self._streams.counts["continuation_flood"] += 1
            raise
        if whole is not None:
            self.open_block = None
            self._block(block.flags, stream_id, whole)

    def _block(self, flags: int, stream_id: int, block: bytes) -> None:
        """A whole header block: of a new stream, or the trailers of one."""
        if stream_id <= self._streams.last_id or not stream_id & 1:
            self._trailers(flags, stream_id, block)
            return
        self._streams.last_id = stream_id
        try:
            head = self._blocks.remembered.get(block) or self._blocks.head(block)
        except StreamFailure as failure:
            self._streams.failed(stream_id, failure.code)
            return
        if self.shutdown.over:
            self._streams.cut_off(stream_id)
            return
        if len(self._open) >= self._limits.max_streams:
            self._streams.counts["too_many_streams"] += 1
            self._streams.suspect("closed_stream_flood")
            self._streams.write(frames.rst_stream(stream_id, ErrorCode.REFUSED_STREAM))
            self._streams.cut_off(stream_id)
            return
        self._begin(flags, stream_id, head)

    def _begin(self, flags: int, stream_id: int, head: RequestHead) -> None:
        stream = self._streams.add(stream_id, head)
        stream.ended = bool(flags & frames.END_STREAM)
        if head.refusal is not None:
            if head is OVERSIZED_HEAD:
                self._streams.suspect("header_bomb")
            self._streams.refuse(stream, head.refusal)
        elif stream.ended:
            self._streams.ended(stream)

    def _trailers(self, flags: int, stream_id: int, block: bytes) -> None:
        stream = self._open.get(stream_id)
        if stream is None or stream.ended:
            self._streams.check_late(stream_id, stream)
            self._skip(stream_id, block)
            return
        if not self._skip(stream_id, block, trailers=True):
            return
        if flags & frames.END_STREAM:
            self._streams.ended(stream)
        else:
            self._streams.failed(stream_id, ErrorCode.PROTOCOL_ERROR)

    def _skip(self, stream_id: int, block: bytes, *, trailers: bool = False) -> bool:
        try:
            self._blocks.skip(block, trailers=trailers)
        except StreamFailure as failure:
            self._streams.failed(stream_id, failure.code)
            return False
        return True

    def _priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Priorities are deprecated (section 5.3.2), and ignored."""
        del flags
        if not stream_id:
            raise self._streams.misused("PRIORITY on stream 0")
        self._streams.suspect("empty_frame_flood")
        if len(payload) != 5:
            self._streams.failed(stream_id, ErrorCode.FRAME_SIZE_ERROR)

    def _rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:
        del flags
        if len(payload) != 4:
            raise ConnectionFailure(ErrorCode.FRAME_SIZE_ERROR, f"RST_STREAM of {len(payload)} bytes")
        self._streams.check_known(stream_id, "RST_STREAM")
        stream = self._open.get(stream_id)
        if stream is None:
            self._streams.suspect("closed_stream_flood")
            return
        self._streams.suspect("rapid_reset")
        self._streams.gone(stream)

    def _settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise self._streams.misused("SETTINGS on a stream")
        if flags & frames.ACK:
            if payload:
                raise ConnectionFailure(
                    ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement of SETTINGS with some"
                )
            self._streams.suspect("empty_frame_flood")
            return
        self._streams.suspect("settings_flood")
        before = self._streams.peer.initial_window
        self._streams.peer.apply(payload)
        change = self._streams.peer.initial_window - before
        if change:
            for stream in self._open.values():
                if not self._streams.sender.credit(stream, change):
                    raise ConnectionFailure(ErrorCode.FLOW_CONTROL_ERROR, "a window of more than 2^31 - 1")
        self._streams.write(frames.SETTINGS_ACK)

    def _ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise self._streams.misused("PING on a stream")
        if len(payload) != 8:
            raise ConnectionFailure(ErrorCode.FRAME_SIZE_ERROR, f"PING of {len(payload)} bytes")
        self._streams.suspect("ping_flood")
        if flags & frames.ACK:
            self._streams.write(self.shutdown.answered(payload, self._streams.last_id))
        else:
            self._streams.write(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        """The client will open no more streams; it closes the connection when it has its answers."""
        del flags
        if stream_id:
            raise self._streams.misused("GOAWAY on a stream")
        if len(payload) < 8:
            raise ConnectionFailure(ErrorCode.FRAME_SIZE_ERROR, f"GOAWAY of {len(payload)} bytes")
        self._streams.suspect("empty_frame_flood")

    def _window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        del flags
        if len(payload) != 4:
            raise ConnectionFailure(ErrorCode.FRAME_SIZE_ERROR, f"WINDOW_UPDATE of {len(payload)} bytes")
        increment = int.from_bytes(payload, "big") & frames.MAX_WINDOW
        if not self._streams.sender.waiting:
            self._streams.suspect("empty_frame_flood")
        if not stream_id:
            if not increment:
                raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
            if not self._streams.sender.credit(None, increment):
                raise ConnectionFailure(ErrorCode.FLOW_CONTROL_ERROR, "a window of more than 2^31 - 1")
            return
        self._streams.check_known(stream_id, "WINDOW_UPDATE")
        stream = self._open.get(stream_id)
        if stream is None:
            return
        if not increment:
            self._streams.failed(stream_id, ErrorCode.PROTOCOL_ERROR)
        elif not self._streams.sender.credit(stream, increment):
            self._streams.failed(stream_id, ErrorCode.FLOW_CONTROL_ERROR)

    def _push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        del flags, stream_id, payload
        raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "a client cannot push")


def _block_interrupted() -> ConnectionFailure:
    return ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "a frame in the middle of a header block")


_FRAMES: dict[int, Callable[[Inbound, int, int, bytes], None]] = {
    frames.HEADERS: Inbound._headers,
    frames.PRIORITY: Inbound._priority,
    frames.RST_STREAM: Inbound._rst_stream,
    frames.SETTINGS: Inbound._settings,
    frames.PUSH_PROMISE: Inbound._push_promise,
    frames.PING: Inbound._ping,
    frames.GOAWAY: Inbound._goaway,
    frames.WINDOW_UPDATE: Inbound._window_update,
    frames.CONTINUATION: Inbound._continuation,
}
"""What each type of frame does."""
