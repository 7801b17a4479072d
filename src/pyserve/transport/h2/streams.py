"""The streams of one connection: what is asked of the server, and how each ends (RFC 9113 sections 5.1 and 8.1)."""

from __future__ import annotations

import collections

from pyserve.errors import ServingError, Status
from pyserve.transport.h2 import frames, responses
from pyserve.transport.h2.abuse import Buckets, Counts
from pyserve.transport.h2.events import Event, Gone, Request, Sent
from pyserve.transport.h2.frames import ConnectionFailure, ErrorCode
from pyserve.transport.h2.headers import Refusal, RequestHead
from pyserve.transport.h2.limits import Limits
from pyserve.transport.h2.sending import Sender
from pyserve.transport.h2.settings import PeerSettings
from pyserve.transport.h2.stream import Stream


class Streams:
    """Open and half-closed streams, and the ways out of them.

    Args:
        limits: What the client may take.
        counts: Where met bounds are counted.
        now: When the connection was accepted.

    Attributes:
        open: Requests that are not answered yet, by id.
        last_id: The highest id so far.
        now: The time of what is being done.
        events: What the driver has not been told yet.
        peer: The client's settings.
        sender: What goes out.
    """

    def __init__(self, limits: Limits, counts: Counts, now: float) -> None:
        self.limits = limits
        self.counts = counts
        self.now = now
        self.open: dict[int, Stream] = {}
        self.last_id = 0
        self.events: list[Event] = []
        self.peer = PeerSettings()
        self.sender = Sender(self.peer)
        self._buckets = Buckets(now)
        # Streams that ended before their client had sent everything: what is still on its way is no mistake of its.
        self._cut_off: collections.OrderedDict[int, None] = collections.OrderedDict()

    # --- in ------------------------------------------------------------------------------------------------------

    def add(self, stream_id: int, head: RequestHead) -> Stream:
        """A stream that its client has opened."""
        stream = Stream(stream_id, head, self.now, self.peer.initial_window)
        self.open[stream_id] = stream
        return stream

    def ended(self, stream: Stream) -> None:
        """The client has sent everything."""
        stream.ended = True
        try:
            message = stream.message()
        except ServingError as error:
            self.refuse_early(stream, error)
            return
        self.complete(stream, message)

    def complete(self, stream: Stream, message: bytes) -> None:
        """A request is there."""
        stream.ended = stream.told = True
        self.events.append(Request(stream.id, stream.head, message, stream.compressed, stream.deadline))

    # --- out -----------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Put out a frame, if there is one."""
        if data:
            self.sender.out.append(data)

    def answered(self, stream: Stream) -> None:
        """The answer is out: the stream is closed."""
        del self.open[stream.id]
        if not stream.ended:  # the rest of the request is not wanted (section 8.1)
            self.write(frames.rst_stream(stream.id, ErrorCode.NO_ERROR))
            self.cut_off(stream.id)

    def refuse(self, stream: Stream, refusal: Refusal) -> None:
        """Answer with an error, behind what was sent of an answer."""
        if stream.opened:
            if self.sender.finish(stream, responses.trailers(stream.id, refusal.status)):
                self.answered(stream)
            return
        if refusal.http_status != 200:
            self.write(responses.http_only(stream.id, refusal.http_status))
        else:
            self.write(responses.trailers_only(stream.id, refusal.status))
        self.answered(stream)

    def refuse_early(self, stream: Stream, error: ServingError) -> None:
        """Answer with an error before the driver does."""
        self.refuse(stream, Refusal(Status.of(error)))
        if stream.told:
            self.events.append(Gone(stream.id))

    def pump(self) -> None:
        """Send what the windows allow."""
        for stream in self.sender.pump(self.now):
            if stream.end is not None:
                self.answered(stream)
            else:
                self.events.append(Sent(stream.id))

    # --- without an answer ---------------------------------------------------------------------------------------

    def gone(self, stream: Stream) -> None:
        """A stream is over."""
        del self.open[stream.id]
        self.sender.drop(stream)
        if stream.told:
            self.events.append(Gone(stream.id))

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """End a stream by RST_STREAM, whatever its state."""
        self.write(frames.rst_stream(stream_id, code))
        self.cut_off(stream_id)
        stream = self.open.get(stream_id)
        if stream is not None:
            self.gone(stream)

    def failed(self, stream_id: int, code: ErrorCode) -> None:
        """A breach of the rules that ends one stream.

        Raises:
            ConnectionFailure: It is one too many.
        """
        self.counts["protocol_error"] += 1
        self.reset(stream_id, code)
        self.suspect("provoked_reset")

    def cut_off(self, stream_id: int) -> None:
        """Bear with what is still on its way of a stream that is over."""
        self._cut_off[stream_id] = None
        if len(self._cut_off) > 4 * self.limits.max_streams:
            self._cut_off.popitem(last=False)

    def drop_all(self) -> None:
        """The connection is over."""
        for stream in list(self.open.values()):
            self.gone(stream)

    # --- suspicions ----------------------------------------------------------------------------------------------

    def suspect(self, name: str) -> None:
        """Something that a client may do, but not without end.

        Raises:
            ConnectionFailure: It is one too many.
        """
        if not self._buckets.take(name, self.now, self.sender.answers):
            self.counts[name] += 1
            raise ConnectionFailure(ErrorCode.ENHANCE_YOUR_CALM, name.replace("_", " "))

    def check_known(self, stream_id: int, kind: str) -> None:
        """Only a stream that was opened can be meant (section 5.1).

        Raises:
            ConnectionFailure: It never was.
        """
        if not stream_id & 1 or stream_id > self.last_id:
            raise self.misused(f"{kind} on stream {stream_id}, which was not opened")

    def check_late(self, stream_id: int, stream: Stream | None) -> None:
        """A frame for a stream that takes none: an error, unless the server has cut it off.

        Raises:
            ConnectionFailure: It is one.
        """
        if stream is None:
            self.check_known(stream_id, "a frame")
        if stream_id not in self._cut_off:
            self.counts["stream_id_misuse"] += 1
            raise ConnectionFailure(
                ErrorCode.STREAM_CLOSED, f"a frame on stream {stream_id}, which is closed"
            )
        self.suspect("closed_stream_flood")

    def misused(self, message: str) -> ConnectionFailure:
        """The failure for a stream id where it cannot be."""
        self.counts["stream_id_misuse"] += 1
        return ConnectionFailure(ErrorCode.PROTOCOL_ERROR, message)
