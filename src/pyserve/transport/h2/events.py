"""What a connection tells its driver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from pyserve.transport.h2.headers import RequestHead


@dataclass(slots=True)
class Request:
    """A request is complete; it is to be answered.

    Attributes:
        stream_id: Names it in the answer.
        head: What its header says.
        message: Its message, as it was sent.
        compressed: Whether the message is compressed, by `head.encoding`.
        deadline: When its caller gives up, on the clock of `receive`; None: never.
    """

    stream_id: int
    head: RequestHead
    message: bytes
    compressed: bool
    deadline: float | None


@dataclass(slots=True)
class RoomWanted:
    """A message is coming in and needs `count` bytes more: to be granted by `grant`, or refused by `answer_error`."""

    stream_id: int
    count: int


@dataclass(slots=True)
class Gone:
    """A request that its driver was told of is over before its answer: nobody waits for it any more."""

    stream_id: int


@dataclass(slots=True)
class Sent:
    """Everything that was given to a streamed answer so far has gone out."""

    stream_id: int


Event: TypeAlias = Request | RoomWanted | Gone | Sent
