"""What a connection makes of requests: messages, headers, answers, and the errors in place of them."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import settings as unhurried
from hypothesis import strategies as st

from h2_wire import (
    GREETING,
    HEADERS,
    METHOD,
    WHOLE,
    Wire,
    block,
    data,
    headers,
    message,
    read_frames,
    replaced,
    request,
    settings,
)
from pyserve.errors import InternalError, NotFoundError, ResourceExhaustedError
from pyserve.transport.h2 import frames
from pyserve.transport.h2.events import Request
from pyserve.transport.h2.frames import ErrorCode
from pyserve.transport.h2.grpc_messages import inflate
from pyserve.transport.h2.headers import parse_timeout
from pyserve.transport.h2.responses import percent_encoded


def test_a_call() -> None:
    """One message in, one out, between a head and trailers."""
    wire = Wire()
    (event,) = wire.send(request(1, b"in"))
    assert isinstance(event, Request)
    assert (event.stream_id, event.message, event.deadline) == (1, b"in", None)
    assert event.head.path == METHOD
    wire.answer(1, b"out")
    head, body, trailers = wire.of(1)
    assert head.fields == {":status": "200", "content-type": "application/grpc"}
    assert (body.kind, body.flags, body.payload) == (frames.DATA, 0, message(b"out"))
    assert trailers.fields == {"grpc-status": "0"}
    assert trailers.flags == WHOLE


def test_the_greeting() -> None:
    """The server's SETTINGS come first, and those of the client are acknowledged."""
    wire = Wire(greet=False)
    wire.send(GREETING)
    first, window, ack = wire.frames
    assert first.kind == frames.SETTINGS
    assert (window.kind, window.stream_id) == (frames.WINDOW_UPDATE, 0)
    assert (ack.kind, ack.flags, ack.payload) == (frames.SETTINGS, frames.ACK, b"")


@unhurried(deadline=None)
@given(st.lists(st.integers(1, 400), max_size=30), st.integers(0, 3))
def test_pieces_do_not_matter(cuts: list[int], padding: int) -> None:
    """However the bytes are cut, the same requests come of them."""
    long = b"".join(bytes((n % 251,)) * 97 for n in range(20))
    padded = bytes((padding,)) + message(b"padded") + bytes(padding)
    stream = (
        GREETING
        + request(1, long)
        + headers(3)
        + data(3, message(long)[:3], end=False)
        + frames.frame(0xEE, 0, 3, b"unknown")
        + data(3, message(long)[3:], end=False)
        + data(3, b"")
        + headers(5)
        + data(5, padded, flags=frames.PADDED)
        + headers(7, block()[:10], 0)
        + frames.frame(frames.CONTINUATION, frames.END_HEADERS, 7, block()[10:])
        + data(7, message(b""))
        + frames.frame(0xEF, 0, 0, bytes(20_000))
        + request(9)
    )
    wire = Wire(greet=False)
    position = 0
    for cut in cuts:
        wire.send(stream[position : position + cut])
        position += cut
    wire.send(stream[position:])
    assert wire.requests() == {1: long, 3: long, 5: b"padded", 7: b"", 9: b"hello"}


def test_byte_by_byte() -> None:
    """The same for single bytes."""
    wire = Wire(greet=False)
    wire.send(*(bytes((byte,)) for byte in GREETING + request(1) + request(3)))
    assert wire.requests() == {1: b"hello", 3: b"hello"}


def test_trailers_end_a_request() -> None:
    """A header block behind the message ends it; pseudo-header fields have no place in it."""
    wire = Wire()
    wire.send(headers(1), data(1, message(b"x"), end=False), headers(1, block([("a", "b")]), WHOLE))
    assert wire.requests() == {1: b"x"}
    wire.send(headers(3), data(3, message(b"x"), end=False), headers(3, block([(":path", "/")]), WHOLE))
    wire.send(headers(5), data(5, message(b"x"), end=False), headers(5, block([("a", "b")])))
    assert wire.resets() == {3: ErrorCode.PROTOCOL_ERROR, 5: ErrorCode.PROTOCOL_ERROR}
    assert wire.is_well(7)


@pytest.mark.parametrize(
    ("pieces", "code", "text"),
    [
        ([headers(1, flags=WHOLE)], 12, "no message"),
        ([headers(1), data(1, b"")], 12, "no message"),
        ([headers(1), data(1, b"\0\0")], 13, "ends after 2 bytes"),
        ([headers(1), data(1, message(b"abc")[:-1])], 13, "ends after 2 bytes"),
        ([headers(1), data(1, message(b"a") * 2)], 12, "more than one message"),
        ([headers(1), data(1, message(b"a"), end=False), data(1, b"b")], 12, "more than one message"),
        ([headers(1), data(1, message(b"a", flag=1))], 13, "marked as compressed"),
        ([headers(1), data(1, message(b"a", flag=7))], 13, "marked as compressed"),
        ([headers(1), data(1, message(b"x" * 101))], 8, "Received message larger than max (101 vs. 100)"),
        ([headers(1), data(1, b"\0\x7f\xff\xff\xff", end=False)], 8, "larger than max"),
    ],
)  # fmt: skip
def test_messages_that_are_none(pieces: list[bytes], code: int, text: str) -> None:
    """The stream is answered with an error at once, in whichever pieces it came; the next one is served."""
    for split in (False, True):
        wire = Wire(max_message=100)
        wire.send(*(bytes((b,)) for b in b"".join(pieces)) if split else pieces)
        status, details = wire.status(1)
        assert int(status) == code
        assert text in details
        assert not wire.requests()
        assert wire.is_well(3)


