"""One client's connection to a gRPC server.

    events = connection.receive(data, now)      a Request is to be answered, by its stream's id
    connection.answer(stream_id, message)
    for piece in connection.take_output(): ...

Nothing here waits, and no clock is read: `now` is a point on any clock in seconds that does not go back. Belongs to one
thread. Whatever a client sends, nothing is raised: what breaks the rules ends a stream or the connection.
"""

from __future__ import annotations

from collections.abc import Container

from pyserve.errors import OK, DeadlineExceededError, ServingError, Status
from pyserve.transport.h2 import frames, responses, settings
from pyserve.transport.h2.abuse import Counts
from pyserve.transport.h2.events import Event
from pyserve.transport.h2.frames import ConnectionFailure, ErrorCode
from pyserve.transport.h2.framing import Framing
from pyserve.transport.h2.grpc_messages import too_large_answer
from pyserve.transport.h2.headers import Refusal
from pyserve.transport.h2.inbound import Inbound
from pyserve.transport.h2.limits import Limits
from pyserve.transport.h2.stream import Stream
from pyserve.transport.h2.streams import Streams

_KEEPALIVE = b"present?"


class Connection:
    """The server's side.

    Args:
        methods: The paths that are served.
        limits: What the client may take.
        counts: Where met bounds are counted, by the names in `abuse.py`.
        now: When it was accepted.

    Attributes:
        closed: Whether nothing more is read, and what has been put out is the last.
    """

    def __init__(self, methods: Container[str], limits: Limits, counts: Counts, now: float) -> None:
        self._limits = limits
        self._counts = counts
        self._began_at = self._heard_at = self._idle_since = now
        self._asked_at: float | None = None  # when our last PING went out
        self._streams = Streams(limits, counts, now)
        self._sender = self._streams.sender
        self._inbound = Inbound(methods, self._streams)
        self._framing = Framing(self._inbound, limits)
        self._shutdown = self._inbound.shutdown
        self.closed = False
        declared = {
            settings.MAX_CONCURRENT_STREAMS: limits.max_streams,
            settings.MAX_FRAME_SIZE: limits.max_frame,
            settings.MAX_HEADER_LIST_SIZE: limits.max_header_list,
        }
        self._streams.write(frames.settings(declared))
        self._inbound.widen(first=True)

    # --- bytes in ------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take what the client has sent; what follows from it."""
        if self.closed:
            return []
        self._heard_at = self._streams.now = now
        try:
            self._framing.feed(data, now)
            self._inbound.widen()
        except ConnectionFailure as failure:
            self._fail(failure)
        if self._sender.has_turns:
            self._streams.pump()
        return self._events()

    def lost(self) -> list[Event]:
        """The client is gone; what follows from it."""
        self.closed = True
        self._streams.drop_all()
        return self._events()

    def _events(self) -> list[Event]:
        events = self._streams.events
        if events:
            self._streams.events = []
        return events

    # --- answers -------------------------------------------------------------------------------------------------

    def answer(self, stream_id: int, message: bytes) -> None:
        """The one message of a successful answer. Nothing happens if the client has gone meanwhile."""
        stream = self._streams.open.get(stream_id)
        if stream is None:
            return
        if len(message) > self._limits.max_answer:
            self.answer_error(stream_id, too_large_answer(len(message), self._limits.max_answer))
        elif self._sender.answer(stream, message):
            self._streams.answered(stream)

    def answer_error(self, stream_id: int, error: ServingError) -> None:
        """An error, instead of an answer or behind the messages of one."""
        stream = self._streams.open.get(stream_id)
        if stream is not None:
            self._streams.refuse(stream, Refusal(Status.of(error)))

    def send(self, stream_id: int, message: bytes) -> None:
        """One of several messages of an answer; `Sent` tells when it has gone out."""
        stream = self._streams.open.get(stream_id)
        if stream is not None:
            self._open_answer(stream)
            self._sender.send(stream, message, None)

    def finish(self, stream_id: int) -> None:
        """The successful end of an answer with several messages."""
        stream = self._streams.open.get(stream_id)
        if stream is not None:
            self._open_answer(stream)
            if self._sender.finish(stream, responses.trailers(stream_id, OK)):
                self._streams.answered(stream)

    def _open_answer(self, stream: Stream) -> None:
        if not stream.opened:
            stream.opened = True
            self._streams.write(responses.head(stream.id))

    def grant(self, stream_id: int, count: int) -> None:
        """There is room for the bytes that `RoomWanted` asked for."""
        stream = self._streams.open.get(stream_id)
        if stream is None:
            return
        stream.charged += count
        stream.room_wanted = False
        stream.progressed_at = self._streams.now
        if stream.charged > stream.window:
            self._streams.write(frames.window_update(stream_id, stream.charged - stream.window))
            stream.window = stream.charged

    # --- bytes out -----------------------------------------------------------------------------------------------

    @property
    def has_output(self) -> bool:
        """Whether there is something to be sent."""
        return bool(self._sender.out) or self.has_more

    @property
    def has_more(self) -> bool:
        """Whether answers wait for nothing but their turn."""
        return self._sender.has_turns and not self.closed

    def pump(self) -> list[Event]:
        """Put out the next few megabytes of those; what follows from it."""
        self._streams.pump()
        return self._events()

    def take_output(self) -> list[bytes | memoryview]:
        """What is to be sent, in order."""
        out, self._sender.out = self._sender.out, []
        return out

    # --- time ----------------------------------------------------------------------------------------------------

    def shut_down(self, now: float) -> None:
        """Tell the client that the connection will end; requests that it has sent are served."""
        self._streams.write(self._shutdown.begin(now))

    @property
    def told(self) -> bool:
        """Whether the client knows that the connection ends: nothing that it begins is served any more."""
        return self._shutdown.over or self.closed

    @property
    def finished(self) -> bool:
        """Whether it was shut down, and nothing is left to be done."""
        return self._shutdown.over and not self._streams.open

    def tick(self, now: float) -> list[Event]:
        """Let time pass, about once a second; what follows from it."""
        if self.closed:
            return []
        self._streams.now = now
        try:
            self._check_silence(now)
            for stream in list(self._streams.open.values()):
                self._check_stream(stream, now)
            self._check_age(now)
        except ConnectionFailure as failure:
            self._fail(failure)
        else:
            self._streams.write(self._shutdown.wait(now, self._streams.last_id))
        return self._events()

    def _check_silence(self, now: float) -> None:
        limits = self._limits
        held = self._framing.held_since
        block = self._inbound.open_block
        late = not self._framing.greeted and now - self._began_at > limits.handshake_s
        late = late or (held is not None and now - held > limits.header_s)
        if late or (block is not None and now - block.since > limits.header_s):
            self._counts["slow_headers"] += 1
            raise ConnectionFailure(ErrorCode.ENHANCE_YOUR_CALM, "a preface or a header that does not come")
        if limits.keepalive_s is None:
            return
        if self._asked_at is not None and self._heard_at < self._asked_at:
            if now - self._asked_at > limits.keepalive_answer_s:
                raise ConnectionFailure(ErrorCode.NO_ERROR, "a PING without an answer")
        elif now - self._heard_at > limits.keepalive_s:
            self._asked_at = now
            self._streams.write(frames.frame(frames.PING, 0, 0, _KEEPALIVE))

    def _check_stream(self, stream: Stream, now: float) -> None:
        silent_s = now - stream.progressed_at
        if stream.unsent:
            if silent_s > self._limits.unread_s:
                self._counts["zero_window_stall"] += 1
                self._streams.reset(stream.id, ErrorCode.CANCEL)
        elif stream.ended or stream.room_wanted:
            return
        elif stream.deadline is not None and now > stream.deadline:
            self._streams.refuse_early(stream, DeadlineExceededError("The request did not arrive in time"))
        elif silent_s > self._limits.message_s:
            self._counts["slow_message"] += 1
            self._streams.refuse_early(stream, DeadlineExceededError("The request's message did not arrive"))

    def _check_age(self, now: float) -> None:
        limits = self._limits
        age_s = now - self._began_at
        if self._streams.open:
            self._idle_since = now
        elif limits.idle_s is not None and now - self._idle_since > limits.idle_s:
            self.shut_down(now)
        if limits.age_s is None or age_s <= limits.age_s:
            return
        self.shut_down(now)
        if limits.age_grace_s is not None and age_s > limits.age_s + limits.age_grace_s:
            raise ConnectionFailure(ErrorCode.NO_ERROR, "the connection is too old")

    def _fail(self, failure: ConnectionFailure) -> None:
        """A breach of the rules that ends the connection."""
        if failure.code is not ErrorCode.NO_ERROR:
            self._counts["protocol_error"] += 1
        self._streams.write(frames.goaway(self._streams.last_id, failure.code, failure.message))
        self.closed = True
        self._streams.drop_all()
