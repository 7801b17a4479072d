"""What a handler gives back for an accepted request: a task to run and how to answer from its outputs, or
something that waits.

A handler itself never waits and never touches a socket, a loop or a thread, so that any front end, and a test, can
drive it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pyserve.batching.task import Task
from pyserve.dtypes import Array
from pyserve.errors import Code

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """An accepted request on its way to a model.

    Attributes:
        task: To be submitted; it owns the servable handle. Whoever drops the call must end the task.
        finish: Outputs → answer; pure, may raise ServingError.
        done: Told, once, how the request ended, by whoever runs the call; for metrics. Must not raise.
    """

    task: Task
    finish: Callable[[dict[str, Array]], Answer]
    done: Callable[[Code], None] | None = None


@dataclass(frozen=True, slots=True)
class Work(Generic[Answer]):
    """An answer that needs no model but takes time to make: whoever gets this makes it on another thread.

    Attributes:
        make: Makes the answer; may raise ServingError.
    """

    make: Callable[[], Answer]


@dataclass(frozen=True, slots=True)
class Blocking(Generic[Answer]):
    """An accepted request whose answer is a matter of waiting, not of a model: it gets a thread of its own.

    Attributes:
        run: Blocks and gives the answer; may raise ServingError. Its argument says whether the caller has gone;
            `run` asks it now and then, and after each `wake`.
        wake: Makes `run` ask. Never blocks.
    """

    run: Callable[[Callable[[], bool]], Answer]
    wake: Callable[[], None]


Handler = Callable[[bytes, float | None], bytes | Call[bytes] | Blocking[bytes]]
"""A unary method: (request bytes, deadline on `time.monotonic()` or None) → answer; raises ServingError."""

StreamHandler = Callable[[bytes], AsyncGenerator[bytes, None]]
"""A server-streaming method: request bytes → answers, as they come. The generator raises ServingError for a
bad request; it is driven on the event loop, and closed when the caller goes away or the server stops."""
