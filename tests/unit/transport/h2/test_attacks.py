"""Each known attack: it is bounded, it is counted, and what comes close to it honestly is served."""

from __future__ import annotations

import hpack
import pytest

from h2_wire import GREETING, HEADERS, WHOLE, Wire, block, data, headers, message, request, settings
from pyserve.errors import Code
from pyserve.transport.h2 import frames
from pyserve.transport.h2.abuse import ATTACKS, RATES, Counts
from pyserve.transport.h2.events import Gone, RoomWanted
from pyserve.transport.h2.frames import ErrorCode, rst_stream, window_update

CALM = ErrorCode.ENHANCE_YOUR_CALM
PING = frames.frame(frames.PING, 0, 0, bytes(8))


def flood(wire: Wire, piece: bytes, limit: int) -> int:
    """Send a piece again and again in one moment; how often before the connection ended."""
    for number in range(limit):
        if wire.connection.closed:
            return number
        wire.send(piece)
    return limit


@pytest.mark.parametrize(
    ("name", "piece"),
    [
        ("settings_flood", settings()),
        ("ping_flood", PING),
        ("ping_flood", frames.frame(frames.PING, frames.ACK, 0, bytes(8))),
        ("empty_frame_flood", data(1, b"", end=False)),
        ("empty_frame_flood", data(1, b"\x03\0\0\0", end=False, flags=frames.PADDED)),
        ("empty_frame_flood", frames.frame(frames.PRIORITY, 0, 1, bytes(5))),
        ("empty_frame_flood", frames.frame(0x42, 0, 1, b"x")),
        ("empty_frame_flood", frames.SETTINGS_ACK),
        ("empty_frame_flood", window_update(0, 1)),
        ("empty_frame_flood", frames.goaway(0, ErrorCode.NO_ERROR)),
    ],
)
def test_frames_that_carry_nothing(name: str, piece: bytes) -> None:
    """A burst is borne, then the connection ends; at an honest rate it does not."""
    wire = Wire()
    wire.send(headers(1))
    # SETTINGS of the greeting were one of the burst.
    assert RATES[name].burst - 1 <= flood(wire, piece, 10_000) - 1 <= RATES[name].burst
    assert wire.farewell() == CALM
    assert wire.counts[name] == 1
    honest = Wire()
    honest.send(headers(1))
    for _ in range(RATES[name].burst * 2):
        honest.now += 1 / RATES[name].per_s
        honest.send(piece)
    assert not honest.connection.closed
    assert honest.counts[name] == 0


def test_acknowledgements_of_answers_are_no_flood() -> None:
    """A client that takes thousands of answers in a moment may say so with each."""
    wire = Wire()
    for stream_id in range(1, 8_000, 2):
        wire.send(request(stream_id) + PING)
        wire.answer(stream_id, b"x")
        wire.send(window_update(0, 6))
    assert not wire.connection.closed


def test_rapid_reset() -> None:
    """Opening and resetting without end ends the connection; its requests are told to be gone."""
    wire = Wire()
    stream_id = 1
    while not wire.connection.closed:
        wire.send(request(stream_id) + rst_stream(stream_id, ErrorCode.CANCEL))
        stream_id += 2
        assert stream_id < 10_000
    assert wire.farewell() == CALM
    assert wire.counts["rapid_reset"] == 1
    assert len([event for event in wire.events if isinstance(event, Gone)]) == len(wire.requests())
    # One whose requests were answered first resets nothing.
    honest = Wire()
    for stream_id in range(1, 10_000, 2):
        honest.send(request(stream_id))
        honest.answer(stream_id, b"")
        honest.send(rst_stream(stream_id, ErrorCode.CANCEL))
    assert not honest.connection.closed


@pytest.mark.parametrize(
    "provocation",
    [
        lambda n: request(n) + window_update(n, 0),
        lambda n: request(n) + frames.frame(frames.PRIORITY, 0, n, b""),
        lambda n: headers(n, block([*HEADERS, ("Upper", "x")])),
    ],
)
def test_provoked_reset(provocation: object) -> None:
    """Breaking rules so that the server resets its own streams counts too."""
    wire = Wire()
    stream_id = 1
    while not wire.connection.closed:
        wire.send(provocation(stream_id))  # type: ignore[operator]
        stream_id += 2
        assert stream_id < 1000
    assert wire.farewell() == CALM
    assert wire.counts["provoked_reset"] == 1


@pytest.mark.parametrize("size", [0, 1, 4000])
def test_continuation_flood(size: int) -> None:
    """A block without an end is given up by its frames or its bytes."""
    wire = Wire()
    wire.send(headers(1, b"", 0))
    piece = frames.frame(frames.CONTINUATION, 0, 1, bytes(size))
    assert flood(wire, piece, 100) <= 33
    assert wire.farewell() == CALM
    assert wire.counts["continuation_flood"] == 1


def test_a_header_frame_that_is_too_large_is_not_waited_for() -> None:
    """Its length is enough."""
    wire = Wire()
    wire.send(frames.header(2**20, frames.HEADERS, 4, 1))
    assert wire.farewell() == CALM


