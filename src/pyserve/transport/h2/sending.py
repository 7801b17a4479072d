"""What goes out: frames in order, and DATA as the client's windows allow (RFC 9113 section 5.2).

Answers that do not fit into the windows wait; streams with room take turns, a frame each.
"""

from __future__ import annotations

import collections

from pyserve.errors import OK
from pyserve.transport.h2 import responses
from pyserve.transport.h2.frames import DATA, DEFAULT_WINDOW, MAX_WINDOW, header
from pyserve.transport.h2.grpc_messages import PREFIX_BYTES
from pyserve.transport.h2.settings import PeerSettings
from pyserve.transport.h2.stream import Stream

# A message above this is not copied to stand in one piece with its frames.
_COPIED_BYTES = 1 << 16
# How much DATA is put out in one go.
_ROUND_BYTES = 1 << 22


class Sender:
    """The outgoing half of a connection.

    Args:
        peer: The client's settings.

    Attributes:
        out: Frames to be sent, in order.
        window: Bytes of DATA that the client takes now, over all streams.
        answers: DATA frames so far.
        waiting: Streams with unsent bytes, by id.
    """

    __slots__ = ("_peer", "_turns", "answers", "out", "waiting", "window")

    def __init__(self, peer: PeerSettings) -> None:
        self._peer = peer
        self.out: list[bytes | memoryview] = []
        self.window = DEFAULT_WINDOW
        self.answers = 0
        self.waiting: dict[int, Stream] = {}
        self._turns: collections.deque[Stream] = collections.deque()

    def answer(self, stream: Stream, message: bytes) -> bool:
        """A whole unary answer; whether it has gone out, or waits."""
        length = len(message)
        size = length + PREFIX_BYTES
        if (
            size > self.window
            or size > stream.send_window
            or size > self._peer.max_frame_size
            or length > _COPIED_BYTES
        ):
            self.out.append(responses.head(stream.id))
            stream.opened = True
            self.send(stream, message, responses.trailers(stream.id, OK))
            return False
        self.window -= size
        self.answers += 1
        number = stream.id.to_bytes(4, "big")
        self.out.append(
            b"%b%b%b%b\0\0%b\0%b%b%b%b%b"
            % (
                responses.RESPONSE_START,
                number,
                responses.RESPONSE_BLOCK,
                size.to_bytes(3, "big"),
                number,
                length.to_bytes(4, "big"),
                message,
                responses.OK_START,
                number,
                responses.OK_BLOCK,
            )
        )
        return True

    def send(self, stream: Stream, message: bytes, end: bytes | None) -> None:
        """A message of an answer whose head is out, and the trailers behind it if it is the last."""
        if stream.unsent is None:
            stream.unsent = collections.deque()
        prefix = b"\0" + len(message).to_bytes(4, "big")
        stream.unsent.append(memoryview(prefix))
        if message:
            stream.unsent.append(memoryview(message))
        stream.end = end
        self.waiting[stream.id] = stream
        self._turns.append(stream)

    def finish(self, stream: Stream, end: bytes) -> bool:
        """The trailers behind everything that waits; whether they went."""
        if stream.id in self.waiting:
            stream.end = end
            return False
        self.out.append(end)
        return True

    def drop(self, stream: Stream) -> None:
        """Forget what waits of a stream."""
        self.waiting.pop(stream.id, None)
        stream.unsent = None

    def credit(self, stream: Stream | None, count: int) -> bool:
        """A window grows, a stream's or the connection's; False when it becomes larger than a window may be."""
        if stream is None:
            self.window += count
            return self.window <= MAX_WINDOW
        before = stream.send_window
        stream.send_window = before + count
        if before <= 0 < stream.send_window and stream.unsent:
            self._turns.append(stream)
        return stream.send_window <= MAX_WINDOW

    @property
    def has_turns(self) -> bool:
        """Whether `pump` would send something."""
        return bool(self._turns) and self.window > 0

    def pump(self, now: float) -> list[Stream]:
        """Send what the windows allow, up to a few megabytes; the streams of which everything is out now."""
        out, turns = self.out, self._turns
        done: list[Stream] = []
        room = _ROUND_BYTES
        while turns and self.window > 0 and room > 0:
            stream = turns.popleft()
            unsent = stream.unsent
            if not unsent:
                continue
            count = self._frame(stream, unsent)
            if not count:
                continue  # its next credit brings it back
            stream.progressed_at = now
            room -= count
            if unsent:
                turns.append(stream)
                continue
            del self.waiting[stream.id]
            if stream.end is not None:
                out.append(stream.end)
            done.append(stream)
        return done

    def _frame(self, stream: Stream, unsent: collections.deque[memoryview]) -> int:
        """Put out one DATA frame of a stream; how many bytes it holds."""
        room = min(self.window, stream.send_window, self._peer.max_frame_size)
        if room <= 0:
            return 0
        pieces: list[memoryview] = []
        count = 0
        while unsent and count < room:
            piece = unsent[0]
            if len(piece) <= room - count:
                unsent.popleft()
            else:
                unsent[0] = piece[room - count :]
                piece = piece[: room - count]
            pieces.append(piece)
            count += len(piece)
        self.window -= count
        stream.send_window -= count
        self.answers += 1
        self.out.append(header(count, DATA, 0, stream.id))
        self.out += pieces
        return count
