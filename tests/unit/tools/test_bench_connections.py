"""The client's side of HTTP/1.1 and HTTP/2 as pure functions of bytes, against the other side written out."""

from __future__ import annotations

from typing import Any

import pytest
from hpack import Decoder, Encoder

from pyserve.tools.bench.connection import Answer, Connection, ProtocolError
from pyserve.tools.bench.http1 import Http1Connection
from pyserve.tools.bench.http2 import Http2Connection
from pyserve.transport.h2.frames import frame, settings

DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS = 1, 4
CALL = [(":method", "POST"), (":path", "/" + "p" * 300)]


def feed(connection: Connection, data: bytes, step: int) -> list[Answer]:
    """The answers to bytes that come in pieces of a size."""
    answers: list[Answer] = []
    for place in range(0, len(data), step):
        answers += connection.receive(data[place : place + step])
    return answers


@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", ("OK", "")),
        (b"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n", ("OK", "")),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone", ("404", "none")),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n3;x\r\n...\r\n0\r\n\r\n",
            ("OK", ""),
        ),
        (
            b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n2\r\n..\r\n0\r\n\r\n",
            ("500", "hi.."),
        ),
    ],
)
def test_http1(answer: bytes, expected: tuple[str, str], step: int) -> None:
    """An answer is one when it is whole, however it comes; then there is room for the next."""
    connection = Http1Connection(b"request")
    for number in range(2):
        assert connection.room == 1
        connection.begin(float(number))
        assert connection.room == 0
        assert feed(connection, answer, step) == [Answer(float(number), *expected)]
    assert connection.outbox == [b"request"] * 2
    assert not connection.spent


def test_http1_close() -> None:
    """After an answer that closes the connection another one has to take its place."""
    connection = Http1Connection(b"")
    connection.begin(1.0)
    assert (
        connection.receive(b"HTTP/1.1 503 X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")[0].code
        == "503"
    )
    assert connection.spent
    assert connection.room == 0


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_not_http1(data: bytes) -> None:
    """What is no answer is said to be none; and so is an answer that nobody asked for."""
    connection = Http1Connection(b"")
    with pytest.raises(ProtocolError):
        connection.receive(data)
    connection = Http1Connection(b"")
    connection.begin(1.0)
    with pytest.raises(ProtocolError):
        connection.receive(data)
    assert connection.abandon() == [1.0]


class Peer:
    """A server's side: reads the frames of a connection's outbox, and makes answers.

    Attributes:
        bodies: What came of each stream's message.
        finished: Streams that were sent to their end.
    """

    def __init__(self, connection: Http2Connection) -> None:
        self.connection = connection
        self.encoder, self.decoder = Encoder(), Decoder()
        self.frames: list[tuple[int, int, int, bytes]] = []
        self.bodies: dict[int, bytes] = {}
        self.headers: dict[int, list[Any]] = {}
        self.finished: list[int] = []
        data = self._taken()
        assert data.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self._parse(data[24:])

    def _taken(self) -> bytes:
        data = b"".join(self.connection.outbox)
        self.connection.outbox.clear()
        return data

    def read(self) -> list[tuple[int, int, int, bytes]]:
        """The frames that were sent since the last time."""
        before = len(self.frames)
        self._parse(self._taken())
        return self.frames[before:]

    def _parse(self, data: bytes) -> None:
        while data:
            size = int.from_bytes(data[:3], "big")
            kind, flags, stream = data[3], data[4], int.from_bytes(data[5:9], "big")
            payload, data = data[9 : 9 + size], data[9 + size :]
            assert len(payload) == size
            self.frames.append((kind, flags, stream, payload))
            if kind == HEADERS:
                self.headers[stream] = list(self.decoder.decode(payload))
            if kind == DATA:
                self.bodies[stream] = self.bodies.get(stream, b"") + payload
                if flags & END_STREAM:
                    self.finished.append(stream)

    def block(self, headers: list[tuple[str, str]]) -> bytes:
        return bytes(self.encoder.encode(headers))

    def answer(self, stream: int, *trailers: tuple[str, str]) -> bytes:
        return (
            frame(
                HEADERS,
                END_HEADERS,
                stream,
                self.block([(":status", "200"), ("content-type", "application/grpc")]),
            )
            + frame(DATA, 0, stream, b"\0\0\0\0\0")
            + frame(HEADERS, END_HEADERS | END_STREAM, stream, self.block(list(trailers)))
        )


def opened(body: bytes = b"body", **values: int) -> tuple[Http2Connection, Peer]:
    connection = Http2Connection(CALL, body)
    peer = Peer(connection)
    names = {"streams": 3, "window": 4, "frame": 5}
    connection.receive(settings({names[key]: value for key, value in values.items()}))
    assert (SETTINGS, 1, 0, b"") in peer.read()
    return connection, peer


@pytest.mark.parametrize("step", [1, 10, 10_000])
@pytest.mark.parametrize("table_bytes", [0, 4096])
def test_http2_calls(step: int, table_bytes: int) -> None:
    """Calls of several streams end in any order with what their trailers say, also when the server indexes headers."""
    connection, peer = opened()
    peer.encoder.header_table_size = table_bytes
    for number in range(6):
        connection.begin(float(number))
    peer.read()
    assert peer.bodies == dict.fromkeys((1, 3, 5, 7, 9, 11), b"body")
    assert peer.headers[1] == CALL
    bad = (("grpc-status", "5"), ("grpc-message", "not%20here"))
    data = b"".join(
        peer.answer(stream, *(bad if stream in (3, 9) else (("grpc-status", "0"),)))
        for stream in (5, 3, 1, 9, 7, 11)
    )
    answers = feed(connection, data, step)
    assert [answer.started for answer in answers] == [2.0, 1.0, 0.0, 4.0, 3.0, 5.0]
    assert [answer.code for answer in answers] == ["OK", "NOT_FOUND", "OK", "NOT_FOUND", "OK", "OK"]
    assert answers[1].text == "not here"