def test_header_bomb() -> None:
    """A few bytes for megabytes of fields end the connection at once."""
    wire = Wire()
    wire.send(headers(1, block() + b"\x40\x01a\x7f\x81\x1e" + b"x" * 3968))
    wire.send(headers(3, block() + b"\xbe" * 60_000))
    assert wire.farewell() == CALM
    assert wire.counts["header_bomb"] == 1


def test_headers_that_are_too_large() -> None:
    """They are refused, and the connection goes on; again and again they end it."""
    wire = Wire()
    wire.send(headers(1, block() + b"\x40\x01a\x7f\x81\x1e" + b"x" * 3968))
    large = block() + b"\xbe" * 5
    wire.send(headers(3, large))
    assert int(wire.status(3)[0]) == Code.RESOURCE_EXHAUSTED
    assert wire.is_well(5)
    stream_id = 7
    while not wire.connection.closed:
        wire.send(headers(stream_id, large))
        stream_id += 2
        assert stream_id < 100
    assert wire.farewell() == CALM
    assert wire.counts["header_bomb"] == 1


def test_zero_window_stall() -> None:
    """An answer that its client does not take is dropped after a while; one that goes on slowly is not."""
    wire = Wire(unread_s=30)
    wire.send(request(1), request(3))
    wire.answer(1, bytes(100_000))
    wire.answer(3, bytes(100_000))
    for _ in range(60):
        wire.tick(1)
        wire.send(window_update(0, 1), window_update(3, 1))
    assert wire.resets() == {1: ErrorCode.CANCEL}
    assert wire.counts["zero_window_stall"] == 1
    assert Gone(1) in wire.events
    assert not wire.connection.closed


@pytest.mark.parametrize(
    "start",
    [b"", b"PRI * HTTP", frames.PREFACE, frames.PREFACE + settings()[:5], GREETING + headers(1)[:20],
     GREETING + headers(1, block(), 0), GREETING + b"\0"],
)  # fmt: skip
def test_slow_headers(start: bytes) -> None:
    """A preface, a frame or a header block that does not arrive is not waited for."""
    wire = Wire(greet=False, handshake_s=5, header_s=10)
    wire.send(start)
    wire.tick(4)
    assert not wire.connection.closed
    wire.tick(7)
    assert wire.connection.closed
    assert wire.counts["slow_headers"] == 1


def test_incomplete_frames_of_a_busy_client_are_no_slow_headers() -> None:
    """Reads that end inside a frame are the rule; each such frame has its own time."""
    wire = Wire(header_s=10)
    stream = b"".join(request(stream_id) for stream_id in range(1, 2001, 2))
    for position in range(0, len(stream), 97):
        wire.send(stream[position : position + 97])
        wire.tick(1)
        for stream_id in list(wire.connection._streams.open):
            if stream_id in wire.requests():
                wire.answer(stream_id, b"")
    assert not wire.connection.closed


def test_slow_message() -> None:
    """A message that does not go on is refused; the caller may have gone, and its bytes are held."""
    wire = Wire(message_s=60)
    wire.send(headers(1), data(1, message(bytes(100))[:50], end=False))
    assert wire.events == [RoomWanted(1, 105)]
    wire.connection.grant(1, 105)
    wire.tick(59)
    wire.send(data(1, b"x", end=False))
    wire.tick(59)
    assert not wire.of(1)
    wire.tick(2)
    assert wire.status(1)[0] == str(int(Code.DEADLINE_EXCEEDED))
    assert wire.counts["slow_message"] == 1
    assert Gone(1) in wire.events