def test_the_rest_of_a_refused_message_is_ignored() -> None:
    """Who is refused early may have sent more: that is no mistake, and RST_STREAM asks him to stop."""
    wire = Wire(max_message=10)
    wire.send(headers(1), data(1, message(b"x" * 1000)[:500], end=False))
    assert wire.resets() == {1: ErrorCode.NO_ERROR}
    wire.send(data(1, b"x" * 505))
    assert wire.farewell() is None
    assert wire.is_well(3)


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        (replaced((":path", "/other/Method")), 12, "Method not found: /other/Method"),
        (replaced(("grpc-encoding", "snappy")), 12, "grpc-encoding is snappy"),
        (replaced(("grpc-timeout", "1x")), 13, "grpc-timeout is 1x"),
        (replaced(("grpc-timeout", "123456789S")), 13, "grpc-timeout"),
        (replaced(("big", "x" * 20_000)), 8, "metadata is larger"),
    ],
)
def test_headers_that_grpc_refuses(fields: list[tuple[str, str]], code: int, text: str) -> None:
    """The answer says why, before the message has come."""
    wire = Wire()
    wire.send(headers(1, block(fields)))
    status, details = wire.status(1)
    assert int(status) == code
    assert text in details
    assert wire.resets() == {1: ErrorCode.NO_ERROR}
    assert wire.is_well(3)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (replaced((":method", "GET")), "405"),
        (replaced(("content-type", "application/json")), "415"),
        (replaced(("content-type", "application/grpcx")), "415"),
        (replaced(("content-type", None)), "415"),
    ],
)
def test_what_is_no_grpc_gets_an_http_status(fields: list[tuple[str, str]], status: str) -> None:
    """A browser or a load balancer is answered in HTTP's words."""
    wire = Wire()
    wire.send(headers(1, block(fields), WHOLE))
    (answer,) = wire.of(1)
    assert answer.fields == {":status": status}
    assert answer.flags == WHOLE


@pytest.mark.parametrize(
    "content_type", ["application/grpc+proto", "application/grpc;x=y", "application/grpc"]
)
def test_content_types(content_type: str) -> None:
    """All forms of gRPC's own are taken."""
    wire = Wire()
    wire.send(request(1, b"x", replaced(("content-type", content_type))))
    assert wire.requests() == {1: b"x"}


@pytest.mark.parametrize(
    "fields",
    [
        replaced((":path", None)),
        replaced((":method", None)),
        replaced((":scheme", None)),
        replaced((":path", "")),
        [*HEADERS, (":path", METHOD)],
        [("x", "y"), *HEADERS],
        [*HEADERS, (":status", "200")],
        [*HEADERS, ("Upper", "x")],
        [*HEADERS, ("", "x")],
        [*HEADERS, ("a b", "x")],
        [*HEADERS, ("a", "x\ny")],
        [*HEADERS, ("a", " x")],
        [*HEADERS, ("a", "x\0")],
        [*HEADERS, ("connection", "close")],
        [*HEADERS, ("transfer-encoding", "chunked")],
        replaced(("te", "gzip")),
    ],
)
def test_malformed_headers(fields: list[tuple[str, str]]) -> None:
    """RFC 9113's malformed requests: the stream is reset, each time, and the next one is served."""
    wire = Wire()
    for stream_id in (1, 3):
        wire.send(headers(stream_id, block(fields), WHOLE))
    assert wire.resets() == {1: ErrorCode.PROTOCOL_ERROR, 3: ErrorCode.PROTOCOL_ERROR}
    assert wire.is_well(5)


def test_a_deadline_counts_from_the_header() -> None:
    """grpc-timeout becomes a point on the clock."""
    wire = Wire()
    wire.send(headers(1, block(replaced(("grpc-timeout", "1500m")))))
    wire.now += 1
    (event,) = wire.send(data(1, message(b"x")))
    assert isinstance(event, Request)
    assert event.deadline == 101.5


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(b"1H", 3600), (b"2M", 120), (b"3S", 3), (b"99999999m", 99999.999), (b"7u", 7e-6), (b"8n", 8e-9)]
    + [(text, None) for text in (b"", b"S", b"1", b"-1S", b"1.5S", b"123456789S", b"1s", b"1S ")],
)  # fmt: skip
def test_timeouts(text: bytes, seconds: float | None) -> None:
    """Up to eight digits and a unit."""
    assert parse_timeout(text) == (pytest.approx(seconds) if seconds is not None else None)


