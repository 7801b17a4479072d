"""How connections end when nothing is wrong."""

from __future__ import annotations

from h2_wire import Wire, data, headers, message, request
from pyserve.transport.h2 import frames
from pyserve.transport.h2.events import Gone
from pyserve.transport.h2.frames import MAX_STREAM_ID, ErrorCode


def goaways(wire: Wire) -> list[tuple[int, int]]:
    """Last stream id and error of each GOAWAY."""
    found = [frame for frame in wire.frames if frame.kind == frames.GOAWAY]
    return [(int.from_bytes(frame.payload[:4], "big"), frame.number) for frame in found]


def ping_of(wire: Wire) -> bytes:
    (ping,) = [frame for frame in wire.frames if frame.kind == frames.PING]
    return frames.frame(frames.PING, frames.ACK, 0, ping.payload)


def test_no_request_is_lost() -> None:
    """Those that were on their way when the client was told are served, later ones are ignored."""
    wire = Wire()
    wire.send(request(1))
    wire.connection.shut_down(wire.now)
    wire.take()
    assert goaways(wire) == [(MAX_STREAM_ID, ErrorCode.NO_ERROR)]
    wire.send(request(3, b"on its way"))
    assert not wire.connection.told
    wire.send(ping_of(wire))
    assert goaways(wire)[1] == (3, ErrorCode.NO_ERROR)
    assert wire.connection.told
    assert wire.send(request(5, b"too late")) == []
    assert not wire.of(5)
    assert not wire.connection.finished
    wire.answer(1, b"one")
    wire.answer(3, b"three")
    assert wire.sent(3) == message(b"three")
    assert wire.connection.finished
    wire.connection.shut_down(wire.now)
    wire.take()
    assert len(goaways(wire)) == 2


def test_a_client_that_does_not_answer() -> None:
    """It is told the end after a moment."""
    wire = Wire()
    wire.connection.shut_down(wire.now)
    wire.tick(0.5)
    assert len(goaways(wire)) == 1
    wire.tick(0.6)
    assert goaways(wire)[1] == (0, ErrorCode.NO_ERROR)
    assert wire.connection.finished


def test_age() -> None:
    """At its age a connection is ended gracefully, and after the grace at once."""
    wire = Wire(age_s=60, age_grace_s=10)
    wire.send(request(1))
    wire.tick(60)
    assert not goaways(wire)
    wire.tick(1)
    wire.send(ping_of(wire))
    assert goaways(wire)[-1] == (1, ErrorCode.NO_ERROR)
    assert not wire.connection.closed
    wire.tick(10)
    assert wire.connection.closed
    assert wire.events[-1] == Gone(1)
    assert wire.counts["protocol_error"] == 0


def test_idleness() -> None:
    """Time without requests counts, not time inside of them."""
    wire = Wire(idle_s=30)
    wire.send(headers(1))
    for _ in range(40):
        wire.tick(1)
    assert not goaways(wire)
    wire.send(data(1, message(b"")))
    wire.answer(1, b"")
    wire.tick(29)
    assert not goaways(wire)
    wire.tick(2)
    assert len(goaways(wire)) == 1


def test_keepalive() -> None:
    """A silent client is asked; one that answers stays, one that does not is gone."""
    wire = Wire(keepalive_s=100, keepalive_answer_s=20)
    wire.tick(101)
    wire.send(ping_of(wire))
    wire.tick(50)
    assert not wire.connection.closed
    wire.frames.clear()
    wire.tick(51)
    assert ping_of(wire)
    wire.tick(19)
    assert not wire.connection.closed
    wire.tick(2)
    assert wire.connection.closed


def test_pings_are_answered() -> None:
    """With their payload."""
    wire = Wire()
    wire.send(frames.frame(frames.PING, 0, 0, b"12345678"))
    (pong,) = wire.frames
    assert (pong.kind, pong.flags, pong.payload) == (frames.PING, frames.ACK, b"12345678")


def test_a_lost_client() -> None:
    """Its requests are told to be gone; answers to them go nowhere."""
    wire = Wire()
    wire.send(request(1), headers(3))
    assert wire.connection.lost() == [Gone(1)]
    wire.answer(1, b"late")
    assert not wire.of(1)