def test_a_message_behind_its_deadline() -> None:
    """It is not waited for either, but nobody is to blame."""
    wire = Wire()
    wire.send(headers(1, block([*HEADERS, ("grpc-timeout", "5S")])))
    wire.tick(6)
    assert wire.status(1)[0] == str(int(Code.DEADLINE_EXCEEDED))
    assert wire.counts["slow_message"] == 0


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        ([headers(2)], ErrorCode.PROTOCOL_ERROR),
        ([headers(0)], ErrorCode.PROTOCOL_ERROR),
        ([request(5), headers(3)], ErrorCode.STREAM_CLOSED),
        ([request(1), headers(1)], ErrorCode.STREAM_CLOSED),
        ([request(1), data(1, b"x")], ErrorCode.STREAM_CLOSED),
        ([data(1, b"x")], ErrorCode.PROTOCOL_ERROR),
        ([data(0, b"x")], ErrorCode.PROTOCOL_ERROR),
        ([rst_stream(1, ErrorCode.CANCEL)], ErrorCode.PROTOCOL_ERROR),
        ([rst_stream(0, ErrorCode.CANCEL)], ErrorCode.PROTOCOL_ERROR),
        ([window_update(1, 1)], ErrorCode.PROTOCOL_ERROR),
        ([window_update(2, 1)], ErrorCode.PROTOCOL_ERROR),
        ([frames.frame(frames.PRIORITY, 0, 0, bytes(5))], ErrorCode.PROTOCOL_ERROR),
        ([frames.frame(frames.SETTINGS, 0, 1)], ErrorCode.PROTOCOL_ERROR),
        ([frames.frame(frames.PING, 0, 1, bytes(8))], ErrorCode.PROTOCOL_ERROR),
        ([frames.frame(frames.GOAWAY, 0, 1, bytes(8))], ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_stream_id_misuse(pieces: list[bytes], code: ErrorCode) -> None:
    """Stream ids that cannot be end the connection."""
    wire = Wire()
    wire.send(*pieces)
    assert wire.farewell() == code
    assert wire.counts["stream_id_misuse"] == 1


def test_too_many_streams() -> None:
    """One more than allowed is refused, in the way that clients try again; its bytes are no mistake."""
    wire = Wire(max_streams=2)
    wire.send(request(1), request(3), request(5))
    assert wire.resets() == {5: ErrorCode.REFUSED_STREAM}
    assert wire.counts["too_many_streams"] == 1
    wire.answer(1, b"")
    assert wire.is_well(7)


def test_frames_for_streams_that_are_over() -> None:
    """What is still on its way is borne, not without end."""
    wire = Wire(max_message=1)
    wire.send(headers(1), data(1, message(b"xxx"), end=False))
    assert flood(wire, data(1, b"x", end=False), 20_000) <= RATES["closed_stream_flood"].burst + 1
    assert wire.counts["closed_stream_flood"] == 1


@pytest.mark.parametrize(
    ("piece", "code"),
    [
        (frames.frame(frames.PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.SETTINGS, 0, 0, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.SETTINGS, frames.ACK, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.SETTINGS, 0, 0, bytes(6 * 200)), CALM),
        (frames.frame(frames.RST_STREAM, 0, 1, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.WINDOW_UPDATE, 0, 0, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.GOAWAY, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
        (frames.header(2**20 + 1, frames.DATA, 0, 1), ErrorCode.FRAME_SIZE_ERROR),
        (frames.header(2**20, frames.PING, 0, 0), ErrorCode.FRAME_SIZE_ERROR),
        (frames.header(0, frames.DATA, frames.PADDED, 1), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.DATA, frames.PADDED, 1, b"\x01"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, frames.PADDED | 4, 1, b"\x01"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, frames.PRIORITY_FLAG | 4, 1, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.PUSH_PROMISE, 4, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.CONTINUATION, 4, 1), ErrorCode.PROTOCOL_ERROR),
        (headers(1, b"", 0) + PING, ErrorCode.PROTOCOL_ERROR),
        (headers(1, b"", 0) + data(1, b"x"), ErrorCode.PROTOCOL_ERROR),
        (headers(1, b"", 0) + frames.frame(frames.CONTINUATION, 4, 3), ErrorCode.PROTOCOL_ERROR),
        (headers(1, b"\x80"), ErrorCode.COMPRESSION_ERROR),
        (headers(1, b"\xff\xff\xff\xff\xff\xff\xff"), ErrorCode.COMPRESSION_ERROR),
        (headers(1, b"\x40\x01"), ErrorCode.COMPRESSION_ERROR),
        (settings(push=2), ErrorCode.PROTOCOL_ERROR),
        (settings(frame=100), ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_breaches_of_the_rules(piece: bytes, code: ErrorCode) -> None:
    """Each ends the connection with the error that RFC 9113 names, and is counted."""
    wire = Wire()
    wire.send(piece)
    assert wire.farewell() == code
    assert wire.connection.closed
    assert wire.counts["protocol_error"] == 1
    assert wire.send(request(1)) == []


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", frames.PREFACE + PING])
def test_what_is_no_http2(start: bytes) -> None:
    """Another protocol, or a first frame that is not SETTINGS."""
    wire = Wire(greet=False)
    wire.send(start)
    assert wire.farewell() == ErrorCode.PROTOCOL_ERROR


def test_blocks_of_streams_that_are_not_taken_are_decoded_all_the_same() -> None:
    """Otherwise the tables of the two sides would differ from there on."""
    encoder = hpack.Encoder()
    wire = Wire(max_streams=1)
    wire.send(headers(1, encoder.encode(HEADERS)), data(1, message(b"")))
    wire.send(headers(3, encoder.encode([*HEADERS, ("x", "1")]), WHOLE))
    assert wire.resets() == {3: ErrorCode.REFUSED_STREAM}
    wire.answer(1, b"")
    wire.send(headers(5, encoder.encode([*HEADERS, ("x", "1")])), data(5, message(b"ok")))
    assert wire.requests()[5] == b"ok"


def test_every_attack_has_a_counter() -> None:
    """The names that the page of the module lists are those that are counted."""
    from pyserve.transport.h2 import abuse

    listed = [
        line.split()[0]
        for line in (abuse.__doc__ or "").splitlines()
        if line[:4] == "    " and line[4:5] != " "
    ]
    assert tuple(listed) == ATTACKS
    assert set(RATES) <= set(ATTACKS)
    assert Wire().counts == Counts(dict.fromkeys(ATTACKS, 0))