def test_metadata_is_handed_on() -> None:
    """Fields that are neither HTTP's nor gRPC's own are with the request, in order, as sent."""
    wire = Wire()
    (event,) = wire.send(request(1, b"", [*HEADERS, ("b", "1"), ("a-bin", "AAE"), ("b", "2")]))
    assert isinstance(event, Request)
    assert event.head.metadata == [(b"b", b"1"), (b"a-bin", b"AAE"), (b"b", b"2")]


def test_a_secret_is_not_remembered() -> None:
    """A header with a never-indexed field is neither kept as a whole nor field by field."""
    wire = Wire()
    secret = block() + b"\x10\x0dauthorization\x06letmei"
    wire.send(headers(1, secret), data(1, message(b"")))
    blocks = wire.connection._inbound._blocks
    assert wire.requests() == {1: b""}
    assert not blocks.remembered
    assert not blocks._reader._known
    wire.send(request(3))
    assert len(blocks.remembered) == 1


def test_errors_as_trailers() -> None:
    """An error is one HEADERS frame; its text is percent-encoded and cut."""
    wire = Wire()
    wire.send(request(1), request(3))
    wire.connection.answer_error(1, NotFoundError("Größe 100 %\n"))
    wire.connection.answer_error(3, NotFoundError("x" * 5000))
    wire.take()
    assert wire.status(1) == ("5", "Gr%C3%B6%C3%9Fe 100 %25%0A")
    assert wire.status(3)[1] == "x" * 1024 + "...TRUNCATED"


@unhurried(deadline=None)
@given(st.text())
def test_percent_encoding(text: str) -> None:
    """Printable ASCII alone, and it can be taken back."""
    from urllib.parse import unquote_to_bytes

    encoded = percent_encoded(text)
    assert all(0x20 <= byte < 0x7F for byte in encoded)
    assert unquote_to_bytes(encoded) == text.encode("utf-8", "replace")


def test_answers_larger_than_allowed() -> None:
    """grpc.max_send_message_length."""
    wire = Wire(max_answer=10)
    wire.send(request(1))
    wire.answer(1, b"x" * 11)
    assert wire.status(1) == ("8", "Sent message larger than max (11 vs. 10)")


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_inflating(encoding: str, compress: object) -> None:
    """Both encodings, the limit, and bytes that are not of them."""
    made = compress(b"x" * 1000)  # type: ignore[operator]
    assert inflate(made, encoding, 1000) == b"x" * 1000
    with pytest.raises(ResourceExhaustedError):
        inflate(made, encoding, 999)
    for wrong in (b"", b"nonsense", made[:-1], made + b"x"):
        with pytest.raises(InternalError):
            inflate(wrong, encoding, 1000)


def test_a_compressed_message_is_marked() -> None:
    """The connection leaves inflating to its driver."""
    wire = Wire()
    (event,) = wire.send(
        headers(1, block(replaced(("grpc-encoding", "gzip")))) + data(1, message(b"zipped", flag=1))
    )
    assert isinstance(event, Request)
    assert (event.compressed, event.head.encoding, event.message) == (True, "gzip", b"zipped")


def test_a_header_is_read_anew_when_the_table_has_changed() -> None:
    """The same bytes with another meaning: a remembered block would be wrong."""
    wire = Wire(methods=["/a/A", "/b/B"])
    rest = block(replaced((":path", None)))
    one, two = (b"\x44\x04" + path for path in (b"/a/A", b"/b/B"))  # literal with indexing
    paths = []
    starts = (one, b"\xbe", b"\xbe", two, b"\xbe")  # 0xbe: the newest field
    for stream_id, start in zip(range(1, 10, 2), starts, strict=True):
        (event,) = wire.send(headers(stream_id, start + rest) + data(stream_id, message(b"")))
        assert isinstance(event, Request)
        paths.append(event.head.path)
    assert paths == ["/a/A", "/a/A", "/a/A", "/b/B", "/b/B"]


def test_streamed_answers() -> None:
    """Several messages, then trailers; the driver is told when each has gone."""
    wire = Wire()
    wire.send(request(1), request(3), request(5))
    for content in (b"one", b"two"):
        wire.connection.send(1, content)
        wire.take()
    wire.connection.finish(1)
    wire.connection.send(3, b"one")
    wire.take()
    wire.connection.answer_error(3, NotFoundError("gone"))
    wire.connection.finish(5)
    wire.take()
    assert wire.sent(1) == message(b"one") + message(b"two")
    assert wire.status(1) == ("0", "")
    assert wire.status(3) == ("5", "gone")
    assert wire.status(5) == ("0", "")


def test_settings_of_all_kinds_pass() -> None:
    """Unknown settings too."""
    wire = Wire()
    unknown = frames.settings({0x99: 7})
    wire.send(settings(table=0, push=0, streams=5, window=70_000, frame=20_000, list=100) + unknown)
    assert len([frame for frame in wire.frames if frame.flags == frames.ACK]) == 2
    assert wire.is_well(1)


def test_read_frames_needs_whole_frames() -> None:
    """The tests' own reader notices a torn frame."""
    with pytest.raises(AssertionError):
        read_frames(frames.SETTINGS_ACK + b"\0\0\x01\0\0\0\0\0\0")
