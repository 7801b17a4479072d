"""A client of HTTP/2 that may say anything: frames by hand, and what a server answers taken apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import hpack

from pyserve.transport.h2 import frames
from pyserve.transport.h2.abuse import ATTACKS, Counts
from pyserve.transport.h2.connection import Connection
from pyserve.transport.h2.events import Event, Request
from pyserve.transport.h2.hpack.encoder import encode
from pyserve.transport.h2.limits import Limits

METHOD = "/test.Service/Method"
HEADERS = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", METHOD),
    (":authority", "localhost"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)
WHOLE = frames.END_HEADERS | frames.END_STREAM


def settings(**values: int) -> bytes:
    """A SETTINGS frame, by the short names of the settings."""
    keys = {"table": 1, "push": 2, "streams": 3, "window": 4, "frame": 5, "list": 6}
    return frames.settings({keys[name]: value for name, value in values.items()})


GREETING = frames.PREFACE + settings()


def block(fields: Iterable[tuple[str, str]] = HEADERS) -> bytes:
    """A header block that leaves the tables alone."""
    return encode((name.encode(), value.encode()) for name, value in fields)


def replaced(*pairs: tuple[str, str | None]) -> list[tuple[str, str]]:
    """The usual header with other values, without some (None), and with more."""
    fields = dict(HEADERS)
    for name, value in pairs:
        fields.pop(name, None) if value is None else fields.update({name: value})
    return list(fields.items())


def headers(stream_id: int, data: bytes | None = None, flags: int = frames.END_HEADERS) -> bytes:
    return frames.frame(frames.HEADERS, flags, stream_id, block() if data is None else data)


def message(data: bytes, flag: int = 0) -> bytes:
    return bytes((flag,)) + len(data).to_bytes(4, "big") + data


def data(stream_id: int, payload: bytes, *, end: bool = True, flags: int = 0) -> bytes:
    return frames.frame(frames.DATA, flags | end * frames.END_STREAM, stream_id, payload)


def request(stream_id: int, content: bytes = b"hello", fields: Iterable[tuple[str, str]] = HEADERS) -> bytes:
    """A whole unary request."""
    return headers(stream_id, block(fields)) + data(stream_id, message(content))


@dataclass
class Frame:
    """One frame of a server; `fields` are those of a header block."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """The payload of RST_STREAM and WINDOW_UPDATE, or the error of GOAWAY."""
        return int.from_bytes(self.payload[4:8] if self.kind == frames.GOAWAY else self.payload, "big")


def read_frames(wire: bytes, decoder: hpack.Decoder | None = None) -> list[Frame]:
    """The frames of a server's bytes, which must be whole."""
    decoder = decoder or hpack.Decoder()
    found: list[Frame] = []
    position = 0
    while position < len(wire):
        high, low, kind, flags, stream_id = frames.read_header(wire, position)
        end = position + frames.HEADER_BYTES + (high << 16 | low)
        payload = wire[position + frames.HEADER_BYTES : end]
        assert len(payload) == high << 16 | low, "a frame without its end"
        fields = dict(decoder.decode(payload)) if kind == frames.HEADERS else {}
        found.append(Frame(kind, flags, stream_id, payload, fields))
        position = end
    return found


class Wire:
    """A connection's server side with a client that is greeted, or not.

    Attributes:
        events: Everything that the connection told.
        frames: Everything that it answered since the greeting.
        now: The time; set it to let it pass.
    """

    def __init__(self, *, greet: bool = True, methods: Iterable[str] = (METHOD,), **limits: float) -> None:
        self.counts: Counts = Counts(dict.fromkeys(ATTACKS, 0))
        self.now = 100.0
        self.connection = Connection(frozenset(methods), Limits(**limits), self.counts, self.now)  # type: ignore[arg-type]
        self.events: list[Event] = []
        self.frames: list[Frame] = []
        self._decoder = hpack.Decoder()
        if greet:
            self.send(GREETING)
            self.frames.clear()

    def send(self, *pieces: bytes) -> list[Event]:
        """Send bytes; what follows from each piece."""
        found: list[Event] = []
        for piece in pieces:
            found += self.connection.receive(piece, self.now)
        self.events += found
        self.take()
        return found

    def take(self) -> None:
        """Read what the server sends."""
        connection = self.connection
        while connection.has_output:
            if connection.has_more:
                self.events += connection.pump()
            wire = b"".join(connection.take_output())
            self.frames += read_frames(wire, self._decoder)

    def tick(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.events += self.connection.tick(self.now)
        self.take()

    def answer(self, stream_id: int, content: bytes) -> None:
        self.connection.answer(stream_id, content)
        self.take()

    def of(self, stream_id: int) -> list[Frame]:
        return [frame for frame in self.frames if frame.stream_id == stream_id]

    def sent(self, stream_id: int) -> bytes:
        """The bytes of DATA on a stream."""
        return b"".join(frame.payload for frame in self.of(stream_id) if frame.kind == frames.DATA)

    def status(self, stream_id: int) -> tuple[str, str]:
        """grpc-status and grpc-message of a stream."""
        last = [frame for frame in self.of(stream_id) if frame.kind == frames.HEADERS][-1]
        assert last.flags & frames.END_STREAM
        return last.fields["grpc-status"], last.fields.get("grpc-message", "")

    def resets(self) -> dict[int, int]:
        """Stream → error code."""
        return {frame.stream_id: frame.number for frame in self.frames if frame.kind == frames.RST_STREAM}

    def farewell(self) -> int | None:
        """The error of the last GOAWAY."""
        found = [frame.number for frame in self.frames if frame.kind == frames.GOAWAY]
        return found[-1] if found else None

    def requests(self) -> dict[int, bytes]:
        """Stream → message of each request so far."""
        return {event.stream_id: event.message for event in self.events if isinstance(event, Request)}

    def is_well(self, stream_id: int) -> bool:
        """Whether a request on a new stream is served."""
        self.send(request(stream_id, b"well?"))
        self.answer(stream_id, b"well")
        return self.requests().get(stream_id) == b"well?" and self.sent(stream_id) == message(b"well")
