"""What the generator asks of a connection, whichever protocol it speaks."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class ProtocolError(Exception):
    """The other side does not speak the protocol."""


class Answer(NamedTuple):
    """The end of one request.

    Attributes:
        started: What `begin` was given.
        code: `OK`, or what is counted.
        text: What an answer that is not good said.
    """

    started: float
    code: str
    text: str


class Connection(Protocol):
    """The client's side of one connection, without its socket.

    Attributes:
        outbox: Bytes to be sent, in order; whoever sends them clears it.
    """

    outbox: list[bytes]

    @property
    def room(self) -> int:
        """How many more requests may be begun now."""
        ...

    @property
    def spent(self) -> bool:
        """Nothing is open any more, and nothing may be begun: another connection has to take its place."""
        ...

    def begin(self, started: float) -> None:
        """Begin a request; `started` comes back with its answer."""
        ...

    def receive(self, data: bytes) -> list[Answer]:
        """Take in what came, at least one byte.

        Raises:
            ProtocolError: It is not the protocol.
        """
        ...

    def abandon(self) -> list[float]:
        """Forget the requests that are open; their `started`."""
        ...
