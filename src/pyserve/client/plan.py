"""A call as a plan: a generator that yields the next step, and is sent what came of it.

Plans know no socket, clock or thread, so the same ones serve threads (`sync_client.run`) and event loops
(`aio_client.run_async`), and a test can walk through them. A step's error is thrown into the plan where it stands.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pyserve.errors import FailedPreconditionError, ServingError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Message:
    """A request without its time limit.

    Attributes:
        path: The gRPC method's or the URL's.
        body: What is sent; None for an HTTP GET.
    """

    path: str
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Exchange:
    """Send a message; gives the answer's bytes, or raises ServingError. `timeout_s` None: no limit."""

    message: Message
    timeout_s: float | None


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait; gives None."""

    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Together:
    """Run plans at the same time, at most `concurrency` of them; gives their results in order, or one's error."""

    plans: Sequence[Plan[Any]]
    concurrency: int


Step = Exchange | Pause | Together
Plan = Generator[Step, Any, T]


def closed() -> ServingError:
    """What whoever exchanges messages raises once it is closed."""
    return FailedPreconditionError("The client is closed")
