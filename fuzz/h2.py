"""Fuzzes the HTTP/2 core: random frames, and mutations of good sessions, in random pieces, beside a good connection.

    python fuzz/h2.py [--minutes 30] [--seed N]

Holds that no exception leaves the core, that a connection keeps a bounded amount of memory, that what the server sends
is whole frames, and that a good connection beside the bad ones is served all the while. A failure prints its seed.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
import hpack

from h2_wire import GREETING, HEADERS, Wire, block, data, headers, message, request, settings
from pyserve.errors import NotFoundError
from pyserve.transport.h2 import frames
from pyserve.transport.h2.events import Request, RoomWanted

# A client may make the core hold its streams' first windows, what it was granted, and an incomplete frame.
MAX_HELD_BYTES = 2**23
SESSION_FRAMES = 40
GRANTED_BYTES = 2**20


def random_frame(chance: random.Random) -> bytes:
    """Any frame, mostly with a payload that its type could have."""
    kind = chance.choice((*range(10), chance.randrange(256)))
    stream_id = chance.choice((0, 1, 3, 5, 7, 9, chance.randrange(2**31)))
    flags = chance.choice((0, 1, 4, 5, 8, 0x2D, chance.randrange(256)))
    sizes = {
        frames.PING: 8,
        frames.SETTINGS: 6,
        frames.WINDOW_UPDATE: 4,
        frames.RST_STREAM: 4,
        frames.PRIORITY: 5,
    }
    size = sizes.get(kind, 0) if chance.random() < 0.8 else chance.randrange(300)
    if kind in (frames.HEADERS, frames.CONTINUATION) and chance.random() < 0.8:
        payload = block(chance.choice((HEADERS, HEADERS[:3], [*HEADERS, ("x", "y" * chance.randrange(500))])))
    elif kind == frames.DATA:
        payload = message(chance.randbytes(chance.choice((0, 1, 100, 20_000))))
    else:
        payload = chance.randbytes(size or chance.randrange(20))
    return frames.frame(kind, flags, stream_id, payload)


def good_session(chance: random.Random) -> list[bytes]:
    """What a good client could send."""
    encoder = hpack.Encoder()
    pieces = [GREETING]
    for stream_id in range(1, 1 + 2 * chance.randrange(1, SESSION_FRAMES), 2):
        fields = (
            [*HEADERS, ("grpc-timeout", f"{chance.randrange(1000)}m")] if chance.random() < 0.5 else HEADERS
        )
        content = message(chance.randbytes(chance.choice((0, 10, 1000, 40_000, 100_000))))
        cut = chance.randrange(len(content))
        match chance.randrange(6):
            case 0:
                pieces += [headers(stream_id, encoder.encode(fields)), data(stream_id, content)]
            case 1:
                pieces += [
                    headers(stream_id, encoder.encode(fields)),
                    data(stream_id, content[:cut], end=False),
                ]
                pieces += [data(stream_id, content[cut:])]
            case 2:
                encoded = encoder.encode(fields)
                pieces += [headers(stream_id, encoded[:5], 0)]
                pieces += [frames.frame(frames.CONTINUATION, frames.END_HEADERS, stream_id, encoded[5:])]
                pieces += [data(stream_id, bytes((3,)) + content + bytes(3), flags=frames.PADDED)]
            case 3:
                pieces += [request(stream_id), frames.rst_stream(stream_id, frames.ErrorCode.CANCEL)]
            case 4:
                pieces += [
                    frames.frame(frames.PING, 0, 0, bytes(8)),
                    settings(window=chance.randrange(100_000)),
                ]
                pieces += [headers(stream_id, encoder.encode(fields)), data(stream_id, content)]
            case 5:
                pieces += [
                    request(stream_id),
                    frames.window_update(stream_id, 1000),
                    frames.window_update(0, 1000),
                ]
    return pieces


def mutated(chance: random.Random, pieces: list[bytes]) -> list[bytes]:
    """A session with frames changed, lost, repeated, swapped or added."""
    pieces = list(pieces)
    for _ in range(chance.randrange(1, 6)):
        place = chance.randrange(len(pieces))
        match chance.randrange(6):
            case 0 if pieces[place]:
                changed = bytearray(pieces[place])
                changed[chance.randrange(min(len(changed), chance.choice((9, 40, 10**6))))] = (
                    chance.randrange(256)
                )
                pieces[place] = bytes(changed)
            case 1:
                pieces.insert(place, pieces[chance.randrange(len(pieces))])
            case 2 if len(pieces) > 1:
                del pieces[place]
            case 3:
                pieces.insert(place, random_frame(chance))
            case 4:
                other = chance.randrange(len(pieces))
                pieces[place], pieces[other] = pieces[other], pieces[place]
            case 5:
                pieces[place] = pieces[place][: chance.randrange(len(pieces[place]) + 1)]
    return pieces


SESSIONS: tuple[Callable[[random.Random], list[bytes]], ...] = (
    good_session,
    lambda chance: mutated(chance, good_session(chance)),
    lambda chance: [GREETING, *(random_frame(chance) for _ in range(SESSION_FRAMES))],
    lambda chance: [chance.randbytes(chance.randrange(200))],
)


def held_bytes(wire: Wire) -> int:
    """What a connection keeps of what came in."""
    connection = wire.connection
    parts = [part for stream in connection._streams.open.values() for part in stream._parts]
    blocks = connection._inbound._blocks
    return (
        sum(map(len, parts))
        + len(connection._framing._rest)
        + sum(map(len, blocks.remembered))
        + sum(len(name) + len(value) for name, value in blocks._reader._known)
    )


def play(seed: int) -> Wire:
    """One session against a connection of its own, with answers and time in between.

    Raises:
        AssertionError: What must hold does not. Anything else: an exception has left the core.
    """
    chance = random.Random(seed)
    stream = b"".join(chance.choice(SESSIONS)(chance))
    wire = Wire(greet=False, max_message=2**22)
    waiting: list[int] = []
    position = 0
    while position < len(stream):
        size = chance.choice((1, 7, 100, 5000, len(stream)))
        for event in wire.send(stream[position : position + size]):
            if isinstance(event, Request):
                waiting.append(event.stream_id)
            elif isinstance(event, RoomWanted) and event.count < GRANTED_BYTES and chance.random() < 0.9:
                wire.connection.grant(event.stream_id, event.count)
        position += size
        while waiting and chance.random() < 0.7:
            answer(wire, waiting.pop(chance.randrange(len(waiting))), chance)
        if chance.random() < 0.02:
            wire.connection.shut_down(wire.now)
        wire.tick(chance.choice((0.0, 0.1, 1.0)))  # reads every frame that was sent; a torn one fails there
        assert held_bytes(wire) < MAX_HELD_BYTES
        assert len(wire.connection._streams.open) <= wire.connection._limits.max_streams
    for _ in range(5):
        wire.tick(100)
    wire.events += wire.connection.lost()
    assert not wire.connection._streams.open
    assert not wire.connection._sender.waiting
    return wire


def answer(wire: Wire, stream_id: int, chance: random.Random) -> None:
    """Answer a request, which may be gone, in one of the ways that there are."""
    match chance.randrange(4):
        case 0:
            wire.connection.answer_error(stream_id, NotFoundError("no"))
        case 1:
            wire.connection.send(stream_id, bytes(chance.choice((0, 10, 70_000))))
            wire.connection.finish(stream_id)
        case _:
            wire.connection.answer(stream_id, bytes(chance.choice((0, 10, 100_000))))
    wire.take()


def campaign(seconds: float, seed: int) -> Counter[str]:
    """Play sessions until the time is over; what was seen, by kind."""
    good = Wire()
    seen: Counter[str] = Counter()
    stream_id = 1
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            wire = play(seed)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        seen["sessions"] += 1
        seen["requests"] += len(wire.requests())
        seen[f"ended with {wire.farewell()}"] += 1
        seen.update({name: count for name, count in wire.counts.items() if count})
        good.now = max(good.now, wire.now)
        assert good.is_well(stream_id), f"seed {seed}: the good connection suffers"
        good.send(frames.window_update(0, len(good.sent(stream_id))))
        good.frames.clear()
        good.events.clear()
        stream_id += 2
        seed += 1
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=random.randrange(2**40))
    arguments = parser.parse_args()
    print(f"from seed {arguments.seed}, {arguments.minutes:g} minutes", flush=True)
    for name, count in sorted(campaign(arguments.minutes * 60, arguments.seed).items()):
        print(f"{count:10}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
