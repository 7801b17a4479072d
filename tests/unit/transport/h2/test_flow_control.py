"""Windows both ways: what may come in, what may go out, and who has to wait."""

from __future__ import annotations

import pytest

from h2_wire import Wire, data, headers, message, request, settings
from pyserve.transport.h2 import frames
from pyserve.transport.h2.events import Gone, Request, RoomWanted, Sent
from pyserve.transport.h2.frames import DEFAULT_WINDOW, ErrorCode, window_update

MIB = 2**20


def upload(wire: Wire, size: int, *, grant: bool = True) -> list[int]:
    """Send a message as a good client does, within the windows; the bytes for which room was wanted, step by step."""
    content = message(bytes(size))
    wanted: list[int] = []
    window, connection_window, position = DEFAULT_WINDOW, 0, 0
    wire.take()
    wire.send(headers(1))
    while position < len(content):
        # The connection's window was raised with the greeting; it is raised again as it is used.
        connection_window += sum(
            f.number for f in wire.frames if f.kind == frames.WINDOW_UPDATE and not f.stream_id
        )
        window += sum(f.number for f in wire.frames if f.kind == frames.WINDOW_UPDATE and f.stream_id == 1)
        wire.frames.clear()
        piece = content[position : position + min(window, 16_384)]
        if not piece:
            return wanted
        position += len(piece)
        window -= len(piece)
        for event in wire.send(data(1, piece, end=position == len(content))):
            if isinstance(event, RoomWanted):
                wanted.append(event.count)
                if grant:
                    wire.connection.grant(1, event.count)
                    wire.take()
    return wanted


def test_a_large_message_gets_its_windows() -> None:
    """Room is wanted step by step, for no more than twice what came, and for the whole in the end."""
    wire = Wire()
    wanted = upload(wire, 5 * MIB)
    assert wire.requests() == {1: bytes(5 * MIB)}
    assert sum(wanted) == 5 * MIB + 5
    assert len(wanted) < 20
    granted = 0
    for step in wanted:
        assert step <= max(2 * DEFAULT_WINDOW, granted)
        granted += step


@pytest.mark.parametrize(
    "size", [0, 1, DEFAULT_WINDOW - 5, DEFAULT_WINDOW - 4, DEFAULT_WINDOW, 2 * DEFAULT_WINDOW]
)
def test_sizes_around_the_window(size: int) -> None:
    """No size gets stuck."""
    wire = Wire()
    upload(wire, size)
    assert wire.requests() == {1: bytes(size)}


def test_without_room_there_is_no_window() -> None:
    """A message that nobody has room for stops at the protocol's first window; more is a breach."""
    wire = Wire()
    (wanted,) = upload(wire, MIB, grant=False)
    assert wanted > DEFAULT_WINDOW
    assert not wire.requests()
    events = wire.send(data(1, b"x"))
    assert wire.resets() == {1: ErrorCode.FLOW_CONTROL_ERROR}
    assert events == [Gone(1)]
    assert wire.is_well(3)


def test_padding_does_not_starve_a_message() -> None:
    """Padding counts against the window, and is given back."""
    wire = Wire()
    wire.send(headers(1))
    content = message(bytes(200_000))
    window = DEFAULT_WINDOW
    for position in range(0, len(content), 100):
        piece = content[position : position + 100]
        padded = bytes((200,)) + piece + bytes(200)
        window -= len(padded)
        assert window >= 0
        last = position + 100 >= len(content)
        for event in wire.send(data(1, padded, end=last, flags=frames.PADDED)):
            if isinstance(event, RoomWanted):
                wire.connection.grant(1, event.count)
                wire.take()
        window += sum(f.number for f in wire.frames if f.kind == frames.WINDOW_UPDATE and f.stream_id == 1)
        wire.frames.clear()
    assert wire.requests() == {1: bytes(200_000)}


def test_the_connections_window() -> None:
    """It is given back as it is used; more than it is a breach that ends the connection."""
    wire = Wire(window=100_000)
    total = 0
    for stream_id in range(1, 41, 2):
        wire.send(request(stream_id, bytes(20_000)))
        total += 20_005
        wire.answer(stream_id, b"")
    given = sum(f.number for f in wire.frames if f.kind == frames.WINDOW_UPDATE and not f.stream_id)
    assert total - 50_000 <= given <= total
    for stream_id in (41, 43, 45):
        wire.send(headers(stream_id) + frames.header(60_000, frames.DATA, 0, stream_id) + bytes(59_999))
    assert wire.farewell() in (None, ErrorCode.FLOW_CONTROL_ERROR)


def test_more_than_the_connections_window() -> None:
    """Without waiting for the increments."""
    wire = Wire(greet=False, window=DEFAULT_WINDOW)
    pieces = b"".join(headers(n) + data(n, message(bytes(30_000))) for n in (1, 3, 5))
    wire.send(frames.PREFACE + settings() + pieces)
    assert wire.farewell() == ErrorCode.FLOW_CONTROL_ERROR


