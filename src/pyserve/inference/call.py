"""What a handler gives back for an accepted request: a task to run and how to answer from its outputs, or
something that waits.

A handler itself never waits and never touches a socket, a loop or a thread, so that any front end, and a test, can
drive it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pyserve.batching.task import Task
from pyserve.dtypes import Array

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """An accepted request on its way to a model.

    Attributes:
        task: To be submitted; it owns the servable handle. Whoever drops the call must end the task.
        finish: Outputs → answer; pure, may raise ServingError.
    """

    task: Task
    finish: Callable[[dict[str, Array]], Answer]


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
