"""How a connection ends without losing a request (RFC 9113 section 6.8).

The first GOAWAY says that there will be an end, and refuses nothing; a PING goes with it. When its answer is back the
client knows, and whatever it sent before has arrived: the second GOAWAY names the last stream that is served. Later
ones are ignored, and their clients try them again elsewhere.
"""

from __future__ import annotations

from pyserve.transport.h2.frames import MAX_STREAM_ID, PING, ErrorCode, frame, goaway

_MARK = b"goodbye!"
# A client that does not answer the PING is not waited for.
_ANSWER_S = 1.0


class Shutdown:
    """The two steps.

    Attributes:
        begun: Whether the client has been told.
        over: Whether streams are refused.
    """

    __slots__ = ("_begun_at", "begun", "over")

    def __init__(self) -> None:
        self.begun = self.over = False
        self._begun_at = 0.0

    def begin(self, now: float) -> bytes:
        """The first step's frames; empty when it was taken before."""
        if self.begun:
            return b""
        self.begun = True
        self._begun_at = now
        return goaway(MAX_STREAM_ID, ErrorCode.NO_ERROR) + frame(PING, 0, 0, _MARK)

    def answered(self, payload: bytes, last_stream_id: int) -> bytes:
        """The second step's frame, if this PING's answer is the one that was waited for."""
        return self._end(last_stream_id) if payload == _MARK else b""

    def wait(self, now: float, last_stream_id: int) -> bytes:
        """The second step's frame, if the answer has been waited for long enough."""
        return self._end(last_stream_id) if now - self._begun_at >= _ANSWER_S else b""

    def _end(self, last_stream_id: int) -> bytes:
        if not self.begun or self.over:
            return b""
        self.over = True
        return goaway(last_stream_id, ErrorCode.NO_ERROR)