def test_http2_indexed_blocks_are_not_taken_for_equal() -> None:
    """The same bytes mean something else once the dynamic table has changed."""
    connection, peer = opened()
    for _ in range(5):
        connection.begin(0.0)
    codes = []
    for stream, status in ((1, "0"), (3, "14"), (5, "14"), (7, "5"), (9, "5")):
        (answer,) = connection.receive(peer.answer(stream, ("grpc-status", status)))
        codes.append(answer.code)
    assert codes == ["OK", "UNAVAILABLE", "UNAVAILABLE", "NOT_FOUND", "NOT_FOUND"]


@pytest.mark.parametrize(
    ("window", "first"), [(100, 100), (1 << 20, 65_535)], ids=["the stream's", "the connection's"]
)
def test_http2_windows(window: int, first: int) -> None:
    """A message goes out as far as both windows allow, in frames that are not too large; the rest when they open."""
    body = bytes(range(256)) * 600
    connection, peer = opened(body, window=window, frame=20_000)
    connection.begin(0.0)
    peer.read()
    assert len(peer.bodies[1]) == first
    assert peer.finished == []
    for stream in (0, 1):
        connection.receive(frame(WINDOW, 0, stream, (1 << 20).to_bytes(4, "big")))
    assert all(len(payload) <= 20_000 for *_, payload in peer.read())
    assert peer.bodies[1] == body
    assert peer.finished == [1]


def test_http2_initial_window_grows() -> None:
    """SETTINGS change the windows of streams that are open."""
    connection, peer = opened(b"x" * 1000, window=10)
    connection.begin(0.0)
    peer.read()
    assert len(peer.bodies[1]) == 10
    connection.receive(settings({4: 2000}))
    peer.read()
    assert peer.finished == [1]


def test_http2_limits() -> None:
    """There is room for as many calls as the server allows, and for a hundred at most."""
    assert opened(streams=3)[0].room == 3
    connection, _ = opened(streams=10**6)
    assert connection.room == 100
    connection.begin(0.0)
    assert connection.room == 99


def test_http2_housekeeping() -> None:
    """PING is answered; a reset ends one call; GOAWAY those that it does not cover, and later the connection."""
    connection, peer = opened()
    for number in range(3):
        connection.begin(float(number))
    connection.receive(frame(PING, 0, 0, b"12345678"))
    assert (PING, 1, 0, b"12345678") in peer.read()
    assert connection.receive(frame(RST, 0, 1, (8).to_bytes(4, "big"))) == [
        Answer(0.0, "reset", "HTTP/2 error 8")
    ]
    goaway = frame(GOAWAY, 0, 0, (3).to_bytes(4, "big") + bytes(4))
    assert connection.receive(goaway) == [Answer(2.0, "turned away", "GOAWAY")]
    assert connection.room == 0
    assert not connection.spent
    assert connection.receive(peer.answer(3, ("grpc-status", "0"))) == [Answer(1.0, "OK", "")]
    assert connection.spent


def test_http2_trailers_only_padding_and_continuation() -> None:
    """A refusal may come as trailers alone, header blocks padded, with a priority, or in several frames."""
    connection, peer = opened()
    for number in range(3):
        connection.begin(float(number))
    refusal = peer.block([(":status", "200"), ("grpc-status", "12")])
    padded = b"\x03" + bytes(5) + refusal + b"\0\0\0"
    data = frame(HEADERS, END_HEADERS | END_STREAM, 1, refusal)
    data += frame(HEADERS, END_HEADERS | END_STREAM | 0x8 | 0x20, 3, padded)
    data += frame(HEADERS, END_STREAM, 5, refusal[:3]) + frame(CONTINUATION, END_HEADERS, 5, refusal[3:])
    assert [answer.code for answer in connection.receive(data)] == ["UNIMPLEMENTED"] * 3


def test_http2_answer_of_another_kind() -> None:
    """A proxy's answer without a gRPC status counts by its HTTP status."""
    connection, peer = opened()
    connection.begin(0.0)
    data = frame(HEADERS, END_HEADERS, 1, peer.block([(":status", "502")])) + frame(
        DATA, END_STREAM, 1, b"bad"
    )
    assert connection.receive(data) == [Answer(0.0, "HTTP 502", "no gRPC status")]


def test_http2_refills_the_window() -> None:
    """What came is given back to the server's window before it runs dry."""
    connection, peer = opened()
    connection.begin(0.0)
    chunk = frame(DATA, 0, 1, bytes(1 << 24 - 1))
    for _ in range(2**29 // (1 << 23) + 1):
        connection.receive(chunk)
    given = [int.from_bytes(payload, "big") for kind, _, _, payload in peer.read() if kind == WINDOW]
    assert given == [2**29]
    assert connection.abandon() == [0.0]


def test_not_http2() -> None:
    """Headers that cannot be read end the connection."""
    connection, _ = opened()
    connection.begin(0.0)
    with pytest.raises(ProtocolError, match="cannot be read"):
        connection.receive(frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"))
    with pytest.raises(ProtocolError, match="CONTINUATION"):
        connection.receive(frame(CONTINUATION, END_HEADERS, 1, b""))
