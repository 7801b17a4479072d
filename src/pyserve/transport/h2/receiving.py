"""Windows of what comes in (RFC 9113 section 5.2).

A stream begins with the 64 KiB of the protocol. Its window grows when its message has declared its length, never beyond
that, and by what has arrived so far: whoever wants room for a megabyte has sent half of it.
"""

from __future__ import annotations

from pyserve.transport.h2.frames import DEFAULT_WINDOW, ConnectionFailure, ErrorCode
from pyserve.transport.h2.grpc_messages import PREFIX_BYTES
from pyserve.transport.h2.stream import Stream


class ConnectionWindow:
    """The window of all streams together. What was received is granted again, for the streams' own windows bound it.

    Args:
        size: Bytes that may be on their way, >= 65,535.
    """

    __slots__ = ("_left", "_size", "_used")

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = DEFAULT_WINDOW
        self._used = size - DEFAULT_WINDOW  # the first announcement raises the window to its size

    def receive(self, count: int) -> None:
        """Bytes have come.

        Raises:
            ConnectionFailure: They are more than the window.
        """
        if count > self._left:
            raise ConnectionFailure(
                ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the connection's window allows"
            )
        self._left -= count
        self._used += count

    def increment(self, least: int | None = None) -> int:
        """By how much to raise the window now; 0: not yet. It is raised when half of it is used up."""
        if self._used < (self._size // 2 if least is None else least):
            return 0
        increment, self._used = self._used, 0
        self._left += increment
        return increment


def room_wanted(stream: Stream) -> int:
    """The bytes for which an incomplete message needs room now, beyond those that have it; 0: none yet.

    It is asked for when three quarters of what has room are there: for as many again as have arrived, and at least a
    window, but never beyond the message. When that is granted the client can always go on.
    """
    if stream.declared < 0 or stream.received * 4 < stream.charged * 3:
        return 0
    whole = stream.declared + PREFIX_BYTES
    if stream.padding:  # who pads goes on padding
        whole += stream.padding + DEFAULT_WINDOW
    ahead = stream.received + max(stream.received, DEFAULT_WINDOW)
    return max(0, min(whole, max(stream.window, ahead)) - stream.charged)