def test_an_answer_larger_than_the_window() -> None:
    """It goes out as the client gives windows, in frames that it takes; the trailers come last."""
    wire = Wire()
    wire.send(request(1))
    content = bytes(range(256)) * 1000
    wire.answer(1, content)
    assert len(wire.sent(1)) == DEFAULT_WINDOW
    wire.send(window_update(1, 10))
    assert len(wire.sent(1)) == DEFAULT_WINDOW
    wire.send(window_update(0, 1000))
    assert len(wire.sent(1)) == DEFAULT_WINDOW + 10
    wire.send(window_update(1, MIB), window_update(0, MIB))
    assert wire.sent(1) == message(content)
    assert wire.status(1) == ("0", "")
    assert max(len(frame.payload) for frame in wire.of(1)) <= frames.DEFAULT_MAX_FRAME_SIZE


def test_settings_change_the_windows_of_open_streams() -> None:
    """Up, down below zero, and up again (section 6.9.2)."""
    wire = Wire(greet=False)
    wire.send(frames.PREFACE + settings(window=10))
    wire.send(window_update(0, MIB), request(1), request(3))
    wire.answer(1, bytes(100))
    assert len(wire.sent(1)) == 10
    wire.send(settings(window=30))
    assert len(wire.sent(1)) == 30
    wire.send(settings(window=5))
    wire.send(window_update(1, 25))
    assert len(wire.sent(1)) == 30
    wire.send(window_update(1, 1))
    assert len(wire.sent(1)) == 31
    wire.send(settings(window=MIB))
    assert wire.sent(1) == message(bytes(100))
    wire.answer(3, bytes(100))
    assert wire.sent(3) == message(bytes(100))


def test_streams_take_turns() -> None:
    """A small answer is not held up behind a large one."""
    wire = Wire()
    wire.send(window_update(0, MIB), settings(window=4 * MIB), request(1), request(3))
    wire.connection.answer(1, bytes(8 * MIB))
    wire.connection.answer(3, bytes(100_000))
    wire.take()
    assert wire.sent(3) == message(bytes(100_000))
    assert len(wire.sent(1)) < 8 * MIB


def test_frames_as_large_as_the_client_takes() -> None:
    """SETTINGS_MAX_FRAME_SIZE."""
    wire = Wire()
    wire.send(window_update(0, 4 * MIB), settings(window=4 * MIB, frame=MIB), request(1))
    wire.answer(1, bytes(3 * MIB))
    sizes = [len(frame.payload) for frame in wire.of(1) if frame.kind == frames.DATA]
    assert sizes == [MIB, MIB, MIB, 5]


@pytest.mark.parametrize(
    ("piece", "code"),
    [
        (window_update(0, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
        (window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
        (settings(window=2**31), ErrorCode.FLOW_CONTROL_ERROR),
        (window_update(1, 2**30) + settings(window=2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
    ],
)
def test_windows_beyond_all_bounds(piece: bytes, code: ErrorCode) -> None:
    """They end the connection."""
    wire = Wire()
    wire.send(request(1) + piece)
    assert wire.farewell() == code
    assert wire.connection.closed
    assert Gone(1) in wire.events


@pytest.mark.parametrize(
    ("increment", "code"), [(2**31 - 1, ErrorCode.FLOW_CONTROL_ERROR), (0, ErrorCode.PROTOCOL_ERROR)]
)
def test_a_streams_window_beyond_all_bounds(increment: int, code: ErrorCode) -> None:
    """It ends the stream alone."""
    wire = Wire()
    wire.send(request(1) + window_update(1, increment))
    assert wire.resets() == {1: code}
    assert wire.events[-1] == Gone(1)
    wire.answer(1, b"late")
    assert wire.is_well(3)


def test_a_streamed_answer_waits_for_the_window() -> None:
    """`Sent` comes when the message has gone out, not before."""
    wire = Wire(greet=False)
    wire.send(frames.PREFACE + settings(window=0))
    wire.send(request(1))
    wire.connection.send(1, b"hello")
    wire.take()
    assert wire.sent(1) == b""
    assert Sent(1) not in wire.events
    wire.send(window_update(1, 100))
    assert wire.sent(1) == message(b"hello")
    assert wire.events[-1] == Sent(1)


def test_a_reset_while_an_answer_waits() -> None:
    """What is left of it is dropped."""
    wire = Wire()
    wire.send(request(1))
    wire.answer(1, bytes(MIB))
    wire.send(frames.rst_stream(1, ErrorCode.CANCEL))
    assert wire.events[-1] == Gone(1)
    wire.send(window_update(0, MIB))
    assert len(wire.sent(1)) == DEFAULT_WINDOW
    assert isinstance(wire.send(request(3))[0], Request)
    assert not wire.connection._sender.waiting
