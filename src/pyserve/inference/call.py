"""What a handler gives back for an accepted request: a task to run, and how to answer from its outputs.

A handler never waits and never touches a socket, a loop or a thread, so that any front end, and a test, can
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


Handler = Callable[[bytes, float | None], bytes | Call[bytes]]
"""A unary method: (request bytes, deadline on `time.monotonic()` or None) → answer; raises ServingError."""
