"""One stream: a request on its way in, and its answer on its way out (RFC 9113 section 5.1).

    idle ──HEADERS──► open ──END_STREAM──► half-closed ──answer──► closed
                        └──────RST_STREAM, or an early answer──────┘

An idle stream is a number above the last one, a closed one is forgotten: only the two states between have an object.
"""

from __future__ import annotations

import collections

from pyserve.errors import InternalError, ServingError, UnimplementedError
from pyserve.transport.h2.frames import DEFAULT_WINDOW
from pyserve.transport.h2.grpc_messages import IDENTITY, PREFIX_BYTES, too_large
from pyserve.transport.h2.headers import RequestHead

# Parts of a message below this are put together as they come: an object for each byte would take fifty times its room.
_SMALL_PART = 1024


class Stream:
    """An open or half-closed stream.

    Attributes:
        id, head: Its number, and what its header says.
        deadline: When the caller gives up; None: never.
        ended: Whether the client has sent everything.
        told: Whether the driver knows of it.
        declared: Bytes of the message by its prefix; -1 before that has come.
        compressed: What the prefix says.
        received: Bytes of DATA so far, padding included.
        padding: How many of them are padding.
        window: Bytes of DATA that the client may send altogether.
        charged: Bytes for which the driver has made room.
        room_wanted: Whether the driver has been asked for more, and has not answered.
        progressed_at: When something of it last came or went.
        send_window: Bytes of the answer that the client takes now; negative after it shrank its windows.
        unsent: What waits for the windows.
        end: The trailers to send behind that; None: more messages may follow.
        opened: Whether the head of the answer has gone out.
    """

    __slots__ = (
        "_parts", "_size", "charged", "compressed", "deadline", "declared", "end", "ended", "head", "id", "opened",
        "padding", "progressed_at", "received", "room_wanted", "send_window", "told", "unsent", "window",
    )  # fmt: skip

    def __init__(self, id: int, head: RequestHead, now: float, send_window: int) -> None:
        self.id = id
        self.head = head
        self.deadline = None if head.timeout_s is None else now + head.timeout_s
        self.ended = self.told = self.compressed = self.room_wanted = self.opened = False
        self.declared = -1
        self.received = self.padding = self.charged = self._size = 0
        self.window = DEFAULT_WINDOW
        self.progressed_at = now
        self.send_window = send_window
        self.end: bytes | None = None
        self._parts: list[bytes | bytearray] = []
        self.unsent: collections.deque[memoryview] | None = None

    def add(self, part: bytes, max_message: int) -> None:
        """Take the next piece of DATA.

        Raises:
            ServingError: It cannot be a message, or is more than one.
        """
        self._size += len(part)
        if len(part) < _SMALL_PART:
            if self._parts and type(self._parts[-1]) is bytearray:
                self._parts[-1] += part
            else:
                self._parts.append(bytearray(part))
        else:
            self._parts.append(part)
        if self.declared < 0 and self._size >= PREFIX_BYTES:
            start = b"".join(self._parts)
            self._parts = [start[PREFIX_BYTES:]]
            self._size -= PREFIX_BYTES
            self.declare(start[0], int.from_bytes(start[1:PREFIX_BYTES], "big"), max_message)
        if self._size > self.declared >= 0:
            raise UnimplementedError("The request holds more than one message; the method takes one")

    def declare(self, flag: int, length: int, max_message: int) -> None:
        """Take what a message's prefix says.

        Raises:
            ServingError: It is too large, or says something that cannot be.
        """
        if flag > 1 or (flag and self.head.encoding == IDENTITY):
            raise InternalError("The message is marked as compressed, and its grpc-encoding is none")
        if length > max_message:
            raise too_large(length, max_message)
        self.compressed = bool(flag)
        self.declared = length

    def message(self) -> bytes:
        """The message, once the client has sent everything.

        Raises:
            ServingError: There is none, or not all of it.
        """
        if self.declared < 0 and not self._size:
            raise UnimplementedError("The request holds no message; the method takes one")
        if self._size != self.declared:
            raise InternalError(f"The request ends after {self._size} bytes of its message")
        parts, self._parts = self._parts, []
        return b"".join(parts)

    def refusal(self, error: ServingError) -> ServingError:
        """Let go of what has come in; gives the error back."""
        self._parts = []
        return error
